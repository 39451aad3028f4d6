"""Replicas: each shard whole on several nodes, so that nothing is missing while one is down, with one copy of each point."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cluster.members import LOOK_S, WAIT_S, Members, members
from cluster.test_members import wait_until_settled
from engine.small import SMALL
from log_servers import LogServers
from paradox.errors import SpecInvalid
from paradox.model.schema import Limits

NAME, SHARDS = "twice", 6


def wait_until_held(nodes: Members, times: int, *, shards: int = SHARDS) -> None:
    """Wait until each shard is on so many nodes that run, and each of them has its share."""
    until = time.monotonic() + WAIT_S
    share = shards * times // len(nodes.running)
    while True:
        held = [one.held.engine.held for member in nodes.running.values() for one in member.database.all_opened()]
        holders = Counter(shard for shards in held for shard in shards)
        if holders == dict.fromkeys(range(shards), times) and {len(shards) for shards in held} == {share}:
            return
        assert time.monotonic() < until, held
        time.sleep(LOOK_S)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_node_that_is_down_hides_nothing(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int) -> None:
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 3.0)
    vectors = np.random.default_rng(copies).normal(size=(700, 8)).astype(np.float32)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        points = database.collection(NAME, dimensions=8, shards=SHARDS, copies=copies, replicas=2)

        def expect_all(count: int) -> None:
            assert points.count() == count
            hits = points.search(vectors[3], k=count, exact=True)
            assert {hit.id for hit in hits} == {hit.id for hit in points.scroll()} == set(range(count))
            assert hits.coverage.share == 1.0
            assert [hit.payload["n"] for hit in points.get([0, count - 1])] == [0, count - 1]

        def add(start: int, stop: int) -> None:
            points.add(ids=range(start, stop), vectors=vectors[start:stop], payload=[{"n": number} for number in range(start, stop)])

        for start in range(0, 600, 100):
            add(start, start + 100)
        wait_until_settled(nodes, NAME)
        wait_until_held(nodes, 2)
        assert points.info()["points"] == database.status()["points"] == 600
        assert Counter(shard["name"] for shard in points.info()["shards"]) == {f"s{number}": 2 for number in range(SHARDS)}
        assert database.verify()["contents"][NAME].endswith("600 points, each copy compared")
        nodes.stop(1)
        for start in range(600, 700, 10):
            add(start, start + 10)
            expect_all(start + 10)
        wait_until_held(nodes, 2)
        nodes.start(3)
        wait_until_held(nodes, 2)
        expect_all(700)
        points.delete(where="n < 10")
        assert points.count() == 690
        wait_until_settled(nodes, NAME)
        assert database.verify()["contents"][NAME].endswith("690 points, each copy compared")


def test_replicas_that_differ_are_found(servers: LogServers, tmp_path: Path) -> None:
    with members(servers, tmp_path, 2) as nodes:
        database = nodes.connect()
        points = database.collection(NAME, dimensions=2, shards=2, copies=1, replicas=2)
        points.add(ids=[1, 2, 3], vectors=np.eye(2)[[0, 1, 0]])
        nodes.wait_until_equal(NAME)
        assert database.verify()["healthy"]
        engine = nodes.transport(1).opened(NAME).held.engine
        (segment,) = [segment for segment in engine.segments() if segment.rows]
        segment.kill(np.array([1]), engine.applied)
        told = database.verify()
        assert not told["healthy"]
        assert told["contents"][NAME].startswith("the replicas of s0 on n0 and n1 differ at position")


def test_more_replicas_than_can_be_are_refused(servers: LogServers, tmp_path: Path) -> None:
    with members(servers, tmp_path, 1) as nodes, pytest.raises(SpecInvalid, match="replicas=9; expected 1 to 8"):
        nodes.connect().collection(NAME, dimensions=2, replicas=9)


def test_a_replica_that_differs_begins_again_at_a_snapshot_of_the_others(servers: LogServers, tmp_path: Path) -> None:
    """What the operator's page says to do; its own snapshots hold what is wrong with it."""
    with members(servers, tmp_path, 2, limits=Limits(growing_points_max=120)) as nodes:  # no regions: what moves is written anew
        database = nodes.connect()
        points = database.collection(NAME, dimensions=2, shards=2, copies=1, replicas=2)
        vectors = np.random.default_rng(1).normal(size=(900, 2))
        points.add(ids=range(50), vectors=vectors[:50])
        nodes.wait_until_equal(NAME)
        held = nodes.transport(1).opened(NAME).held
        (segment,) = [segment for segment in held.engine.segments() if segment.rows]
        segment.kill(np.array([7]), held.engine.applied)
        wrong, count = held.engine.applied, 50
        while held.manifest is None or held.manifest.position <= wrong:
            points.add(ids=range(count, count + 50), vectors=vectors[count : count + 50])
            count += 50
        wait_until_settled(nodes, NAME)
        assert not database.verify()["healthy"]
        nodes.stop(1)
        own = held.folder / "manifests" / "n1"  # type: ignore[operator]
        own.rename(tmp_path / "away")
        nodes.start(1)
        nodes.wait_until_equal(NAME)
        wait_until_held(nodes, 2, shards=2)
        wait_until_settled(nodes, NAME)
        assert database.verify()["contents"][NAME].endswith(f"{count:,} points, each copy compared")
