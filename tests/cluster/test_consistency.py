"""What readers see of a cluster of which one node does not hear that the log grows: as much as they ask for, through each door."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paradox
from cluster.members import LOOK_S, WAIT_S, Members, members
from engine.clusters import Clusters
from log_servers import LogServers
from paradox.client.sync import Collection
from paradox.errors import LogUnavailable, PointMissing
from paradox.model.entries import Barrier
from paradox.model.schema import Limits
from paradox.node.held import HeldCollection
from paradox.node.member import Member
from paradox.node.roles import connect_cluster
from paradox.wire.codec import decode
from served import served

DIMENSIONS = 4
HERE = np.eye(DIMENSIONS)


@contextmanager
def a_node_that_lags(nodes: Members, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While the block runs, no node but the one that writes reads the log unless a reader makes it."""
    with monkeypatch.context() as patch:
        patch.setattr(Member, "_read", lambda _: None)
        yield


@contextmanager
def doors(nodes: Members, way: str) -> Iterator[tuple[Collection, Collection]]:
    """Give the collection as two clients see it that know nothing of each other, in a program of the network or behind one gateway."""
    if way == "nats":
        yield nodes.connect()["points"], nodes.connect()["points"]
        return
    gateway = connect_cluster(tuple(nodes.servers.urls), timeout_s=10)
    with served(gateway) as address, paradox.connect(address) as one, paradox.connect(address) as other:
        yield one["points"], other["points"]
    gateway.close()


def seen(points: Collection, **how: Any) -> set[Any]:
    """Return the numbers of the points that exist, by each way to ask, which all must agree."""
    number = points.count(**how)
    found = {hit.payload["n"] for hit in points.scroll(**how)}
    assert len(found) == number
    assert {hit.payload["n"] for hit in points.search(HERE[0], k=100, exact=True, **how)} == found
    assert {hit.payload["n"] for hit in points.get(list(range(100)), **how)} == found
    return found


@pytest.mark.parametrize("way", ["nats", "http"])
def test_a_node_that_lags_answers_nothing_older_than_was_asked_for(
    servers: LogServers, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with members(servers, tmp_path) as nodes:
        made = nodes.connect().collection("points", dimensions=DIMENSIONS, shards=3, copies=2)
        made.add(ids=range(4), vectors=HERE, payload=[{"n": n} for n in range(4)])
        nodes.wait_until_equal("points")
        with a_node_that_lags(nodes, monkeypatch), doors(nodes, way) as (one, other):
            one.add(ids=range(4), vectors=-HERE, payload=[{"n": n} for n in range(10, 14)])
            assert seen(one) == set(range(10, 14))  # its own write
            one.add(ids=range(4), vectors=HERE, payload=[{"n": n} for n in range(20, 24)])
            assert other.get(0, consistency="eventual")[0].payload["n"] in (10, 20)
            assert len({nodes.position(number, "points") for number in nodes.running}) > 1, "no node lags"
            assert seen(other, consistency="strong") == set(range(20, 24))
            receipt = one.update([0, 1, 2, 3], [{"n": n} for n in range(30, 34)])
            assert seen(other, after=receipt) == set(range(30, 34))
            one.add(ids=[50], vectors=HERE[:1], payload={"n": 50})
            assert other.update(50, {"n": 60}).ids == [50]  # what is missing is looked for where all was seen
            one.add(ids=[51], vectors=HERE[:1], payload={"n": 51})
            assert other.delete([51, 52]).ids == [51]
            one.add(ids=[53], vectors=HERE[:1], payload={"n": 53})
            assert set(other.delete(where="n >= 30 and n < 60").ids) == {0, 1, 2, 3, 53}
            assert seen(other) == {60}
            with pytest.raises(PointMissing):
                other.update(53, {"n": 1})
        nodes.wait_until_equal("points")


def test_reads_go_on_as_nodes_stand_while_the_log_does_not_answer(
    servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(_: HeldCollection) -> None:
        raise LogUnavailable("no log server answers", hint="wait")

    with members(servers, tmp_path) as nodes:
        made = nodes.connect().collection("points", dimensions=DIMENSIONS, shards=3, copies=2)
        made.add(ids=range(4), vectors=HERE, payload=[{"n": n} for n in range(4)])
        nodes.wait_until_equal("points")
        with a_node_that_lags(nodes, monkeypatch):
            made.add(ids=[4], vectors=HERE[:1], payload={"n": 4})
            assert len({nodes.position(number, "points") for number in nodes.running}) > 1, "no node lags"
            monkeypatch.setattr(HeldCollection, "refresh", unanswered)
            read = nodes.connect()["points"]
            for consistency in ("session", "eventual"):
                assert read.count(consistency=consistency) in (4, 5)
                assert len(list(read.scroll(consistency=consistency))) in (4, 5)
                assert not read.get(99, consistency=consistency)
            for ask in (read.count, read.scroll, partial(read.get, 99)):
                with pytest.raises(LogUnavailable, match="no log server answers"):
                    list(ask(consistency="strong"))  # type: ignore[call-overload]


def test_readers_share_barriers_and_their_log_is_trimmed(servers: LogServers, tmp_path: Path) -> None:
    limits = Limits(growing_points_max=20)
    with members(servers, tmp_path, 2, limits=limits) as nodes:
        database = nodes.connect()
        points = database.collection("points", dimensions=DIMENSIONS)
        points.add(ids=range(4), vectors=HERE)
        held = nodes.transport(0).opened("points").held
        writer = next(one for one in map(nodes.transport, nodes.running)).opened("points").held
        before, gate, together = writer.log.refresh(), threading.Barrier(8), []

        def read() -> None:
            gate.wait()
            together.append(writer.commit_barrier())

        with writer.committer.turn:  # so that all of them wait at once
            threads = [threading.Thread(target=read) for _ in range(8)]
            for thread in threads:
                thread.start()
            while len(writer.committer._waiting) < 8:
                threads[0].join(LOOK_S)  # nobody tells that they wait
        for thread in threads:
            thread.join()
        assert together == [before + 1] * 8
        assert [decode(body) for _, body in writer.log.read(before)] == [Barrier()]
        for _ in range(200):
            assert points.count(consistency="strong") == 4
            if held.log.refresh() and held.log.first > 5:
                break
        assert held.log.first > 5, "what readers put into the log stays there for ever"
        assert points.count() == 4


def test_a_copy_on_a_node_that_lags_does_not_outrank_the_newer_one(
    servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with members(servers, tmp_path, 2) as nodes:
        points = nodes.connect().collection("points", dimensions=DIMENSIONS, shards=2, copies=2)
        points.add(ids=range(4), vectors=HERE, payload=[{"n": n} for n in range(4)])
        nodes.wait_until_equal("points")
        with a_node_that_lags(nodes, monkeypatch):
            points.add(ids=[0], vectors=[[0.5, 0.5, 0.5, 0.5]], payload={"n": 9})
            assert len({nodes.position(number, "points") for number in nodes.running}) == 2
            assert {hit.id: hit.payload["n"] for hit in points.search(HERE[0], k=4, consistency="eventual")} == {0: 9, 1: 1, 2: 2, 3: 3}
            assert points.get(0, consistency="eventual")[0].payload == {"n": 9}


@pytest.mark.parametrize("copies", [1, 2])
def test_a_point_that_somebody_replaces_without_a_pause_is_there_once(servers: LogServers, tmp_path: Path, copies: int) -> None:
    stored = Clusters("cosine", seed=3, dimensions=16).draw(1_200)
    moving = range(40)
    with members(servers, tmp_path, limits=Limits(region_points_max=100, region_points_min=10, growing_points_max=500)) as nodes:
        written = nodes.connect().collection("points", dimensions=16, shards=6, copies=copies)
        written.add(ids=range(len(stored)), vectors=stored)
        until = time.monotonic() + WAIT_S
        while written.info()["map_epoch"] == 0:
            assert time.monotonic() < until, "there is no map"
            time.sleep(LOOK_S)
        read, begun, done = nodes.connect()["points"], threading.Event(), threading.Event()

        def write() -> None:
            while not done.is_set():
                for vectors in (-stored[: len(moving)], stored[: len(moving)]):  # to other regions, and back
                    for number in moving:
                        written.add(ids=[number], vectors=vectors[number : number + 1])
                        begun.set()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            begun.wait(WAIT_S)
            held = nodes.transport(0).opened("points").held
            before = held.engine.applied
            for _ in range(30):
                assert read.count() == len(stored)
                assert sorted(hit.id for hit in read.scroll()) == list(range(len(stored)))
                assert [hit.id for hit in read.get(list(moving))] == list(moving)
                assert not read.get(len(stored))
        finally:
            done.set()
            thread.join()
        written_since = [decode(body) for _, body in held.log.read(max(before, held.log.first - 1))]
        assert Barrier(kept=True) in [entry for entry in written_since if isinstance(entry, Barrier)], "all went by chance"
        nodes.wait_until_equal("points")
        assert nodes.databases[0].verify()["healthy"]
