"""Nodes that hold the same collections: they agree with a dict, and with one another."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest

from cluster.members import members
from durability.lives import NAME, Deed, Shape, World, after, expect_agreement, found, id_of, next_deed, perform
from log_servers import LogServers
from paradox.errors import CollectionMissing, LogUnavailable

SMALL = Shape().limits
SHAPES = {
    "plain": Shape(),
    "text": Shape(text=True),
    "three shards, two copies": Shape(shards=3, copies=2),
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
                expect_agreement(shape, database, world, dice)
        nodes.wait_until_equal(NAME)
        for number in nodes.running:
            assert found(shape, nodes.alone(number)[NAME]) == world.points


def test_writers_at_several_nodes_lose_nothing_and_the_nodes_agree(servers: LogServers, tmp_path: Path) -> None:
    """Each writer is sent to another node: who was not first drafts anew."""
    shape = Shape()
    with members(servers, tmp_path, limits=SMALL) as nodes:
        shape.collection(nodes.connect())
        nodes.wait_until_equal(NAME)
        failures: list[BaseException] = []

        def write(number: int) -> None:
            try:
                collection = nodes.alone(number)[NAME]
                for step in range(20):
                    ids = [id_of(each) for each in range(number, 400, 3 * (1 + step % 5))]
                    collection.add(ids=ids, vectors=np.full((len(ids), 8), 1 + step), payload=[{"by": number, "step": step}] * len(ids))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in nodes.running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        nodes.wait_until_equal(NAME)
        told = [found(shape, nodes.alone(number)[NAME]) for number in nodes.running]
        assert told[0] == told[1] == told[2]
        assert {point.payload["step"] for point in told[0].values()} <= set(range(15, 20))
        assert len(told[0]) == 400


def test_a_node_that_was_away_longer_than_the_log_copies_a_snapshot(servers: LogServers, tmp_path: Path) -> None:
    shape, dice = Shape(), random.Random(5)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        collection = shape.collection(database)
        perform(database, collection, shape, Deed("add", [id_of(number) for number in range(50)], 1))
        nodes.wait_until_equal(NAME)
        nodes.stop(2)
        world = after(World({}), shape, Deed("add", [id_of(number) for number in range(50)], 1))
        held = next(one.held for one in nodes.running[0].database.all_opened())
        step = 0
        while held.log.refresh() and held.log.first <= 3:
            deed = next_deed(dice, list(world.points), shape, alone=False)
            perform(database, collection, shape, deed)
            world = after(world, shape, deed)
            step += 1
            assert step < 400, "the log is never trimmed"
        nodes.start(2, 3)  # one that missed something, and one that has nothing
        nodes.wait_until_equal(NAME)
        for number in (2, 3):
            assert found(shape, nodes.alone(number)[NAME]) == world.points
            assert nodes.alone(number).verify()["healthy"]


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
        assert sum(1 for _ in (tmp_path / "n0" / "collections").iterdir()) <= 2


def test_reads_go_on_and_writes_say_so_when_the_log_is_gone(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.log.jetstream.PERSIST_S", 1.0)
    with members(servers, tmp_path) as nodes:
        notes = nodes.connect().collection("notes", dimensions=2)
        notes.add(ids=[1], vectors=[[1.0, 2.0]])
        alone = [nodes.alone(number)["notes"] for number in nodes.running]
        nodes.wait_until_equal("notes")
        servers.kill(0)
        for one in alone:
            assert [hit.id for hit in one.search([1.0, 2.0])] == [1]
        with pytest.raises(LogUnavailable):
            alone[0].add(ids=[2], vectors=[[1.0, 2.0]])
        servers.start(0)
        alone[1].add(ids=[3], vectors=[[1.0, 2.0]])
        nodes.wait_until_equal("notes")
        assert {hit.id for hit in alone[2].scroll()} - {2} == {1, 3}


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
