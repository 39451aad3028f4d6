"""Every write that cannot be done is refused with one code and one message, and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.refusals import ROW, Refusal, World, expect_refused
from engine.small import opened
from paradox.errors import ParadoxError, StoreClosed, StoreReadOnly


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"d": made}
    return made


def cyclic() -> dict[str, Any]:
    made: dict[str, Any] = {"one": []}
    made["one"].append(made)
    return made


MEGABYTES = {"text": "x" * 10_000_000}
TOO_LARGE = "the payload of point 0 has 10,000,011 bytes; at most 1,048,576 bytes are allowed"
D = ".d" * 19

REFUSALS = [
    # vectors
    Refusal("NaN", lambda w: w.notes.add(vectors=[[1, 2, 3], [1, float("nan"), 3]]), "vector.not_finite",
            "point 1 has nan at component 1; expected finite numbers below 1e+16"),
    Refusal("infinity", lambda w: w.notes.add(vectors=[[1, 2, float("inf")]]), "vector.not_finite",
            "point 0 has inf at component 2; expected finite numbers below 1e+16"),
    Refusal("minus infinity", lambda w: w.notes.add(vectors=np.array([[1, -np.inf, 3]])), "vector.not_finite",
            "point 0 has -inf at component 1; expected finite numbers below 1e+16"),
    Refusal("a number beyond float32", lambda w: w.notes.add(vectors=np.array([[1e200, 0, 0]])), "vector.not_finite",
            "point 0 has inf at component 0; expected finite numbers below 1e+16"),
    Refusal("NaN in one of many points", lambda w: w.notes.add(vectors=np.vstack((np.ones((20_000, 3)), [[1, np.nan, 1]]))),
            "vector.not_finite", "point 20000 has nan at component 1; expected finite numbers below 1e+16"),
    Refusal("NaN in a named vector", lambda w: w.films.add(vectors={"title": ROW, "image": [[1, np.nan]]}), "vector.not_finite",
            "point 0 has nan at component 1; expected finite numbers below 1e+16"),
    Refusal("too many dimensions", lambda w: w.notes.add(vectors=[[1, 2, 3, 4]]), "vector.dimensions",
            "vectors have 4 dimensions; collection 'notes' holds 3"),
    Refusal("too few dimensions", lambda w: w.notes.add(vectors=[1, 2]), "vector.dimensions",
            "vectors have 2 dimensions; collection 'notes' holds 3"),
    Refusal("dimensions that differ", lambda w: w.notes.add(vectors=[[1, 2, 3], [1, 2]]), "vector.dimensions",
            "the vector of point 1 has 2 dimensions; expected 3"),
    Refusal("a tensor", lambda w: w.notes.add(vectors=np.ones((2, 2, 3))), "vector.dimensions",
            "vectors have the shape (2, 2, 3); expected (points, dimensions)"),
    Refusal("a zero vector", lambda w: w.notes.add(vectors=[[1, 2, 3], [0, 0, 0]]), "vector.zero",
            "point 1 is a zero vector, which has no direction for cosine to compare"),
    Refusal("a vector too short for a direction", lambda w: w.notes.add(vectors=[[1e-20, 0, 0]]), "vector.zero",
            "point 0 has no component above 1e-20; cosine needs one of 1e-16 or more"),
    Refusal("complex numbers", lambda w: w.notes.add(vectors=np.ones((1, 3), dtype=complex)), "vector.type",
            "vectors are of type complex128; expected numbers"),
    Refusal("bools", lambda w: w.notes.add(vectors=np.ones((1, 3), dtype=bool)), "vector.type",
            "vectors are of type bool; expected numbers"),
    Refusal("letters", lambda w: w.notes.add(vectors=[["a", "b", "c"]]), "vector.type",
            "the vector of point 0 holds a str at 0; expected a number"),
    Refusal("bytes", lambda w: w.notes.add(vectors=b"abc"), "vector.type", "vectors are of type bytes; expected numbers"),
    Refusal("no vector", lambda w: w.notes.add(vectors=[[1, 2, 3], None]), "batch.mismatch", "point 1 has no vector 'vector'"),
    Refusal("floats as bits", lambda w: w.bits.add(vectors=np.ones((1, 2))), "vector.type",
            "vectors are of type float64; expected uint8"),
    Refusal("unpacked bits", lambda w: w.bits.add(vectors=np.ones((1, 16), dtype=np.uint8)), "vector.dimensions",
            "vectors have 16 bytes of bits; collection 'bits' holds 16 bits, which are 2 bytes"),
    Refusal("an unknown name", lambda w: w.films.add(vectors={"title": ROW, "sound": [[1]]}), "request.invalid",
            "collection 'films' has no vector 'sound'"),
    Refusal("the first vector missing", lambda w: w.films.add(vectors={"image": [[1, 2]]}), "batch.mismatch",
            "no vectors were given for 'title'"),
    Refusal("vectors without a name", lambda w: w.films.add(vectors=ROW), "request.invalid",
            "collection 'films' has the vectors 'title', 'image', and these have no name"),
    # ids
    Refusal("an id twice", lambda w: w.notes.add(ids=["z", "y", "z"], vectors=ROW * 3), "id.duplicate",
            "points 0 and 2 of one batch have the same id 'z'"),
    Refusal("an id twice, far apart", lambda w: w.notes.add(ids=[*range(20_000), 3], vectors=np.ones((20_001, 3))), "id.duplicate",
            "points 3 and 20000 of one batch have the same id 3"),
    Refusal("an id twice in an update", lambda w: w.notes.update(["a", "a"], {"x": 1}), "id.duplicate",
            "points 0 and 1 of one batch have the same id 'a'"),
    Refusal("a float as id", lambda w: w.notes.add(ids=[1.5], vectors=ROW), "id.invalid",
            "an id is of type float; expected str, int or UUID"),
    Refusal("a bool as id", lambda w: w.notes.add(ids=[True], vectors=ROW), "id.invalid",
            "an id is of type bool; expected str, int or UUID"),
    Refusal("an empty id", lambda w: w.notes.add(ids=[""], vectors=ROW), "id.invalid", "an id is an empty string"),
    Refusal("a long id", lambda w: w.notes.add(ids=["x" * 2_000], vectors=ROW), "id.invalid",
            "an id has 2000 characters, at most 1024 are allowed"),
    Refusal("an id beyond 64 bits", lambda w: w.notes.add(ids=[2**63], vectors=ROW), "id.invalid",
            "the id 9223372036854775808 does not fit 64 bits"),
    Refusal("an id that is no text", lambda w: w.notes.add(ids=["\ud800"], vectors=ROW), "id.invalid",
            "the id '\\ud800' is not valid Unicode text"),
    # batches
    Refusal("an empty batch", lambda w: w.notes.add(vectors=np.empty((0, 3))), "batch.empty", "nothing to add: no point was given"),
    Refusal("an empty list", lambda w: w.notes.add([]), "batch.empty", "nothing to add: the list is empty"),
    Refusal("nothing", lambda w: w.notes.add(), "batch.empty", "nothing to add: neither texts, points nor vectors were given"),
    Refusal("an update of nothing", lambda w: w.notes.update([], {"a": 1}), "batch.empty", "nothing to update: no id was given"),
    Refusal("fewer ids than vectors", lambda w: w.notes.add(ids=["q"], vectors=ROW * 2), "batch.mismatch",
            "the parts have different lengths: ids 1, vectors 2"),
    Refusal("more payloads than ids", lambda w: w.notes.update(["a"], [{}, {}]), "batch.mismatch",
            "the parts have different lengths: ids 1, payload 2"),
    Refusal("payloads alone", lambda w: w.notes.add(payload=[{"a": 1}]), "batch.mismatch",
            "the points have neither vectors nor texts"),
    # payloads
    Refusal("10 MB", lambda w: w.notes.add(vectors=ROW, payload=MEGABYTES), "payload.size", TOO_LARGE),
    Refusal("an update of 10 MB", lambda w: w.notes.update("a", MEGABYTES), "payload.size", TOO_LARGE),
    Refusal("101 levels", lambda w: w.notes.add(vectors=ROW, payload=deep(101)), "payload.invalid",
            f"the payload of point 0 holds more than 64 levels, at 'd{D[:-1]}…{D}'"),
    Refusal("a circle", lambda w: w.notes.add(vectors=ROW, payload=cyclic()), "payload.invalid",
            "the payload of point 0 holds a value that contains itself, at 'one[0]'"),
    Refusal("a number as key", lambda w: w.notes.add(vectors=ROW, payload={"a": [{"b": {2: 3}}]}), "payload.invalid",
            "the payload of point 0 holds a key of type int, at 'a[0].b'"),
    Refusal("NaN in a payload", lambda w: w.notes.add(vectors=ROW * 2, payload=[{}, {"a": float("nan")}]), "payload.invalid",
            "the payload of point 1 holds nan, for which JSON has no number, at 'a'"),
    Refusal("a set", lambda w: w.notes.update("a", {"a": {1}}), "payload.invalid",
            "the payload of point 0 holds a value of type set, at 'a'"),
    Refusal("a number beyond 64 bits", lambda w: w.notes.add(vectors=ROW, payload={"a": 2**80}), "payload.invalid",
            "the payload of point 0 holds the number 1208925819614629174706176, which does not fit 64 bits, at 'a'"),
    Refusal("text that is none", lambda w: w.notes.add(vectors=ROW, payload={"a": "\ud800"}), "payload.invalid",
            "the payload of point 0 holds text that is not valid Unicode, at 'a'"),
    Refusal("a text for a payload", lambda w: w.notes.add(vectors=ROW, payload="a"), "request.invalid",
            "payload is of type str; expected a list"),
    Refusal("a number for a payload", lambda w: w.notes.update("a", 3), "request.invalid", "payload is of type int; expected a list"),
    Refusal("a field beside the payload", lambda w: w.notes.add([{"id": "k", "vector": ROW[0], "topic": "x"}]), "payload.invalid",
            "point 0 has the unknown key 'topic'; a point has at, id, modality, payload, text, vector, vectors"),
    # texts, times, modalities
    Refusal("text without an encoder", lambda w: w.notes.add(["hello"]), "encoder.mismatch",
            "collection 'notes' has no encoder for texts: it was created with dimensions=3"),
    Refusal("an empty text", lambda w: w.texts.add(["fine", ""]), "payload.invalid",
            "text 1 of 2 is empty; expected at least one word"),
    Refusal("no time", lambda w: w.notes.add(vectors=ROW, at="yesterday"), "time.invalid",
            "at is 'yesterday', which is not an ISO 8601 time"),
    Refusal("a time out of range", lambda w: w.notes.add(vectors=ROW, at=1e18), "time.invalid", "at is 1e+18, which is out of range"),
    Refusal("a modality that is no word", lambda w: w.notes.add(vectors=ROW, modality=[3]), "request.invalid",
            "the modality of point 0 is of type int; expected a word"),
    # points that are not there, and orders that say too little or too much
    Refusal("an update of a missing point", lambda w: w.notes.update(["a", "nobody"], {"a": 1}), "point.missing",
            "there is no point with id 'nobody'; nothing was updated"),
    Refusal("a delete of nothing in particular", lambda w: w.notes.delete(), "query.invalid",
            "delete was given neither ids nor where; expected one of them"),
    Refusal("a delete by id and filter", lambda w: w.notes.delete("a", where="year = 1990"), "query.invalid",
            "delete was given both ids and where; expected one of them"),
    Refusal("a delete by an unknown field", lambda w: w.notes.delete(where="yeer = 1990"), "filter.field",
            "no point has the field 'yeer'; expected one that some point has"),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_it_is_refused_to_the_letter_and_nothing_changes(world: World, refusal: Refusal) -> None:
    expect_refused(world, refusal)


def test_a_payload_cannot_grow_beyond_the_limit_piece_by_piece(world: World) -> None:
    world.films.update("f", {"first": "x" * 700_000})
    expect_refused(
        world,
        Refusal("", lambda w: w.films.update("f", {"second": "x" * 700_000}), "payload.size",
                "the payload of point 0 would exceed 1,048,576 bytes with what it has; nothing was updated"),
    )  # fmt: skip
    world.films.update("f", {"first": None, "second": "x" * 700_000})


def test_every_hint_says_what_to_do(world: World) -> None:
    silent = []
    for refusal in REFUSALS:
        try:
            refusal.ask(world)
        except ParadoxError as error:
            if not error.hint:
                silent.append(refusal.name)
    assert silent == []


def test_a_closed_database_refuses_everything(tmp_path: Any) -> None:
    db, _ = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    points.add(ids=["a"], vectors=[[1, 2]])
    db.close()
    db.close()
    calls = [
        lambda: points.add(vectors=[[1, 2]]),
        lambda: points.update("a", {"x": 1}),
        lambda: points.delete("a"),
        lambda: points.get("a"),
        lambda: points.search([1, 2]),
        lambda: points.count(),
        lambda: list(points.scroll()),
        lambda: points.info(),
        lambda: db.collections(),
        lambda: db.collection("other", dimensions=2),
        lambda: db.drop("points"),
        lambda: db.status(),
    ]
    for call in calls:
        with pytest.raises(StoreClosed) as caught:
            call()
        assert (caught.value.message, caught.value.hint) == ("the database was closed", "connect again")


def test_a_database_opened_for_reading_refuses_writes(tmp_path: Any) -> None:
    writer, _ = opened(tmp_path)
    writer.collection("points", dimensions=2).add(ids=["a"], vectors=[[1, 2]], payload={"n": 1})
    reader, _ = opened(tmp_path, read_only=True)
    points = reader["points"]
    calls = [
        lambda: points.add(ids=["b"], vectors=[[1, 2]]),
        lambda: points.update("a", {"x": 1}),
        lambda: points.delete("a"),
        lambda: points.delete(where="n = 1"),
        lambda: reader.drop("points"),
    ]
    for call in calls:
        with pytest.raises(StoreReadOnly) as caught:
            call()
        assert caught.value.message == "this database was opened with read_only=True"
        assert caught.value.hint == "open it without read_only to write"
    with pytest.raises(StoreReadOnly, match="collection 'new' does not exist, and the database was opened with read_only=True"):
        reader.collection("new", dimensions=2)
    assert [hit.payload for hit in points.scroll()] == [{"n": 1}]
    reader.close()
    writer.close()
