"""A whole cluster under one command: killed with -9 in all its parts, stopped, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paradox
from paradox.errors import Unavailable

COMMAND = [sys.executable, "-m", "paradox.cli", "up", "--port", "0", "--json"]
WAIT_S, LOOK_S = 60, 0.05


class Up:
    """`paradox up`, running."""

    def __init__(self, folder: Path, running: subprocess.Popen[bytes], address: str) -> None:
        self.folder = folder
        self.running = running
        self.address = address

    def listed(self) -> dict[str, dict[str, Any]]:
        told = json.loads((self.folder / "cluster.json").read_text())["processes"]
        return {one["name"]: one for one in told}

    def kill(self, name: str) -> None:
        os.kill(self.listed()[name]["pid"], signal.SIGKILL)

    def wait_until_back(self, name: str, before: int) -> None:
        until = time.monotonic() + WAIT_S
        while self.listed()[name]["pid"] == before:
            assert time.monotonic() < until, f"{name} is not started again"
            time.sleep(LOOK_S)  # cluster.json is what tells


@contextmanager
def up(folder: Path, nodes: int = 3) -> Iterator[Up]:
    with (folder.parent / "up.log").open("ab") as log:
        running = subprocess.Popen([*COMMAND, "--nodes", str(nodes), "--data", str(folder)], stdout=subprocess.PIPE, stderr=log)
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert b"address" in line, line.decode() + (folder.parent / "up.log").read_text()[-3000:]
        yield Up(folder, running, json.loads(line)["address"])
    finally:
        running.terminate()
        running.communicate(timeout=WAIT_S)


def rows(count: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)


def test_a_cluster_is_raised_stopped_and_finds_its_points_again(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with up(folder) as cluster:
        listed = cluster.listed()
        assert sorted(listed) == ["gateway", "log1", "log2", "log3", "n1", "n2", "n3"]
        assert {one["role"] for one in listed.values()} == {"log", "node", "gateway"}
        assert listed["gateway"]["url"] == cluster.address
        with paradox.connect(cluster.address) as database:
            database.collection("notes", dimensions=16).add(ids=list(range(100)), vectors=rows(100))
        second = subprocess.run([*COMMAND, "--data", str(folder)], capture_output=True, check=False, timeout=WAIT_S)
        assert second.returncode == 5
        assert json.loads(second.stdout)["error"]["code"] == "store.locked"
    assert not (folder / "cluster.json").exists()
    for name in ("n1", "n2", "n3", "gateway"):
        assert not (folder / f"{name}.log").read_text(), "a program complains, or ends with a complaint of the interpreter's"
    for one in listed.values():
        with pytest.raises(ProcessLookupError):
            os.kill(one["pid"], 0)
    with up(folder) as cluster, paradox.connect(cluster.address) as database:
        assert database["notes"].count() == 100
        assert database["notes"].search(rows(100)[7], k=1)[0].id == 7


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_is_killed_is_started_again_and_nobody_notices(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each process dies by -9 under readers and a writer: no read fails, and what was acknowledged is there."""
    with up(tmp_path / "cluster") as cluster, paradox.connect(cluster.address, timeout_s=30) as database:
        notes = database.collection("notes", dimensions=16)
        notes.add(ids=list(range(50)), vectors=rows(50))
        acknowledged, failures = list(range(50)), []
        stop = threading.Event()

        def write() -> None:
            number = 1000
            while not stop.is_set():
                try:
                    acknowledged.extend(notes.add(ids=[number], vectors=rows(1, number)).ids)  # type: ignore[arg-type]
                except Unavailable:
                    pass  # it may be there or not
                except BaseException as error:
                    failures.append(error)
                    return
                number += 1

        def read() -> None:
            while not stop.is_set():
                try:
                    hits = notes.search(rows(50)[7], k=1)
                    assert [hit.id for hit in hits] == [7], (hits.coverage, hits.position)
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=work) for work in (write, read, read)]
        for thread in threads:
            thread.start()
        request.addfinalizer(stop.set)
        for name in ("n1", "n2", "n3", "log1", "gateway"):
            before = cluster.listed()[name]["pid"]
            cluster.kill(name)
            cluster.wait_until_back(name, before)
            known = len(acknowledged)
            until = time.monotonic() + WAIT_S
            while len(acknowledged) == known:
                assert not failures
                assert time.monotonic() < until, f"writes do not go on after {name} died"
                time.sleep(LOOK_S)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert {hit.id for hit in notes.scroll()} >= set(acknowledged)


def test_everything_killed_at_once_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with up(folder) as cluster:
        with paradox.connect(cluster.address) as database:
            notes = database.collection("notes", dimensions=16)
            for number in range(20):
                notes.add(ids=[number], vectors=rows(1, number))
        listed = cluster.listed()
        cluster.running.kill()
        for one in listed.values():
            if one["role"] != "log":  # log servers outlive who started them; the next one ends them
                os.kill(one["pid"], signal.SIGKILL)
        cluster.running.wait()
    with up(folder) as cluster, paradox.connect(cluster.address) as database:
        assert {hit.id for hit in database["notes"].scroll()} == set(range(20))


def test_a_node_that_hangs_is_passed_over_and_comes_back(tmp_path: Path) -> None:
    """It is stopped, not killed: its connection stays open, and nobody says that it is gone."""
    with up(tmp_path / "cluster") as cluster, paradox.connect(cluster.address, timeout_s=30) as database:
        notes = database.collection("notes", dimensions=16)
        notes.add(ids=list(range(50)), vectors=rows(50))
        victim = cluster.listed()["n1"]["pid"]
        os.kill(victim, signal.SIGSTOP)
        try:
            for number in range(50):
                started = time.monotonic()
                assert [hit.id for hit in notes.search(rows(50)[number], k=1)] == [number]
                assert time.monotonic() - started < 5
            assert notes.count() == 50
            notes.add(ids=[99], vectors=rows(1, 9))
        finally:
            os.kill(victim, signal.SIGCONT)
        until = time.monotonic() + WAIT_S
        while len([node for node in database.status()["nodes"] if node["state"] == "up"]) < 3:
            assert time.monotonic() < until
            time.sleep(LOOK_S)
        assert notes.count() == 51
        assert sorted(hit.id for hit in notes.scroll()) == [*range(50), 99]  # type: ignore[type-var]
