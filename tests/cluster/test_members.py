"""Nodes that share the shards of collections: they agree with a dict, whatever dies, comes or goes."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cluster.members import LOOK_S, WAIT_S, Members, members
from durability.lives import NAME, Shape, World, after, expect_agreement, found, id_of, next_deed, perform
from engine.clusters import Clusters
from log_servers import LogServers, log_servers
from paradox.client.sync import Database
from paradox.errors import CollectionMissing, LogUnavailable, StoreUnreadable
from paradox.model import operations as ops
from paradox.model.schema import Limits
from paradox.router.scatter import Scatter
from paradox.shard.chain import Chain
from paradox.space.balance import is_crowded
from paradox.space.regions import is_blank

SMALL = msgspec.structs.replace(Shape().limits, region_points_min=3)
SHAPES = {
    "plain": Shape(),
    "text": Shape(text=True),
    "six shards, two copies": Shape(shards=6, copies=2),
    "two vectors": Shape(named=True),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_life_through_any_node_agrees_with_a_dict(servers: LogServers, tmp_path: Path, name: str) -> None:
    shape, dice = SHAPES[name], random.Random(name)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        one, other = nodes.connect(), nodes.connect()
        shape.collection(one)
        world = World({})
        for step in range(60):
            database = dice.choice((one, other))
            deed = next_deed(dice, list(world.points), shape)
            perform(database, shape.collection(database), shape, deed)
            world = after(world, shape, deed)
            if step % 20 == 19:
                nodes.wait_until_equal(NAME)  # the last deed may have written nothing through this connection
                expect_agreement(shape, database, world, dice)
        nodes.wait_until_equal(NAME)
        expect_one_owner(nodes, world)


def expect_one_owner(nodes: Members, world: World) -> None:
    """Each point is answered for once, and its copies are alike and on different shards."""
    there = nodes.copies(NAME)
    assert there.keys() == world.points.keys()
    for places in there.values():
        assert sum(owned for _, _, owned, _ in places) == 1
        assert len({shard for _, shard, _, _ in places}) == len(places)
        assert len({payload for *_, payload in places}) == 1


def test_writers_at_several_nodes_lose_nothing(servers: LogServers, tmp_path: Path) -> None:
    """Each writer writes to another node: who was not first drafts anew."""
    shape = Shape(shards=3, copies=2)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        shape.collection(database)
        nodes.wait_until_equal(NAME)
        failures: list[BaseException] = []

        def write(number: int) -> None:
            try:
                for step in range(20):
                    keys = [id_of(each) for each in range(number, 400, 3 * (1 + step % 5))]
                    vectors = {"vector": np.random.default_rng(step).normal(size=(len(keys), 8)).astype(np.float32)}
                    payloads = [b"\x81\xa4step" + bytes([step])] * len(keys)
                    added = ops.AddPoints(collection=NAME, rows=len(keys), keys=keys, vectors=vectors, payloads=payloads)  # type: ignore[arg-type]
                    nodes.transport(number).send(added)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in nodes.running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        nodes.wait_until_equal(NAME)
        points = {hit.id: hit.payload["step"] for hit in database[NAME].scroll()}
        assert len(points) == 400
        assert set(points.values()) <= set(range(15, 20))
        wait_until_settled(nodes)
        expect_one_owner(nodes, World(dict.fromkeys(points)))  # type: ignore[arg-type]


def wait_until_settled(nodes: Members, name: str = NAME) -> None:
    """Wait until no node has work to do, so that no point is on its way."""
    until = time.monotonic() + WAIT_S
    while not all(member.database.worker.settled() for member in nodes.running.values()):  # type: ignore[union-attr]
        assert time.monotonic() < until
        time.sleep(LOOK_S)
    nodes.wait_until_equal(name)


def wait_until_held(nodes: Members, database: Database) -> None:
    """Wait until nodes that run hold every shard once."""
    until = time.monotonic() + WAIT_S
    while True:
        shards = [shard for member in nodes.running.values() for one in member.database.all_opened() for shard in one.held.engine.held]
        if sorted(shards) == list(range(6)):
            return
        assert time.monotonic() < until, shards
        time.sleep(LOOK_S)


def test_nodes_that_go_and_come_lose_nothing_and_nobody_waits(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node stops under a writer and readers, its shards are rebuilt elsewhere, and a new node takes its share."""
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 3.0)
    shape, dice = Shape(shards=6, copies=2), random.Random(5)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        collection = shape.collection(database)
        world = World({})

        def live(steps: int) -> None:
            nonlocal world
            for _ in range(steps):
                deed = next_deed(dice, list(world.points), shape, alone=False)
                perform(database, collection, shape, deed)
                world = after(world, shape, deed)
                assert collection.count() == len(world.points)
                assert len(collection.search(np.ones(8), k=10)) == min(10, len(world.points))

        live(30)
        wait_until_settled(nodes)
        nodes.stop(1)
        live(10)
        assert found(shape, collection) == world.points
        wait_until_held(nodes, database)
        live(10)
        nodes.start(3)
        live(10)
        wait_until_held(nodes, database)
        until = time.monotonic() + WAIT_S
        while not [one for one in nodes.running[3].database.all_opened() if len(one.held.engine.held) == 2]:
            assert time.monotonic() < until, "the new node takes no share"
            time.sleep(LOOK_S)
        wait_until_held(nodes, database)
        live(10)
        wait_until_settled(nodes)
        assert found(shape, collection) == world.points
        expect_one_owner(nodes, world)


def test_everything_stops_and_starts_from_snapshots_and_a_trimmed_log(servers: LogServers, tmp_path: Path) -> None:
    shape, dice = Shape(shards=6, copies=2), random.Random(7)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        collection = shape.collection(database)
        world = World({})
        held = next(one.held for one in nodes.running[0].database.all_opened())
        step = 0
        while held.log.refresh() and held.log.first <= 3:
            deed = next_deed(dice, list(world.points), shape, alone=False)
            perform(database, collection, shape, deed)
            world = after(world, shape, deed)
            step += 1
            assert step < 600, "the log is never trimmed"
        nodes.stop(0, 1, 2)
        nodes.start(0, 1, 2)
        wait_until_held(nodes, database)
        assert found(shape, collection) == world.points
        wait_until_settled(nodes)
        expect_one_owner(nodes, world)
        expect_agreement(shape, database, world, dice)


def test_what_one_client_drops_or_makes_the_others_see(servers: LogServers, tmp_path: Path) -> None:
    with members(servers, tmp_path) as nodes:
        one, other = nodes.connect(), nodes.connect()
        one.collection("notes", dimensions=2).add(ids=[1], vectors=[[1.0, 2.0]])
        assert other["notes"].count() == 1
        other.drop("notes")
        assert one.collections() == []
        with pytest.raises(CollectionMissing):
            one.drop("notes")
        one.collection("notes", dimensions=3).add(ids=[2, 3], vectors=[[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        nodes.wait_until_equal("notes")
        assert other["notes"].count() == 2
        assert {hit.id for hit in other["notes"].search([1.0, 2.0, 3.0], k=5)} == {2, 3}
        until = time.monotonic() + WAIT_S
        while sum(1 for _ in (tmp_path / "store" / "collections").iterdir()) > 1:
            assert time.monotonic() < until, "the files of what was dropped stay"
            time.sleep(LOOK_S)


def test_reads_go_on_and_writes_say_so_when_the_log_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with log_servers(tmp_path, 3) as servers, members(servers, tmp_path) as nodes:
        notes = nodes.connect().collection("notes", dimensions=2)
        notes.add(ids=[1], vectors=[[1.0, 2.0]])
        nodes.wait_until_equal("notes")
        monkeypatch.setattr("paradox.log.jetstream.PERSIST_S", 1.0)
        servers.kill(0, 1)
        with pytest.raises(LogUnavailable):
            notes.add(ids=[2], vectors=[[1.0, 2.0]])
        assert [hit.id for hit in notes.search([1.0, 2.0], k=1)] == [1]
        monkeypatch.undo()
        servers.start(0, 1)
        notes.add(ids=[3], vectors=[[1.0, 2.0]])
        assert {hit.id for hit in notes.scroll()} - {2} == {1, 3}


def test_a_cluster_tells_how_it_is(servers: LogServers, tmp_path: Path) -> None:
    with members(servers, tmp_path) as nodes:
        database = nodes.connect()
        database.collection("notes", dimensions=2).add(ids=[1], vectors=[[1.0, 2.0]])
        nodes.wait_until_equal("notes")
        status = database.status()
        assert status["sentence"] == "healthy: 1 point in 1 collection on 3 nodes"
        assert [(node["name"], node["state"], node["positions"]) for node in status["nodes"]] == [
            (f"n{number}", "up", {"notes": 1}) for number in range(3)
        ]
        nodes.stop(1)
        status = database.status()
        assert not status["healthy"]
        assert status["sentence"] == "working on 2 of 3 nodes: n1 does not answer"
        assert database.verify()["healthy"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_searches_visit_few_shards_and_keep_their_recall(servers: LogServers, tmp_path: Path) -> None:
    made = Clusters("cosine", seed=3, dimensions=32)
    stored, asked = made.draw(6_000), made.draw(100)
    with members(servers, tmp_path, limits=Limits(region_points_max=150, region_points_min=30, growing_points_max=2_000)) as nodes:
        database = nodes.connect()
        collection = database.collection("clusters", dimensions=32, shards=12, copies=2)
        for start in range(0, 6_000, 500):
            collection.add(ids=list(range(start, start + 500)), vectors=stored[start : start + 500])
        until = time.monotonic() + WAIT_S
        while collection.info()["regions"] <= 12:
            assert time.monotonic() < until, "the regions are never split"
            time.sleep(LOOK_S)
        wait_until_settled(nodes, "clusters")
        wait_until_measured(nodes, "clusters")
        assert sorted(hit.id for hit in collection.scroll()) == list(range(6_000))
        another = nodes.connect()
        collection = another["clusters"]
        measured = {reading.recall for number in nodes.running for reading in engine_of(nodes, number, "clusters").routing}
        found = shards = 0
        for query in asked:
            hits = collection.search(query, k=10, recall=0.9)
            exact = collection.search(query, k=10, exact=True)
            truth = np.argsort(-(stored @ query) / np.linalg.norm(stored, axis=1))[:10]
            assert {hit.id for hit in exact} == set(truth.tolist())
            found += len({hit.id for hit in hits} & set(truth.tolist()))
            shards += len(hits.plan.shards)
            assert hits.plan.expected_recall > 0.8
            assert hits.coverage.share == 1.0
        layout = another._transport._transport._layout("clusters")  # type: ignore[attr-defined]
        assert layout.is_measured
        assert {reading.recall for reading in layout.routing} <= measured
        assert found / (10 * len(asked)) >= 0.9
        assert shards / len(asked) <= 3


def engine_of(nodes: Members, number: int, name: str) -> Scatter:
    return nodes.running[number].database.opened(name).held.engine


def wait_until_measured(nodes: Members, name: str) -> None:
    """Wait until each node knows for the map of now how far searches must go."""
    until = time.monotonic() + WAIT_S
    while any((engine := engine_of(nodes, number, name)).routed != engine.regions.epoch for number in nodes.running):
        assert time.monotonic() < until, [engine_of(nodes, number, name).routed for number in nodes.running]
        time.sleep(LOOK_S)


def stored(nodes: Members, name: str) -> list[int]:
    """Return how many points each shard holds, copies included."""
    engines = [engine_of(nodes, number, name) for number in nodes.running]
    return [sum(engine.stored()[shard] for engine in engines if shard in engine.held) for shard in range(len(engines[0].shards))]


@pytest.mark.parametrize("deciders", ["one", "all"])
def test_shards_that_drift_apart_are_balanced_again(
    servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deciders: str
) -> None:
    """Half of all points come to one corner of space, where one shard is. Nodes that all believe that they decide do no harm."""
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 1.0)
    if deciders == "all":
        monkeypatch.setattr("paradox.node.member.Member._is_first", lambda member: True)
    made = Clusters("cosine", seed=4, dimensions=16)
    even = made.draw(1_500)
    corner = (even[:1] + 0.3 * made.dice.normal(size=(1_500, 16))).astype(np.float32)
    with members(servers, tmp_path, limits=Limits(region_points_max=100, region_points_min=10, growing_points_max=2_000)) as nodes:
        collection = nodes.connect().collection("drift", dimensions=16, shards=6, copies=2)
        collection.add(ids=list(range(1_500)), vectors=even)
        until = time.monotonic() + WAIT_S
        while is_blank(engine_of(nodes, 0, "drift").regions):
            assert time.monotonic() < until, "no regions are made"
            time.sleep(LOOK_S)
        wait_until_settled(nodes, "drift")
        regions = engine_of(nodes, 0, "drift").regions
        before = dict(zip(regions.names.tolist(), regions.shard_of.tolist(), strict=True))
        for start in range(0, 1_500, 250):
            collection.add(ids=list(range(1_500 + start, 1_750 + start)), vectors=corner[start : start + 250])
        until = time.monotonic() + WAIT_S
        while is_crowded(stored(nodes, "drift")) or not all(
            (held := nodes.running[number].database.opened("drift").held).settled == held.engine.regions.epoch for number in nodes.running
        ):
            assert time.monotonic() < until, stored(nodes, "drift")
            assert collection.count() == 3_000
            assert len(collection.search(corner[0], k=10)) == 10
        regions = engine_of(nodes, 0, "drift").regions
        after = dict(zip(regions.names.tolist(), regions.shard_of.tolist(), strict=True))
        assert any(shard != before.get(name, shard) for name, shard in after.items()), "no region had to move: the test shows nothing"
        wait_until_settled(nodes, "drift")
        epoch = engine_of(nodes, 0, "drift").regions.epoch
        assert sorted(hit.id for hit in collection.scroll()) == list(range(3_000))
        there = nodes.copies("drift")
        assert all(len(places) == 2 and sum(owned for _, _, owned, _ in places) == 1 for places in there.values())
        assert all(len({shard for _, shard, _, _ in places}) == 2 for places in there.values())
        asked = corner[::150]
        for query, hits in zip(asked, collection.search_many(asked, k=10, exact=True), strict=True):
            everything = np.concatenate((even, corner))
            truth = np.argsort(-(everything @ query) / np.linalg.norm(everything, axis=1))[:10]
            assert {hit.id for hit in hits} == set(truth.tolist())
        assert engine_of(nodes, 0, "drift").regions.epoch == epoch, "what is balanced is moved on"


def test_a_store_is_not_given_to_log_servers_that_know_nothing_of_it(servers: LogServers, tmp_path: Path) -> None:
    """Nodes delete what their cluster does not know: another cluster's points must not be taken for that."""
    with members(servers, tmp_path, 2) as nodes:
        nodes.connect().collection("notes", dimensions=2).add(ids=[1], vectors=[[1.0, 2.0]])
    (tmp_path / "other").mkdir()
    with log_servers(tmp_path / "other") as others:
        with pytest.raises(StoreUnreadable, match="but the log servers know nothing of them"), members(others, tmp_path, 1):
            pass
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with members(others, elsewhere, 1):
            pass
        with pytest.raises(StoreUnreadable, match="belongs to another cluster"), members(others, tmp_path, 1):
            pass
    with members(servers, tmp_path, 2) as nodes:
        assert nodes.connect()["notes"].count() == 1


def test_nodes_compare_what_they_applied_and_what_they_hold(servers: LogServers, tmp_path: Path) -> None:
    """Also after nodes began again from snapshots and a trimmed log; one that applied something else is named."""
    shape, dice = Shape(shards=6, copies=2), random.Random(11)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        collection = shape.collection(database)
        world = World({})
        log = nodes.transport(0).opened(NAME).held.log
        while log.first <= 3:
            deed = next_deed(dice, list(world.points), shape, alone=False)
            perform(database, collection, shape, deed)
            world = after(world, shape, deed)
            log.refresh()  # type: ignore[attr-defined]
        nodes.stop(0, 1, 2)
        nodes.start(0, 1, 2)
        wait_until_held(nodes, database)
        wait_until_settled(nodes)
        chains = {nodes.transport(number).opened(NAME).held.chain.value for number in nodes.running}
        assert len(chains) == 1
        assert None not in chains
        report = database.verify()
        assert report["healthy"], report
        points = len(world.points)
        position = nodes.position(0, NAME)
        assert report["contents"] == {NAME: f"equal at position {position:,}: {points:,} points, each copy compared"}
        assert database.status()["alarms"] == []
        held = nodes.transport(1).opened(NAME).held
        held.chain = Chain(position, 1)
        wait_for_alarm(
            database, f"nodes n0 and n1 and n2 applied different entries of '{NAME}' up to position {position:,}: not as most did n1"
        )
        report = database.verify()
        assert not report["healthy"]
        assert "applied different entries" in report["contents"][NAME]


def wait_for_alarm(database: Database, what: str) -> None:
    """Wait until the status of a cluster says this: nodes say twice a second what they applied."""
    until = time.monotonic() + WAIT_S
    while not (alarms := database.status()["alarms"]):
        assert time.monotonic() < until, "no alarm"
        time.sleep(LOOK_S)
    assert [alarm["what"] for alarm in alarms] == [what]


@pytest.mark.parametrize("change", ["payload", "gone"])
def test_a_copy_that_differs_is_found_by_verify(servers: LogServers, tmp_path: Path, change: str) -> None:
    with members(servers, tmp_path) as nodes:
        database = nodes.connect()
        collection = database.collection("notes", dimensions=2, shards=6, copies=2)
        collection.add(ids=list(range(50)), vectors=np.ones((50, 2)), payload=[{"n": n} for n in range(50)])
        nodes.wait_until_equal("notes")
        assert database.verify()["contents"] == {"notes": "equal at position 1: 50 points, each copy compared"}
        growing = next(
            shard.growing
            for number in nodes.running
            for shard in nodes.transport(number).opened("notes").held.engine.shards
            if shard.growing.rows and not shard.growing.owned().any()
        )
        if change == "payload":
            growing._payloads[7] = b"\x81\xa1n\x63"
        else:
            growing.kill(np.array([7]), 1)
        report = database.verify()
        assert not report["healthy"]
        assert report["damaged"] == [{"file": "notes", "reason": "the copies of some points differ at position 1"}]


@pytest.mark.parametrize("how", ["ids", "where", "update"])
def test_what_is_to_be_changed_is_not_taken_for_absent_when_its_node_is_silent(servers: LogServers, tmp_path: Path, how: str) -> None:
    """A point whose only copy is where nobody answers: the write waits, and does it or says that it could not."""
    with members(servers, tmp_path) as nodes:
        collection = nodes.connect().collection("notes", dimensions=2, shards=3, copies=1)
        collection.add(ids=list(range(30)), vectors=np.random.default_rng(1).normal(size=(30, 2)), payload=[{"n": n} for n in range(30)])
        nodes.wait_until_equal("notes")
        victim = next(number for number in nodes.running if nodes.transport(number).opened("notes").held.engine.count())
        nodes.stop(victim)
        if how == "update":
            collection.update(list(range(30)), {"n": 100})
        else:
            collection.delete(**({"ids": list(range(30))} if how == "ids" else {"where": "n < 30"}))
        nodes.start(victim)
        nodes.wait_until_equal("notes")
        assert collection.count(where="n = 100") == 30 if how == "update" else collection.count() == 0
