"""What an operator does to a running cluster: shards that are moved and stay, regions that are split, and what is shown of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import paradox
from cluster.members import LOOK_S, WAIT_S, Members, members
from engine.clusters import Clusters
from log_servers import LogServers
from paradox import cli
from paradox.errors import InvalidRequest, Missing, StoreReadOnly
from paradox.model.schema import Limits
from paradox.node.roles import connect_cluster
from paradox.router.placement import moved, place
from served import served


@pytest.mark.parametrize("shards", range(1, 9))
@pytest.mark.parametrize("nodes", range(1, 5))
def test_what_is_moved_by_hand_the_next_placing_leaves_alone(shards: int, nodes: int) -> None:
    alive = {f"n{number}": "" for number in range(nodes)}
    places = place(shards, alive)
    for shard in range(shards):
        for node in alive:
            after = moved(places, shard, node, alive)
            assert after is not None
            assert after[shard] == [node]
            assert place(shards, alive, after) == after
            assert sum(one != other for one, other in zip(places, after, strict=True)) <= 2


def test_nothing_is_moved_by_hand_while_shards_wait_for_a_place() -> None:
    assert moved([["n0"], ["n1"], ["gone"]], 0, "n1", {"n0": "", "n1": ""}) is None


def wait_for_places(nodes: Members, places: dict[int, set[int]]) -> None:
    """Wait until each node holds these shards and no others."""
    until = time.monotonic() + WAIT_S
    while True:
        there = {number: set(one.held.engine.held) for number, member in nodes.running.items() for one in member.database.all_opened()}
        if there == places:
            return
        assert time.monotonic() < until, there
        time.sleep(LOOK_S)


def test_a_shard_moves_with_its_points_and_stays(servers: LogServers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = servers.urls[0]
    with members(servers, tmp_path, 2) as nodes:
        points = nodes.connect().collection("points", dimensions=4, shards=4, copies=2)
        points.add(ids=range(50), vectors=np.random.default_rng(1).normal(size=(50, 4)))
        wait_for_places(nodes, {0: {0, 2}, 1: {1, 3}})
        assert cli.main(["move", "points", "s2", "n1", "--url", url]) == 0
        assert capsys.readouterr().out == "moved s2 from n0 to n1\ns1 goes to n0 instead: each node keeps its share\n"
        wait_for_places(nodes, {0: {0, 1}, 1: {2, 3}})
        assert points.count() == 50
        assert {hit.id for hit in points.scroll()} == set(range(50))
        with served(connect_cluster(tuple(servers.urls), timeout_s=10)) as address, paradox.connect(address) as over_http:
            told = over_http["points"].move("s2", "n1")
        assert told == {"shard": "s2", "node": "n1", "before": "n1", "exchanged": None}
        for member in nodes.running.values():  # whoever places shards finds nothing to do
            mark = str(member.database.opened("points").mark)
            before = member._catalogue.placement(mark)
            assert member._catalogue.place_anew(mark, {"n0": "", "n1": ""}, replicas=1)
            assert member._catalogue.placement(mark) == before
        for shard, node, wrong in (("s9", "n1", "has no shard s9"), ("s1", "n7", "no node 'n7' lives"), ("x1", "n1", "no name of a shard")):
            with pytest.raises(InvalidRequest, match=wrong):
                points.move(shard, node)
        info = {shard["name"]: shard["node"] for shard in points.info()["shards"]}
        assert info == {"s0": "n0", "s1": "n0", "s2": "n1", "s3": "n1"}


def test_a_region_is_split_where_its_shard_is(servers: LogServers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Clusters("cosine", seed=3, dimensions=16).draw(4_000)
    limits = Limits(region_points_max=300, region_points_min=20, growing_points_max=2_000)
    with members(servers, tmp_path, limits=limits) as nodes:
        points = nodes.connect().collection("points", dimensions=16, shards=6, copies=2)
        points.add(ids=range(len(stored)), vectors=stored)
        until = time.monotonic() + WAIT_S
        while points.info()["map_epoch"] == 0 or not points.search(stored[0]).plan.regions:  # type: ignore[union-attr]
            assert time.monotonic() < until, "there is no map"
            time.sleep(LOOK_S)
        while not all(member.database.worker.settled() for member in nodes.running.values()):  # type: ignore[union-attr]
            assert time.monotonic() < until, "the regions never come to rest"
            time.sleep(LOOK_S)
        held = nodes.transport(0).opened("points").held
        nodes.wait_until_equal("points")
        names = set(held.engine.regions.names.tolist())
        counts = dict(zip(*np.unique(homes(held, stored), return_counts=True), strict=True))
        largest = f"r{max(counts, key=lambda name: counts[name])}"
        assert cli.main(["split", "points", largest, "--url", servers.urls[0], "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        nodes.wait_until_equal("points")
        for number in nodes.running:
            after = nodes.transport(number).opened("points").held.engine.regions.names.tolist()
            assert {int(name[1:]) for name in told["into"]} <= set(after) - names
            assert int(largest[1:]) not in after
        assert points.count() == len(stored)
        assert points.search(stored[7], k=1)[0].id == 7
        with pytest.raises(Missing, match=f"no region {largest}"):
            points.split(largest)
        with pytest.raises(StoreReadOnly), paradox.connect(servers.urls[0], read_only=True) as reading:
            reading["points"].split(told["into"][0])


def homes(held: object, stored: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return the name of the region of each vector."""
    from paradox.space.regions import assign

    regions = held.engine.regions  # type: ignore[attr-defined]
    return regions.names[assign(stored, regions, metric="cosine")[:, 0]]


def test_a_region_of_a_folder_is_split_or_the_reason_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "memory")
    with paradox.connect(folder) as db:
        points = db.collection("points", dimensions=16)
        points.add(vectors=Clusters("cosine", seed=3, dimensions=16).draw(400))
        db.collection("bits", dimensions=16, metric="hamming").add(vectors=np.zeros((4, 2), dtype=np.uint8))
        db.collection("alike", dimensions=2).add(vectors=np.ones((400, 2)))
        db.collection("few", dimensions=2).add(vectors=np.ones((1, 2)))
    assert cli.main(["split", "points", "0", "--data", folder]) == 0
    assert capsys.readouterr().out == "split r0 with 400 points into r1 and r2\n"
    with paradox.connect(folder) as db:
        assert db["points"].info()["regions"] == 2
        assert db["points"].count() == 400
        with pytest.raises(InvalidRequest, match="region r0 holds 1 point; halves of fewer than 100 would be given up again"):
            db["few"].split("r0")
        with pytest.raises(InvalidRequest, match="all alike"):
            db["alike"].split("r0")
        with pytest.raises(InvalidRequest, match="its vectors are bits"):
            db["bits"].split("r0")
        with pytest.raises(InvalidRequest, match="in this one process"):
            db["points"].move("s0", "n1")


def test_top_and_status_show_a_cluster_by_its_log_servers_and_by_its_gateway(
    servers: LogServers, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARADOX_KEY", "secret")  # which log servers take not
    with members(servers, tmp_path, 2) as nodes:
        points = nodes.connect().collection("points", dimensions=4)
        points.add(ids=range(20), vectors=np.ones((20, 4)))
        nodes.wait_until_equal("points")
        points.search(np.ones(4))
        with served(connect_cluster(tuple(servers.urls), timeout_s=10), keys=("secret",)) as address:
            for url in (servers.urls[0], address):
                assert cli.main(["top", "--once", "--json", "--url", url]) == 0
                frame = json.loads(capsys.readouterr().out)
                assert (frame["points"], frame["rows"], frame["shards"]) == (20, 40, 4)
                assert [(node["name"], node["state"], node["shards"]) for node in frame["nodes"]] == [("n0", "up", 2), ("n1", "up", 2)]
                assert frame["writes_per_s"] == 2.0  # of the last ten seconds
                assert frame["reads_per_s"] > 0
                assert cli.main(["top", "--once", "--url", url]) == 0
                shown = capsys.readouterr().out
                assert shown.startswith("●  healthy: 20 points in 1 collection on 2 nodes\n")
                assert cli.main(["status", "--url", url]) == 0
                assert "healthy: 20 points" in capsys.readouterr().out
                assert cli.main(["status", "--json", "--url", url]) == 0
                assert len(json.loads(capsys.readouterr().out)["nodes"]) == 2
            nodes.stop(1)
            assert cli.main(["top", "--once", "--url", address]) == 6
            assert "n1 does not answer" in capsys.readouterr().out
