"""Copies of a point stay on different nodes, also when shards have gone to others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cluster.members import LOOK_S, WAIT_S, Members, members
from engine.clusters import Clusters
from log_servers import LogServers, log_servers
from paradox.model.schema import Limits

POINTS, SHARDS = 600, 6
LIMITS = Limits(region_points_max=30, region_points_min=4, growing_points_max=2_000)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with log_servers(tmp_path_factory.mktemp("log-servers")) as running:
        yield running


def wait_until_apart(nodes: Members, name: str = "notes") -> None:
    """Wait until each node that runs has a part, all nodes agree on the map, and the two copies of each point are in two places."""
    until = time.monotonic() + WAIT_S
    while True:
        opened = [nodes.transport(number).opened(name).held for number in nodes.running]
        if all(held.settled == held.engine.regions.epoch and held.engine.held for held in opened) and sorted(
            shard for held in opened for shard in held.engine.held
        ) == list(range(SHARDS)):
            together = sum(len({nodes.zones.get(node, node) for node, *_ in places}) < 2 for places in nodes.copies(name).values())
            if not together:
                return
        assert time.monotonic() < until, "copies stay together"
        time.sleep(LOOK_S)  # nobody tells


def test_copies_go_apart_again_when_shards_have_gone_to_other_nodes(
    servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 1.0)
    monkeypatch.setattr("paradox.node.easing.APART_AFTER_S", 1.0)
    made = Clusters("cosine", seed=4, dimensions=16)
    with members(servers, tmp_path, limits=LIMITS) as nodes:
        collection = nodes.connect().collection("notes", dimensions=16, shards=SHARDS, copies=2)
        collection.add(ids=list(range(POINTS)), vectors=made.draw(POINTS))
        wait_until_apart(nodes)
        nodes.stop(1)
        wait_until_apart(nodes)
        nodes.start(3)
        wait_until_apart(nodes)
        assert sorted(hit.id for hit in collection.scroll()) == list(range(POINTS))
        assert all(len(places) == 2 and sum(owned for _, _, owned, _ in places) == 1 for places in nodes.copies("notes").values())
        assert len(collection.search(np.ones(16), k=10)) == 10


def test_copies_are_in_different_zones(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four nodes two fail together: every point answers from the others. A zone that all its nodes have left counts no more."""
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 1.0)
    monkeypatch.setattr("paradox.node.easing.APART_AFTER_S", 1.0)
    made = Clusters("cosine", seed=5, dimensions=16)
    with members(servers, tmp_path, 4, limits=LIMITS, zones={0: "east", 1: "east", 2: "west", 3: "west"}) as nodes:
        database = nodes.connect()
        collection = database.collection("places", dimensions=16, shards=SHARDS, copies=2)
        vectors = made.draw(POINTS)
        collection.add(ids=list(range(POINTS)), vectors=vectors)
        wait_until_apart(nodes, "places")
        assert [node["zone"] for node in database.status()["nodes"]] == ["east", "east", "west", "west"]
        nodes.stop(2, 3)
        found = collection.search_many(vectors[::10], k=1, recall=1.0, consistency="eventual")
        assert [hits[0].id for hits in found] == list(range(0, POINTS, 10))
        nodes.zones = {}  # no one is left in the west: nodes count
        wait_until_apart(nodes, "places")
