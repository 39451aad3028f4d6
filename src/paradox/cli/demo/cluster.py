"""Cluster: speeches on three nodes; one is killed while others ask and write, and nobody notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from paradox.cli.demo.tour import Tour
from paradox.cli.screen import seconds
from paradox.errors import InternalError, Unavailable

if TYPE_CHECKING:
    from paradox import Collection, Database

NODES, SHARDS, VICTIM = 3, 6, "n2"
PARAGRAPHS, BATCH = 12_000, 500
QUESTIONS = ("a disease is spreading through the cities", "we are running out of trees", "tolls for ships in the Panama Canal")
PATIENCE_S, LOOK_S, AFTERWARDS_S = 60.0, 0.1, 1.0
STILL = 10
"""Looks in a row that find nothing moving."""


class Traffic(msgspec.Struct):
    """What happened to those who asked and wrote meanwhile."""

    read: int = 0
    read_failed: int = 0
    slowest_s: float = 0.0
    written: list[int] = []


def cluster(tour: Tour) -> dict[str, Any]:
    """Raise a cluster, spread speeches over it, kill a node under load. Raises InternalError when anything is lost."""
    import paradox

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="paradox-demo-") as folder, raised(folder) as address:
        up_s = time.perf_counter() - started
        tour.line(f"3 nodes, 3 log servers that keep every write on a majority's disks, a gateway: up in {seconds(up_s)}")
        with paradox.connect(address, timeout_s=PATIENCE_S) as database:
            spread = database.collection("speeches", encoder="text", shards=SHARDS, copies=2)
            count, filling_s = fill(tour, spread)
            regions = wait_until_spread(database, spread)
            where = f"{regions} regions of meaning on {SHARDS} shards" if regions else "too few to be cut into regions"
            tour.line(f"{count:,} paragraphs written in {seconds(filling_s)}, each on two shards; {where}")
            spread.search(QUESTIONS[0], k=1)  # the gateway loads its encoder
            asked = []
            for question in QUESTIONS:
                began = time.perf_counter()
                hits = spread.search(question, k=1)
                elapsed_s = time.perf_counter() - began
                shards = hits.plan.shards if hits.plan is not None else ()
                tour.asked(question, elapsed_s, f"{len(shards)} of {SHARDS} shards asked: {' '.join(shards)}")
                tour.found(hits[0])
                asked.append({"question": question, "shards": list(shards)})
            traffic = kill_one(tour, spread, Path(folder))
            there = {hit.id for hit in spread.scroll(where="extra = true")}
            lost = len(set(traffic.written) - there)
            if lost or traffic.read_failed:
                raise InternalError(f"{lost} acknowledged points are lost, {traffic.read_failed} questions failed")
            tour.line(
                (f"{traffic.read:,} questions answered, 0 failed", "bold green"),
                f", the slowest in {seconds(traffic.slowest_s)}; ",
                (f"{len(traffic.written):,} writes acknowledged, 0 lost", "bold green"),
            )
    return {
        "paragraphs": count,
        "regions": regions,
        "asked": asked,
        "read": traffic.read,
        "read_failed": traffic.read_failed,
        "written": len(traffic.written),
        "lost": lost,
    }


@contextmanager
def raised(folder: str) -> Iterator[str]:
    """Run `paradox up` while the block runs; gives the gateway's address."""
    command = [sys.executable, "-m", "paradox.cli", "up", "--nodes", str(NODES), "--data", folder, "--port", "0", "--json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        told = json.loads(line) if line else {}
        if "address" not in told:
            raise InternalError(f"the cluster does not start: {told.get('error', {}).get('message', 'it says nothing')}")
        yield told["address"]
    finally:
        running.terminate()
        running.communicate()


def fill(tour: Tour, spread: Collection) -> tuple[int, float]:
    """Copy paragraphs, vectors and all, evenly over the years, and return how many and how long writing took."""
    every = max(1, tour.speeches.count() // PARAGRAPHS)
    hits = list(islice(tour.speeches.scroll(with_vectors=True), 0, None, every))
    started = time.perf_counter()
    for start in range(0, len(hits), BATCH):
        some = hits[start : start + BATCH]
        vectors = np.stack([hit.vector for hit in some if hit.vector is not None])
        spread.add(ids=[hit.id for hit in some], vectors=vectors, payload=[hit.payload for hit in some], at=[hit.at for hit in some])
    return len(hits), time.perf_counter() - started


def wait_until_spread(database: Database, spread: Collection) -> int:
    """Wait until the points are where they belong, and return how many regions there are; 0 when there are too few points for any."""
    until, still, before = time.monotonic() + PATIENCE_S, 0, -1
    while time.monotonic() < until:
        status = database.status()
        positions = {node["positions"].get(spread.name, -1) for node in status["nodes"]}
        quiet = status["settled"] and len(positions) == 1 and positions == {before}
        still, before = still + 1 if quiet else 0, max(positions)
        if still == STILL:
            told = spread.info()
            return int(told["regions"]) if told["map_epoch"] else 0
        time.sleep(LOOK_S)  # points travel through the log: when all nodes have read it and none has work to do, they have arrived
    raise InternalError("the points are never spread over the shards")


def kill_one(tour: Tour, spread: Collection, folder: Path) -> Traffic:
    """Kill a node under readers and a writer, wait until it is back, and return what they met."""
    traffic, stop = Traffic(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            try:
                found = len(spread.search(QUESTIONS[traffic.read % len(QUESTIONS)], k=5))
            except Unavailable:
                found = 0
            traffic.read_failed += found < 5
            traffic.read += 1
            traffic.slowest_s = max(traffic.slowest_s, time.perf_counter() - began)

    def write() -> None:
        number = 1_000_000
        while not stop.is_set():
            try:
                spread.add([f"note {number}"], ids=[number], payload=[{"extra": True}])
                traffic.written.append(number)
            except Unavailable:
                pass  # not acknowledged: it may be there or not
            number += 1

    threads = [threading.Thread(target=work) for work in (ask, write)]
    for thread in threads:
        thread.start()
    try:
        victim = pid_of(folder, VICTIM)
        tour.line("one asks and one writes, and in the middle of it: ", (f"kill -9 {victim}", "bold red"), f", which is {VICTIM}")
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + PATIENCE_S
        while pid_of(folder, VICTIM) == victim and time.monotonic() < until:
            time.sleep(LOOK_S)  # cluster.json is what tells
        time.sleep(AFTERWARDS_S)  # some more of the same, with the node that is back
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return traffic


def pid_of(folder: Path, name: str) -> int:
    """Return the number of a process of the cluster, as cluster.json tells."""
    listed = json.loads((folder / "cluster.json").read_bytes())["processes"]
    return next(int(one["pid"]) for one in listed if one["name"] == name)
