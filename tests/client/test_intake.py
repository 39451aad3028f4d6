"""Intake: every form a user may write, and what is said of each that cannot be taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from client.fake import FakeTransport
from paradox import errors
from paradox.client.intake import Parts, additions
from paradox.client.sync import Collection, Database
from paradox.model.operations import AddPoints, CollectionView
from paradox.model.schema import CollectionSpec, Limits, VectorSpec

ONE = CollectionView(name="notes", spec=CollectionSpec(vectors={"vector": VectorSpec(dimensions=3)}))
TWO = CollectionView(name="films", spec=CollectionSpec(vectors={"title": VectorSpec(dimensions=3), "image": VectorSpec(dimensions=2)}))
BITS = CollectionView(name="bits", spec=CollectionSpec(vectors={"vector": VectorSpec(dimensions=16, metric="hamming")}))
MATRIX = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


def taken(given: Any = None, *, view: CollectionView = ONE, **parts: Any) -> AddPoints:
    """Return the one operation that is made of what was given."""
    [operation] = additions(view, given, Parts(**parts))
    return operation


def payloads_of(operation: AddPoints) -> list[Any]:
    assert operation.payloads is not None
    return [msgspec.msgpack.decode(payload) for payload in operation.payloads]


@pytest.fixture
def notes() -> Collection:
    return Database(FakeTransport()).collection("notes", dimensions=3)


# Texts


@pytest.mark.parametrize("given", [["a", "b"], ("a", "b"), np.array(["a", "b"]), pd.Series(["a", "b"]), (word for word in "ab")])
def test_texts_are_sent_to_be_encoded_and_kept_in_the_payload(given: Any) -> None:
    operation = taken(given, payload=[{"n": 1}, None])
    assert operation.texts == ["a", "b"]
    assert operation.vectors == {}
    assert operation.modality == ["text", "text"]
    assert payloads_of(operation) == [{"n": 1, "text": "a"}, {"text": "b"}]


def test_one_text_is_one_point() -> None:
    assert taken("the tide").texts == ["the tide"]


def test_texts_with_vectors_of_their_own_are_not_encoded_again() -> None:
    operation = taken(["a", "b"], vectors=MATRIX)
    assert operation.texts is None
    assert operation.modality == ["text", "text"]
    assert payloads_of(operation) == [{"text": "a"}, {"text": "b"}]


def test_a_text_for_the_first_vector_goes_with_another_vector_as_given() -> None:
    operation = taken(["a"], view=TWO, vectors={"image": [[1, 2]]})
    assert operation.texts == ["a"]
    assert operation.vectors["image"].tolist() == [[1, 2]]


# Vectors


def test_a_float32_matrix_is_not_copied() -> None:
    assert np.shares_memory(taken(vectors=MATRIX).vectors["vector"], MATRIX)


@pytest.mark.parametrize(
    "given",
    [
        MATRIX.astype(np.float64),
        MATRIX.astype(np.int32),
        MATRIX.astype(">f4"),
        np.asfortranarray(MATRIX),
        MATRIX.tolist(),
        [MATRIX[0], MATRIX[1]],
        [(1, 2, 3), (4.0, 5.0, 6.0)],
        pd.DataFrame(MATRIX),
    ],
)
def test_other_numbers_become_a_float32_matrix(given: Any) -> None:
    matrix = taken(vectors=given).vectors["vector"]
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert np.array_equal(matrix, MATRIX)


def test_a_matrix_may_stand_first() -> None:
    assert np.array_equal(taken(MATRIX).vectors["vector"], MATRIX)
    assert np.array_equal(taken(MATRIX.tolist()).vectors["vector"], MATRIX)


@pytest.mark.parametrize("given", [[1, 2, 3], np.array([1, 2, 3]), (1.0, 2.0, 3.0)])
def test_one_vector_is_one_point(given: Any) -> None:
    operation = taken(vectors=given, ids="a")
    assert operation.rows == 1
    assert operation.keys == ["a"]


def test_named_vectors_may_be_missing_from_some_points() -> None:
    operation = taken(view=TWO, vectors={"title": MATRIX, "image": [None, [1, 2]]})
    assert operation.vectors["image"].tolist() == [[0, 0], [1, 2]]
    assert operation.present["image"].tolist() == [False, True]
    assert "title" not in operation.present


def test_a_named_vector_that_no_point_has_is_told_as_absent() -> None:
    operation = taken(view=TWO, vectors={"title": MATRIX})
    assert operation.vectors["image"].shape == (2, 2)
    assert not operation.present["image"].any()


@pytest.mark.parametrize("given", [np.array([[1, 2], [255, 0]], dtype=np.uint8), [[1, 2], [255, 0]]])
def test_packed_bits_stay_bytes(given: Any) -> None:
    matrix = taken(view=BITS, vectors=given).vectors["vector"]
    assert matrix.dtype == np.uint8
    assert matrix.tolist() == [[1, 2], [255, 0]]


# Ids, times, modalities


@pytest.mark.parametrize(
    ("ids", "keys"),
    [
        (["a", 7, UUID(int=5)], ["a", 7, UUID(int=5).bytes]),
        (np.array([1, 2, 3]), [1, 2, 3]),
        (np.array(["a", "b", "c"]), ["a", "b", "c"]),
        (range(3), [0, 1, 2]),
        (pd.Series(["a", "b", "c"]), ["a", "b", "c"]),
        (pl.Series([1, 2, 3]), [1, 2, 3]),
    ],
)
def test_ids_of_all_kinds_are_taken(ids: Any, keys: list[Any]) -> None:
    assert taken(vectors=np.ones((3, 3)), ids=ids).keys == keys


NOON = 1_715_947_200_000_000


@pytest.mark.parametrize(
    "at",
    [
        datetime(2024, 5, 17, 12, tzinfo=UTC),
        datetime(2024, 5, 17, 12),  # noqa: DTZ001  (a naive time is UTC)
        "2024-05-17T12:00:00Z",
        "2024-05-17 14:00+02:00",
        1_715_947_200,
        1_715_947_200.0,
        np.datetime64("2024-05-17T12:00"),
        np.int64(1_715_947_200),
        pd.Timestamp("2024-05-17 12:00"),
        np.array([1_715_947_200, 1_715_947_200]),
        np.array(["2024-05-17T12:00"] * 2, dtype="datetime64[ns]"),
        [1_715_947_200, 1_715_947_200.0],
        ["2024-05-17T12:00:00Z", datetime(2024, 5, 17, 12, tzinfo=UTC)],
        pd.Series(pd.to_datetime(["2024-05-17 12:00"] * 2)),
        pd.Series(pd.to_datetime(["2024-05-17 12:00"] * 2)).dt.tz_localize("UTC"),
        pl.Series([datetime(2024, 5, 17, 12, tzinfo=UTC)] * 2),
    ],
)
def test_event_times_are_taken_in_every_spelling(at: Any) -> None:
    at_us = taken(vectors=MATRIX, at=at).at_us
    assert at_us is not None
    assert at_us.dtype == np.int64
    assert at_us.tolist() == [NOON, NOON]


def test_a_date_is_its_midnight() -> None:
    at_us = taken(vectors=MATRIX, at=date(2024, 5, 17)).at_us
    assert at_us is not None
    assert at_us.tolist() == [NOON - 43_200_000_000] * 2


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"])
def test_times_are_exact_to_the_microsecond_over_ten_thousand_years(at: str) -> None:
    notes = Database(FakeTransport()).collection("notes", dimensions=3)
    notes.add(vectors=[1, 2, 3], ids="a", at=at)
    assert notes.get("a")[0].at == datetime.fromisoformat(at)


def test_one_modality_or_one_a_point() -> None:
    assert taken(vectors=MATRIX, modality="image").modality == ["image", "image"]
    assert taken(vectors=MATRIX, modality=["image", "audio"]).modality == ["image", "audio"]
    assert taken(vectors=MATRIX).modality is None


# Points and frames


def test_points_are_taken_as_dicts() -> None:
    operation = taken(
        [
            {"id": "a", "vector": [1, 2, 3], "payload": {"n": 1}, "at": 0, "modality": "image"},
            {"id": 2, "vector": [4, 5, 6], "text": "hello", "at": "1970-01-01"},
        ]
    )
    assert operation.keys == ["a", 2]
    assert np.array_equal(operation.vectors["vector"], MATRIX)
    assert payloads_of(operation) == [{"n": 1}, {"text": "hello"}]
    assert operation.modality == ["image", "vector"]
    assert operation.at_us is not None
    assert operation.at_us.tolist() == [0, 0]


def test_one_dict_is_one_point() -> None:
    assert taken({"id": "a", "text": "hello"}).texts == ["hello"]


def test_points_may_name_their_vectors() -> None:
    for points in (
        [{"title": [1, 2, 3], "image": [1, 2]}, {"title": [4, 5, 6]}],
        [{"vectors": {"title": [1, 2, 3], "image": [1, 2]}}, {"vectors": {"title": [4, 5, 6]}}],
    ):
        operation = taken(points, view=TWO)
        assert np.array_equal(operation.vectors["title"], MATRIX)
        assert operation.present["image"].tolist() == [True, False]


STRUCTURED = np.array(
    [("a", [1, 2, 3], "sea", 1.5, NOON), ("b", [4, 5, 6], "sky", 2.5, NOON)],
    dtype=[("id", "U8"), ("vector", "f4", 3), ("topic", "U8"), ("weight", "f8"), ("at", "datetime64[us]")],
)
COLUMNS = {"id": ["a", "b"], "vector": MATRIX.tolist(), "topic": ["sea", "sky"], "weight": [1.5, 2.5]}
TIMES = [datetime(2024, 5, 17, 12, tzinfo=UTC)] * 2


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({**COLUMNS, "at": TIMES}),
        pd.DataFrame({**COLUMNS, "at": TIMES}).set_index("id"),
        pl.DataFrame({**COLUMNS, "at": TIMES}),
        pl.DataFrame({**COLUMNS, "at": TIMES}).lazy(),
        pl.DataFrame({**COLUMNS, "at": TIMES}).with_columns(pl.Series("vector", MATRIX)),
        pa.table({**COLUMNS, "at": TIMES}),
        pa.RecordBatch.from_pydict({**COLUMNS, "at": TIMES}),
        pa.concat_tables([pa.table({**COLUMNS, "at": TIMES}).slice(row, 1) for row in range(2)]),
        pa.table({**COLUMNS, "at": TIMES, "vector": pa.array(MATRIX.tolist(), pa.list_(pa.float32(), 3))}).slice(0),
        STRUCTURED,
    ],
    ids=["pandas", "pandas index", "polars", "polars lazy", "polars array", "arrow", "arrow batch", "arrow chunks", "arrow fixed", "numpy"],
)
def test_frames_are_taken_as_they_are(frame: Any) -> None:
    operation = taken(frame)
    assert operation.keys == ["a", "b"]
    assert np.array_equal(operation.vectors["vector"], MATRIX)
    assert payloads_of(operation) == [{"topic": "sea", "weight": 1.5}, {"topic": "sky", "weight": 2.5}]
    assert operation.at_us is not None
    assert operation.at_us.tolist() == [NOON, NOON]


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_what_is_missing_in_a_frame_is_absent_from_the_payload(library: Callable[[Any], Any]) -> None:
    operation = taken(library({"text": ["a", "b"], "year": [1990, None], "topic": [None, "sea"], "when": [None, date(2024, 5, 17)]}))
    [first, second] = payloads_of(operation)
    assert first == {"text": "a", "year": 1990}
    assert second["topic"] == "sea"
    assert second["when"].startswith("2024-05-17")
    assert "year" not in second


def test_what_a_frame_lacks_may_be_given_beside_it() -> None:
    operation = taken(pd.DataFrame({"topic": ["sea", "sky"]}), vectors=MATRIX, ids=["a", "b"])
    assert operation.keys == ["a", "b"]
    assert payloads_of(operation) == [{"topic": "sea"}, {"topic": "sky"}]


# Many points


def test_many_points_travel_in_several_operations_without_a_copy() -> None:
    matrix = np.random.default_rng(1).standard_normal((25, 3)).astype(np.float32)
    parts = Parts(vectors=matrix, ids=list(range(25)), payload={"n": 1}, at=np.arange(25), modality="image")
    made = additions(ONE, None, parts, limits=Limits(batch_points_max=10))
    assert [operation.rows for operation in made] == [10, 10, 5]
    assert [key for operation in made for key in operation.keys or []] == list(range(25))
    assert all(np.shares_memory(operation.vectors["vector"], matrix) for operation in made)
    assert made[2].at_us is not None
    assert made[2].at_us.tolist() == [second * 1_000_000 for second in range(20, 25)]


def test_one_receipt_stands_for_all_operations() -> None:
    transport = FakeTransport()
    notes = Database(transport).collection("notes", dimensions=3)
    receipt = notes.add(vectors=np.ones((40_000, 3), dtype=np.float32), ids=range(40_000))
    assert receipt.ids == list(range(40_000))
    assert receipt.position == 3
    assert notes.count() == 40_000


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ({"ids": [*range(24), 3]}, errors.IdDuplicate),
        ({"vectors": np.where(np.arange(75).reshape(25, 3) == 70, np.nan, 1.0)}, errors.VectorNotFinite),
        ({"vectors": np.where(np.arange(25)[:, None] == 22, 0.0, np.ones((25, 3)))}, errors.VectorZero),
        ({"texts": ["word"] * 24 + [" "], "vectors": None}, errors.PayloadInvalid),
    ],
)
def test_one_bad_point_among_many_stops_all_before_the_first_is_sent(spoil: dict[str, Any], error: type[errors.ParadoxError]) -> None:
    parts = Parts(**{"vectors": np.ones((25, 3)), "ids": list(range(25)), **spoil})
    with pytest.raises(error, match=r"\b(22|23|24)\b"):
        additions(ONE, None, parts, limits=Limits(batch_points_max=10))


# What cannot be taken

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "batch.empty", "nothing to add: neither texts, points nor vectors were given"),
    ({"given": []}, "batch.empty", "nothing to add: the list is empty"),
    ({"vectors": []}, "batch.empty", "nothing to add: no point was given"),
    ({"vectors": np.zeros((0, 3))}, "batch.empty", "nothing to add: no point was given"),
    ({"ids": ["a"]}, "batch.mismatch", "the points have neither vectors nor texts"),
    ({"vectors": MATRIX, "ids": ["a"]}, "batch.mismatch", "the parts have different lengths: ids 1, vectors 2"),
    ({"vectors": MATRIX, "payload": [{}] * 3}, "batch.mismatch", "the parts have different lengths: payload 3, vectors 2"),
    ({"given": ["a", "b"], "at": [1]}, "batch.mismatch", "the parts have different lengths: texts 2, at 1"),
    ({"given": ["a"], "modality": ["x", "y"]}, "batch.mismatch", "the parts have different lengths: texts 1, modality 2"),
    ({"given": [{"id": 1, "text": "a"}], "ids": [2]}, "batch.mismatch", "ids is given twice, in what to add and as ids="),
    ({"given": [{"id": 1, "text": "a"}, {"text": "b"}]}, "batch.mismatch", "point 1 has no id, but others have"),
    ({"given": [{"text": "a", "at": 1}, {"text": "b"}]}, "batch.mismatch", "point 1 has no at, but others have"),
    ({"given": [{"text": "a"}, "b"]}, "batch.mismatch", "point 1 is of type str, but point 0 is a dict"),
    (
        {"given": [{"vector": [1, 2, 3]}, {"text": "b"}]},
        "batch.mismatch",
        "point 1 has no vector 'vector'",
    ),
    (
        {"given": ["a"], "payload": {"text": "b"}},
        "batch.mismatch",
        "point 0 has the text 'a', but its payload holds the text 'b'",
    ),
    (
        {"given": [{"text": "a", "topic": "sea"}]},
        "payload.invalid",
        "point 0 has the unknown key 'topic'; a point has at, id, modality, payload, text, vector, vectors",
    ),
    ({"given": ["a", 5]}, "payload.invalid", "point 1 has a text of type int; expected str"),
    ({"given": ["a", None]}, "payload.invalid", "point 1 has no text"),
    ({"given": 5}, "request.invalid", "what to add is of type int; expected a list"),
    ({"given": [object()]}, "request.invalid", "a list of object cannot be added"),
    ({"vectors": MATRIX, "modality": [1, 2]}, "request.invalid", "the modality of point 0 is of type int; expected a word"),
    ({"vectors": {"title": MATRIX}}, "request.invalid", "collection 'notes' has no vector 'title'"),
    ({"vectors": MATRIX, "view": TWO}, "request.invalid", "collection 'films' has the vectors 'title', 'image', and these have no name"),
    (
        {"vectors": {"title": MATRIX, "image": [[1, 2]]}, "view": TWO},
        "batch.mismatch",
        "the named vectors have different lengths: title 2, image 1",
    ),
    ({"vectors": {"title": [None, [1, 2, 3]]}, "view": TWO}, "batch.mismatch", "point 0 has no vector 'title'"),
    ({"vectors": MATRIX, "ids": [1.5, 2]}, "id.invalid", "an id is of type float; expected str, int or UUID"),
    ({"vectors": MATRIX, "ids": [True, 2]}, "id.invalid", "an id is of type bool; expected str, int or UUID"),
    ({"vectors": MATRIX, "ids": ["", "b"]}, "id.invalid", "an id is an empty string"),
    ({"vectors": MATRIX, "ids": [2**63, 1]}, "id.invalid", "the id 9223372036854775808 does not fit 64 bits"),
    ({"vectors": MATRIX, "ids": np.ones((2, 2), dtype=int)}, "id.invalid", "ids have the shape (2, 2); expected one id a point"),
    ({"vectors": MATRIX[:, :2]}, "vector.dimensions", "vectors have 2 dimensions; collection 'notes' holds 3"),
    ({"vectors": np.ones((2, 3, 1))}, "vector.dimensions", "vectors have the shape (2, 3, 1); expected (points, dimensions)"),
    ({"vectors": [[1, 2, 3], [4, 5]]}, "vector.dimensions", "the vector of point 1 has 2 dimensions; expected 3"),
    ({"vectors": MATRIX.astype(complex)}, "vector.type", "vectors are of type complex128; expected numbers"),
    ({"vectors": MATRIX > 2}, "vector.type", "vectors are of type bool; expected numbers"),
    ({"vectors": [["1", "2", "3"]]}, "vector.type", "the vector of point 0 holds a str at 0; expected a number"),
    ({"vectors": [[1, 2, 3], [4, None, 6]]}, "vector.type", "the vector of point 1 holds a NoneType at 1; expected a number"),
    ({"vectors": "abc"}, "vector.type", "vectors are of type str; expected numbers"),
    ({"vectors": np.array(["a", "b"])}, "vector.type", "vectors are of type str32; expected numbers"),
    ({"vectors": np.ones((2, 2)), "view": BITS}, "vector.type", "vectors are of type float64; expected uint8"),
    ({"vectors": [[300, 1]], "view": BITS}, "vector.type", "vectors are of type int64; expected uint8"),
    (
        {"vectors": np.ones((2, 16), dtype=np.uint8), "view": BITS},
        "vector.dimensions",
        "vectors have 16 bytes of bits; collection 'bits' holds 16 bits, which are 2 bytes",
    ),
    ({"vectors": MATRIX, "at": "noon"}, "time.invalid", "at is 'noon', which is not an ISO 8601 time"),
    ({"vectors": MATRIX, "at": ["2024-01-01", "x"]}, "time.invalid", "at of point 1 is 'x', which is not an ISO 8601 time"),
    ({"vectors": MATRIX, "at": float("nan")}, "time.invalid", "at is nan; expected a time"),
    ({"vectors": MATRIX, "at": 1_715_947_200_000}, "time.invalid", "at is 1715947200000, which is out of range"),
    ({"vectors": MATRIX, "at": [0, 1_715_947_200_000]}, "time.invalid", "at of point 1 is 1715947200000, which is out of range"),
    ({"vectors": MATRIX, "at": np.array([0.0, np.inf])}, "time.invalid", "at of point 1 is inf, which is out of range"),
    ({"vectors": MATRIX, "at": [0, True]}, "time.invalid", "at of point 1 is of type bool; expected a time"),
    (
        {"vectors": MATRIX, "at": np.array(["2024-01-01", "NaT"], dtype="datetime64[s]")},
        "time.invalid",
        "at of point 1 is NaT; expected a time",
    ),
    ({"vectors": MATRIX, "at": np.array([0, 10**6], dtype="datetime64[Y]")}, "time.invalid", "at of point 1 is out of range"),
    ({"vectors": MATRIX, "at": {"a": 1}}, "time.invalid", "at of point 0 is 'a', which is not an ISO 8601 time"),
    ({"vectors": MATRIX, "payload": [{}, 5]}, "payload.invalid", "the payload of point 1 is of type int; expected a dict"),
    ({"vectors": MATRIX, "payload": 5}, "request.invalid", "payload is of type int; expected a list"),
]


@pytest.mark.parametrize(("given", "code", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_what_cannot_be_taken_is_named(given: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        taken(**given)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert caught.value.hint


def test_one_payload_for_all_points() -> None:
    assert payloads_of(taken(vectors=MATRIX, payload={"topic": "sea"})) == [{"topic": "sea"}] * 2


def test_a_refused_add_sends_nothing(notes: Collection) -> None:
    with pytest.raises(errors.PayloadInvalid):
        notes.add(["a", "b"], payload=[{}, {"x": float("nan")}])
    assert notes.count() == 0
