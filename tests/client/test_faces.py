"""Both faces: what each verb sends, and what it makes of the reply."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import paradox
from client.fake import FakeTransport
from paradox import errors
from paradox.client import aio, sync
from paradox.model import operations as op
from paradox.model.filters import Compare
from paradox.wire.inprocess import Offloaded

ROOT = Path(__file__).parents[2]
UP = [0.0, 0.0, 1.0]


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def notes(transport: FakeTransport) -> sync.Collection:
    notes = sync.Database(transport).collection("notes", dimensions=3)
    notes.add(vectors=np.eye(3), ids=["x", "y", "z"], payload=[{"n": 1}, {"n": 2}, {"n": 1}])
    return notes


def asked(transport: FakeTransport) -> op.Ask:
    """Return the last search that was sent."""
    operation = transport.sent[-1]
    assert isinstance(operation, op.Ask)
    return operation


# The database


def test_only_what_was_said_of_a_collection_is_sent(transport: FakeTransport) -> None:
    database = sync.Database(transport)
    database.collection("a", dimensions=3, metric="dot", text=["title"])
    database["a"]
    assert transport.sent == [
        op.OpenCollection(name="a", wanted={"dimensions": 3, "metric": "dot", "text": ["title"]}, create=True),
        op.OpenCollection(name="a", wanted={}, create=False),
    ]


def test_a_collection_in_brackets_must_exist(transport: FakeTransport) -> None:
    with pytest.raises(errors.CollectionMissing):
        sync.Database(transport)["nowhere"]


def test_a_database_lists_describes_drops_and_closes(transport: FakeTransport) -> None:
    with sync.Database(transport) as database:
        database.collection("b", dimensions=3)
        database.collection("a", dimensions=3)
        assert database.collections() == ["a", "b"]
        database.drop("b")
        assert database.collections() == ["a"]
        assert database.status()["healthy"]
        assert database.verify()["damaged"] == []
    assert transport.closed
    with pytest.raises(errors.StoreClosed):
        database.collections()


# Searching


def test_a_search_sends_every_word_of_it(transport: FakeTransport, notes: sync.Collection) -> None:
    receipt = notes.add(vectors=UP, ids="w", payload={"n": 2})
    notes.search(
        UP,
        k=2,
        where="n = 2",
        modality="image",
        between=("1970-01-01", 1),
        using="vector",
        recall=0.9,
        exact=True,
        after=receipt,
        consistency="strong",
        with_payload=False,
        with_vectors=True,
        within_s=0.5,
        explain=True,
    )
    question = asked(transport).question
    assert question.vectors is not None
    assert question.vectors.tolist() == [UP]
    assert question.where == Compare("n", "=", 2)
    assert (question.k, question.modality, question.between_us, question.using) == (2, "image", (0, 1_000_000), "vector")
    assert (question.recall, question.exact, question.after, question.deadline_s) == (0.9, True, receipt.position, 0.5)
    assert (question.with_payload, question.with_vectors, question.explain) == (False, True, True)


def test_a_text_is_sent_as_text(transport: FakeTransport, notes: sync.Collection) -> None:
    notes.search("the tide")
    assert asked(transport).question.vectors is None
    assert asked(transport).question.texts == ("the tide",)


def test_like_asks_with_a_stored_point(transport: FakeTransport, notes: sync.Collection) -> None:
    assert notes.search(like="x", k=1)[0].id == "x"
    assert asked(transport).like == "x"


def test_a_filter_may_be_built(notes: sync.Collection) -> None:
    assert {hit.id for hit in notes.search(UP, where=paradox.field("n") == 1)} == {"x", "z"}


def test_many_questions_are_asked_at_once(transport: FakeTransport, notes: sync.Collection) -> None:
    before = len(transport.sent)
    assert [hits[0].id for hits in notes.search_many(np.eye(3), k=1)] == ["x", "y", "z"]
    assert len(notes.search_many(["a", "b"], k=2)) == 2
    assert len(transport.sent) == before + 2
    assert notes.search_many([]) == []


def test_a_plan_is_returned_by_explain(notes: sync.Collection) -> None:
    assert notes.explain(UP).expected_recall == 0.97


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "query.invalid", "a search was given neither a query nor like="),
    ({"query": UP, "like": "x"}, "query.invalid", "a search was given both a query and like="),
    ({"like": "x", "mode": "hybrid"}, "query.invalid", "like= asks with a stored vector, and mode='hybrid' needs a text"),
    ({"query": UP, "mode": "text"}, "query.invalid", "mode='text' needs a text, and the query is a vector"),
    ({"query": UP, "mode": "fuzzy"}, "query.invalid", "mode='fuzzy' is unknown"),
    ({"query": UP, "consistency": "weak"}, "query.invalid", "consistency='weak' is unknown"),
    ({"query": UP, "after": "yesterday"}, "query.invalid", "after='yesterday' is no position"),
    ({"query": UP, "after": True}, "query.invalid", "after=True is no position"),
    ({"query": UP, "using": "title"}, "query.invalid", "collection 'notes' has no vector 'title'"),
    ({"query": UP, "modality": 5}, "query.invalid", "modality is of type int; expected a word"),
    ({"query": UP, "between": "1990"}, "query.invalid", "between='1990' is not a pair of times"),
    ({"query": UP, "between": (2, 1)}, "query.invalid", "between starts at 2 and ends before, at 1"),
    ({"query": UP, "between": ("noon", None)}, "time.invalid", "the start of between is 'noon', which is not an ISO 8601 time"),
    ({"query": [UP, UP]}, "query.invalid", "the query has 2 rows; expected one vector"),
    ({"query": UP, "k": 2.5}, "k.range", "k is of type float; expected a whole number"),
    ({"query": UP, "k": True}, "k.range", "k is of type bool; expected a whole number"),
    ({"query": UP, "recall": "high"}, "k.range", "recall is of type str; expected a number"),
    ({"query": UP, "within_s": 0}, "k.range", "within_s=0 is no time to wait; expected seconds above 0"),
    ({"query": [1, 2]}, "vector.dimensions", "the query has 2 dimensions; collection 'notes' holds 3"),
    ({"query": [1, "a", 3]}, "vector.type", "vectors are of type str672; expected numbers"),
    ({"query": b"PNG"}, "feature.missing", "asking with an image is not available in this version"),
    (
        {"query": UP, "where": 5},
        "filter.syntax",
        "a filter is of type int; expected a string, an expression made with paradox.field(…), or None",
    ),
]


@pytest.mark.parametrize(("words", "code", "message"), REFUSED, ids=[message[:50] for _, _, message in REFUSED])
def test_what_cannot_be_asked_is_named(notes: sync.Collection, words: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(errors.ParadoxError) as caught:
        notes.search(**words)
    assert caught.value.code == code
    assert caught.value.message.startswith(message) or code == "vector.type"


@pytest.mark.parametrize(("queries", "message"), [("a", "queries are of type str"), (["a", [1, 2, 3]], "query 1 is of type list")])
def test_many_questions_must_be_of_one_kind(notes: sync.Collection, queries: Any, message: str) -> None:
    with pytest.raises(errors.QueryInvalid, match=message):
        notes.search_many(queries)


@pytest.mark.parametrize("level", ["eventual", "session", "strong", None])
def test_every_level_of_consistency_is_accepted(notes: sync.Collection, level: Any) -> None:
    assert notes.count(consistency=level) == 3
    assert len(notes.get("x", consistency=level)) == 1
    assert len(notes.search(UP, consistency=level)) == 3
    assert len(list(notes.scroll(consistency=level))) == 3


def test_an_open_side_of_between_is_open(transport: FakeTransport, notes: sync.Collection) -> None:
    notes.search(UP, between=(None, 0))
    assert asked(transport).question.between_us == (-62_135_596_800_000_000, 0)


# The other verbs


def test_points_are_read_in_the_order_asked(notes: sync.Collection) -> None:
    hits = notes.get(["z", "nobody", "x"], with_vectors=True)
    assert [hit.id for hit in hits] == ["z", "x"]
    assert hits[0].vector is not None
    assert hits[0].vector.tolist() == UP
    assert notes.get("y")[0].payload == {"n": 2}


def test_a_uuid_comes_back_as_a_uuid(notes: sync.Collection) -> None:
    id = UUID(int=7)
    assert notes.add(vectors=UP, ids=id).ids == [id]
    assert notes.get(id)[0].id == id


def test_payload_fields_are_set_and_removed(notes: sync.Collection) -> None:
    notes.update(["x", "y"], {"seen": True})
    notes.update(["x", "y"], [{"n": None}, {"n": 5}])
    assert [hit.payload for hit in notes.get(["x", "y"])] == [{"seen": True}, {"n": 5, "seen": True}]


def test_an_update_that_does_not_fit_is_refused(notes: sync.Collection) -> None:
    with pytest.raises(errors.BatchMismatch, match="ids 2, payload 1"):
        notes.update(["x", "y"], [{"n": 1}])
    with pytest.raises(errors.BatchEmpty):
        notes.update([], {"n": 1})
    with pytest.raises(errors.PointMissing):
        notes.update(["nobody"], {"n": 1})


def test_points_are_deleted_by_id_or_by_filter(notes: sync.Collection) -> None:
    assert notes.delete(["x", "nobody"]).ids == ["x"]
    assert notes.delete(where="n = 2").ids == ["y"]
    assert notes.count() == 1


@pytest.mark.parametrize(("words", "what"), [({}, "neither ids nor where"), ({"ids": ["x"], "where": "n = 1"}, "both ids and where")])
def test_a_deletion_needs_one_of_ids_and_filter(notes: sync.Collection, words: dict[str, Any], what: str) -> None:
    with pytest.raises(errors.QueryInvalid, match=what):
        notes.delete(**words)
    assert notes.count() == 3


def test_scroll_yields_every_point_page_by_page(transport: FakeTransport, notes: sync.Collection) -> None:
    assert [hit.id for hit in notes.scroll(batch=2)] == ["x", "y", "z"]
    assert [hit.id for hit in notes.scroll(where="n = 1", with_vectors=True)] == ["x", "z"]


def test_scroll_refuses_before_the_first_point_is_asked_for(notes: sync.Collection) -> None:
    with pytest.raises(errors.FilterSyntax):
        notes.scroll("n ==== 1")
    with pytest.raises(errors.NumberRange):
        notes.scroll(batch=0)


def test_a_collection_tells_what_it_is(notes: sync.Collection) -> None:
    assert notes.info()["points"] == 3
    assert repr(notes) == "Collection('notes', vector: 3 cosine)"
    assert notes.spec.vectors["vector"].dimensions == 3


# The awaiting face


def test_the_awaiting_face_does_the_same() -> None:
    async def story() -> None:
        transport = FakeTransport()
        async with aio.AsyncDatabase(Offloaded(transport)) as database:
            notes = await database.collection("notes", dimensions=3)
            receipt = await notes.add(vectors=np.eye(3), ids=["x", "y", "z"], payload={"n": 1})
            assert receipt.ids == ["x", "y", "z"]
            assert (await notes.search(UP, k=1))[0].id == "z"
            assert [hits[0].id for hits in await notes.search_many(np.eye(3), k=1)] == ["x", "y", "z"]
            assert [hit.id async for hit in notes.scroll(batch=2)] == ["x", "y", "z"]
            assert await notes.count() == 3
            assert (await notes.delete(["x"])).ids == ["x"]
            assert await database.collections() == ["notes"]
            assert (await (await database["notes"]).get("y"))[0].payload == {"n": 1}
            with pytest.raises(errors.CollectionMissing):
                await database["nowhere"]
        assert transport.closed

    asyncio.run(story())


def test_the_event_loop_goes_on_while_a_database_works() -> None:
    """The transport waits for what only the loop can do: if it were called on the loop's own thread, nothing would ever happen."""
    released = threading.Event()

    class Waiting(FakeTransport):
        def send(self, operation: op.Operation) -> Any:
            assert released.wait(timeout=10)
            return super().send(operation)

    async def story() -> None:
        listing = asyncio.create_task(aio.AsyncDatabase(Offloaded(Waiting())).collections())
        await asyncio.sleep(0)
        released.set()
        assert await listing == []

    asyncio.run(story())


def test_the_blocking_face_is_made_from_the_awaiting_one() -> None:
    ran = subprocess.run([sys.executable, str(ROOT / "tools" / "generate_sync.py"), "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(("waiting", "blocking"), [(aio.AsyncDatabase, sync.Database), (aio.AsyncCollection, sync.Collection)])
def test_both_faces_have_the_same_verbs_with_the_same_words(waiting: type, blocking: type) -> None:
    def verbs(face: type) -> dict[str, list[str]]:
        return {name: list(inspect.signature(verb).parameters) for name, verb in vars(face).items() if inspect.isfunction(verb)}

    renamed = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
    assert {renamed.get(name, name): words for name, words in verbs(waiting).items()} == verbs(blocking)
    assert not any(inspect.iscoroutinefunction(verb) or inspect.isasyncgenfunction(verb) for verb in vars(blocking).values())
