"""What readers see of a cluster of which one node does not hear that the log grows: as much as they ask for, through each door."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paradox
from cluster.members import LOOK_S, Members, members
from log_servers import LogServers
from paradox.client.sync import Collection
from paradox.errors import PointMissing
from paradox.model.entries import Barrier
from paradox.model.schema import Limits
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
