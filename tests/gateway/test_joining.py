"""Searches that wait at the same time go on as one, and each gets what it would have got alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest

import paradox
from paradox.errors import StoreClosed, VectorDimensions
from paradox.gateway.calls import Call
from paradox.gateway.joining import RUNS_MAX, Joining, answer_together
from paradox.gateway.routes import is_joinable
from paradox.model import operations as ops
from paradox.node.embedded import open_folder
from paradox.ports.transport import Transport
from paradox.wire import bodies
from paradox.wire.pack import unpack
from served import served

VECTORS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


class Watched:
    """A database that tells how many vectors each question had, and can be made to wait or to fail."""

    def __init__(self, database: Transport) -> None:
        self.asked: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.share = 1.0
        self.refuses_many = False
        self._database = database

    def joins(self, collection: str) -> bool:
        return True

    def send(self, operation: Any) -> Any:
        if not isinstance(operation, ops.Ask) or operation.question.vectors is None:
            return self._database.send(operation)
        many = len(operation.question.vectors)
        self.asked.append(many)
        self.may_go.wait(30)
        if many > 1 and self.refuses_many:
            raise StoreClosed("not many", hint="")
        answers = self._database.send(operation)
        if many > 1:
            answers.coverage = msgspec.structs.replace(answers.coverage, share=self.share)
        return answers

    def close(self) -> None: ...


@pytest.fixture(name="watched")
def make_watched(database: Transport) -> Watched:
    database.send(ops.OpenCollection(name="joined", wanted={"dimensions": 4}, create=True))
    database.send(ops.AddPoints(collection="joined", rows=len(VECTORS), keys=list(range(len(VECTORS))), vectors={"vector": VECTORS}))
    return Watched(database)


def call(watched: Watched, row: int, **terms: Any) -> Call:
    return Call(watched, "joined", bodies.SearchBody(query=VECTORS[row], **terms), "msgpack", "msgpack")


def ids(raw: bytes | Exception) -> list[Any]:
    assert isinstance(raw, bytes), raw
    return [hit["id"] for hit in unpack(raw, "msgpack", dict)["hits"]]


def test_questions_that_are_alike_are_asked_together(watched: Watched) -> None:
    alone = [ids(answer_together(watched, [call(watched, row, k=5)])[0]) for row in range(6)]
    watched.asked.clear()
    assert [ids(raw) for raw in answer_together(watched, [call(watched, row, k=5) for row in range(6)])] == alone
    assert watched.asked == [6]
    assert [found[0] for found in alone] == list(range(6))


def test_questions_that_differ_are_asked_apart(watched: Watched) -> None:
    found = answer_together(watched, [call(watched, row, k=3 + row % 2) for row in range(5)])
    assert [len(ids(raw)) for raw in found] == [3, 4, 3, 4, 3]
    assert sorted(watched.asked) == [2, 3]


def test_who_asks_wrongly_hears_of_it_alone(watched: Watched) -> None:
    wrong = Call(watched, "joined", bodies.SearchBody(query=[1.0, 2.0]), "msgpack", "msgpack")
    found = answer_together(watched, [call(watched, 0), wrong, call(watched, 2)])
    assert isinstance(found[1], VectorDimensions)
    assert [ids(found[0])[0], ids(found[2])[0]] == [0, 2]


@pytest.mark.parametrize("trouble", ["error", "coverage"])
def test_where_not_all_can_be_answered_each_is_asked_alone(watched: Watched, trouble: str) -> None:
    watched.refuses_many, watched.share = trouble == "error", 0.5
    found = answer_together(watched, [call(watched, row) for row in range(3)])
    assert [ids(raw)[0] for raw in found] == [0, 1, 2]
    assert watched.asked == [3, 1, 1, 1]
    assert all(unpack(raw, "msgpack", dict)["coverage"]["share"] == 1 for raw in found if isinstance(raw, bytes))


def test_who_comes_while_others_are_answered_goes_with_the_next(watched: Watched) -> None:
    watched.may_go.clear()

    async def ask() -> list[bytes]:
        with ThreadPoolExecutor(8) as pool:
            joining = Joining(watched, pool)
            tasks = [asyncio.ensure_future(joining.reply(call(watched, row))) for row in range(10)]
            while len(watched.asked) < RUNS_MAX:
                await asyncio.sleep(0)
            watched.may_go.set()
            return await asyncio.gather(*tasks)

    assert [ids(raw)[0] for raw in asyncio.run(ask())] == list(range(10))
    assert watched.asked[:RUNS_MAX] == [1] * RUNS_MAX
    assert sum(watched.asked) == 10
    assert max(watched.asked) == 10 - RUNS_MAX


def test_a_slow_run_does_not_hold_up_the_others(watched: Watched) -> None:
    watched.may_go.clear()

    async def ask() -> list[bytes]:
        with ThreadPoolExecutor(8) as pool:
            joining = Joining(watched, pool)
            slow = [asyncio.ensure_future(joining.reply(call(watched, row))) for row in range(RUNS_MAX)]
            while len(watched.asked) < RUNS_MAX:
                await asyncio.sleep(0)
            late = asyncio.ensure_future(joining.reply(call(watched, 9)))
            while len(watched.asked) == RUNS_MAX:
                await asyncio.sleep(0.001)
            assert not any(task.done() for task in slow)
            watched.may_go.set()
            return await asyncio.gather(*slow, late)

    assert [ids(raw)[0] for raw in asyncio.run(ask())] == [*range(RUNS_MAX), 9]


def test_who_gave_up_is_not_answered_and_the_others_are(watched: Watched) -> None:
    watched.may_go.clear()

    async def ask() -> tuple[list[bytes], bool]:
        with ThreadPoolExecutor(8) as pool:
            joining = Joining(watched, pool)
            tasks = [asyncio.ensure_future(joining.reply(call(watched, row))) for row in range(6)]
            await asyncio.sleep(0)
            tasks[4].cancel()
            watched.may_go.set()
            rest = await asyncio.gather(*tasks[:4], tasks[5])
            return rest, tasks[4].cancelled()

    found, gone = asyncio.run(ask())
    assert [ids(raw)[0] for raw in found] == [0, 1, 2, 3, 5]
    assert gone


@pytest.mark.parametrize(
    "terms",
    [
        {"query": "text"},
        {"like": 3},
        {"query": [1.0], "exact": True},
        {"query": [1.0], "where": "a = 1"},
        {"query": [1.0], "within_s": 1.0},
    ],
)
def test_what_may_take_longer_than_others_is_not_joined(terms: dict[str, Any]) -> None:
    assert is_joinable(bodies.SearchBody(query=[1.0]))
    assert not is_joinable(bodies.SearchBody(**terms))


def test_callers_of_a_server_are_joined_and_get_their_own(watched: Watched) -> None:
    with served(watched) as address, paradox.connect(address) as db:
        points = db["joined"]
        watched.asked.clear()
        watched.may_go.clear()
        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(points.search, VECTORS[row], 3) for row in range(8)]
            while len(watched.asked) < RUNS_MAX:
                threading.Event().wait(0.001)
            watched.may_go.set()
            assert [future.result()[0].id for future in asking] == list(range(8))
    assert sum(watched.asked) == 8


@pytest.fixture(name="sharded")
def make_sharded(tmp_path: Any) -> Iterator[Transport]:
    made = open_folder(str(tmp_path / "sharded"), read_only=False, origin="", timeout_s=0)
    made.send(ops.OpenCollection(name="one", wanted={"dimensions": 4}, create=True))
    made.send(ops.OpenCollection(name="many", wanted={"dimensions": 4, "shards": 2}, create=True))
    yield made
    made.close()


def test_a_folder_joins_where_one_look_serves_many(sharded: Any) -> None:
    assert sharded.joins("one")
    assert not sharded.joins("many")
    assert not sharded.joins("not opened yet")
