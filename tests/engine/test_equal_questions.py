"""Equal questions get equal answers: ties by id, the same scores whatever holds a point, and nothing that creeps in from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.clusters import Clusters
from engine.oracle import order, uuid_of
from engine.small import NEVER_S, SMALL, opened, settle, small_samples
from paradox.client.hits import Hit
from paradox.errors import FilterField, VectorZero
from paradox.model.points import Id
from paradox.model.schema import Limits


@pytest.fixture(autouse=True)
def quick_settling() -> Iterator[None]:
    with small_samples():
        yield


def shown(hits: list[Hit]) -> list[tuple[Id, float]]:
    return [(hit.id, hit.score) for hit in hits]


def mixed_ids(count: int) -> list[Id]:
    """Return ids of all types in no order."""
    made: list[Id] = [(number - 5, f"p{number}", uuid_of(number))[number % 3] for number in range(count)]
    np.random.default_rng(0).shuffle(made)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean", "hamming"])
@pytest.mark.parametrize(("shards", "copies"), [(1, 1), (4, 2)])
def test_equal_points_come_in_the_order_of_their_ids(tmp_path: Path, metric: str, shards: int, copies: int) -> None:
    """Five hundred equal points: the first by id win, growing and sealed, alone and in a batch, whatever was asked first."""
    ids = mixed_ids(500)
    vector = np.arange(1, 17, dtype=np.uint8 if metric == "hamming" else np.float32)[None]
    dimensions = 16 * 8 if metric == "hamming" else 16
    db, embedded = opened(tmp_path)
    points = db.collection("equal", dimensions=dimensions, metric=metric, shards=shards, copies=copies)
    points.add(ids=ids, vectors=np.repeat(vector, 500, axis=0))
    first = sorted(ids, key=order)[:7]
    for _ in range(2):
        assert [hit.id for hit in points.search(vector[0], 7, exact=True)] == first
        assert [[hit.id for hit in hits] for hits in points.search_many(np.repeat(vector, 3, axis=0), 7, exact=True)] == [first] * 3
        default = points.search(vector[0], 7)
        assert [hit.id for hit in default] == sorted((hit.id for hit in default), key=order)
        assert shown(points.search(vector[0], 7)) == shown(default)
        settle(embedded)
    db.close()


def test_bits_tie_often_and_never_by_chance(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    matrix = dice.integers(0, 256, size=(2_000, 2), dtype=np.uint8)
    ids = dice.permutation(2_000).tolist()
    db, embedded = opened(tmp_path, limits=Limits(growing_points_max=900))
    points = db.collection("bits", dimensions=16, metric="hamming")
    points.add(ids=ids, vectors=matrix)
    for _ in range(2):
        for query in matrix[:20]:
            distance = np.unpackbits(matrix ^ query, axis=1).sum(axis=1)
            best = sorted(zip(distance.tolist(), ids, strict=True))[:10]
            assert [(hit.distance, hit.id) for hit in points.search(query, 10)] == best
        settle(embedded)
    db.close()


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dimensions", [1, 3, 8, 100, 1_000])
def test_a_point_has_one_score_to_the_last_bit_whatever_holds_it(tmp_path: Path, metric: str, dimensions: int) -> None:
    """Growing, sealed, merged, reopened; scored alone, in a batch, as a candidate or with all others; by shard."""
    clusters = Clusters(metric, seed=2, dimensions=dimensions)  # type: ignore[arg-type]
    matrix, queries = clusters.draw(300), clusters.draw(3)
    seen: dict[tuple[int, Id], set[float]] = {}
    for name, shards, copies in (("one", 1, 1), ("many", 4, 2)):
        db, embedded = opened(tmp_path / name if (tmp_path / name).mkdir() is None else tmp_path)
        points = db.collection("points", dimensions=dimensions, metric=metric, shards=shards, copies=copies)
        points.add(ids=list(range(100)), vectors=matrix[:100])
        points.add(ids=list(range(100, 300)), vectors=matrix[100:])
        for state in ("growing", "sealed", "reopened"):
            if state == "sealed":
                settle(embedded)
            elif state == "reopened":
                db.close()
                db, embedded = opened(tmp_path / name)
                points = db["points"]
            for number, query in enumerate(queries):
                answers = [points.search(query, k, exact=exact) for k in (1, 20, 300) for exact in (True, False)]
                answers += [points.search_many(queries, 20)[number], points.search(query, 20, where="id < 200")]
                for hits in answers:
                    for hit in hits:
                        seen.setdefault((number, hit.id), set()).add(hit.score)
        db.close()
    assert len(seen) == 900
    assert {len(scores) for scores in seen.values()} == {1}


def test_asking_does_not_change_what_is_asked_with_or_what_comes_back(tmp_path: Path) -> None:
    db, _ = opened(tmp_path)
    points = db.collection("points", dimensions=4)
    matrix = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
    before, query = matrix.copy(), matrix[3].copy()
    points.add(ids=list(range(50)), vectors=matrix)
    first = points.search(query, 5, with_vectors=True)
    matrix[:] = 0
    for hit in first:
        assert hit.vector is not None
        assert np.array_equal(hit.vector, before[hit.id])
        hit.vector[:] = 7
        hit.payload["mine"] = True
    again = points.search(query, 5, with_vectors=True)
    assert shown(again) == shown(first)
    assert all(np.array_equal(hit.vector, before[hit.id]) and hit.payload == {} for hit in again)
    db.close()


def test_a_number_and_a_bool_are_not_one_question(tmp_path: Path) -> None:
    """In Python 1 == True, so masks that are kept under a filter's value must tell them apart."""
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    values: list[Any] = [1, True, 0, False, 1.0, "1"] * 40
    points.add(vectors=np.ones((240, 2)), payload=[{"v": value} for value in values])
    settle(embedded)
    assert points.info()["segments"] > 0
    for _ in range(2):
        assert points.count("v = 1") == 80
        assert points.count("v = true") == 40
        assert points.count("v = false") == 40
        assert points.count("v = 0") == 40
        assert points.count("v = '1'") == 40
    db.close()


def test_more_filters_than_are_kept_are_no_matter(tmp_path: Path) -> None:
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    points.add(vectors=np.ones((200, 2)), payload=[{"n": number} for number in range(200)])
    settle(embedded)
    for _ in range(2):
        assert [points.count(f"n < {number}") for number in range(150)] == list(range(150))
    db.close()


def test_a_null_stays_until_it_is_named(tmp_path: Path) -> None:
    db, _ = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    points.add(ids=["a"], vectors=[[1, 2]], payload={"kept": None, "gone": 1, "deep": {"x": None}})
    points.update("a", {"gone": None, "new": 2})
    assert points.get("a")[0].payload == {"kept": None, "new": 2, "deep": {"x": None}}
    points.update("a", {"kept": None})
    assert points.get("a")[0].payload == {"new": 2, "deep": {"x": None}}
    db.close()


def test_a_field_that_once_was_may_be_asked_for_whatever_was_deleted_and_merged(tmp_path: Path) -> None:
    """That the background tidied up must not turn a good question into an error."""
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    points.add(ids=list(range(300)), vectors=np.ones((300, 2)), payload=[{"n": number, "draft": True} for number in range(300)])
    settle(embedded)
    points.delete(list(range(300)))
    points.add(ids=list(range(300, 600)), vectors=np.ones((300, 2)), payload={"n": "text"})
    for reopened in (False, True):
        settle(embedded)
        if reopened:
            db.close()
            db, embedded = opened(tmp_path)
            points = db["points"]
        assert points.count("draft = true") == 0
        assert points.count("n = 3") == 0
        assert points.count("n = 'text'") == 300
        with pytest.raises(FilterField):
            points.count("drift = true")
    db.close()


@pytest.mark.parametrize("dimensions", [1, 2, 9, 4_096])
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_any_number_of_dimensions_works(tmp_path: Path, metric: str, dimensions: int) -> None:
    clusters = Clusters(metric, seed=4, dimensions=dimensions)  # type: ignore[arg-type]
    matrix = clusters.draw(200)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=dimensions, metric=metric)
    points.add(ids=list(range(200)), vectors=matrix)
    for _ in range(2):
        hits = points.search(matrix[5], 200, with_vectors=True)
        assert sorted(hit.id for hit in hits) == list(range(200))
        assert all(np.array_equal(hit.vector, matrix[hit.id]) for hit in hits)
        if metric == "euclidean":
            assert hits[0].id == 5
            assert hits[0].score == 0
        settle(embedded)
    db.close()


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("length", [1e-15, 1.0, 1e15])
def test_very_short_and_very_long_vectors_keep_their_order(tmp_path: Path, metric: str, length: float) -> None:
    dice = np.random.default_rng(5)
    matrix = (dice.normal(size=(200, 8)) * length).astype(np.float32)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=8, metric=metric)
    points.add(ids=list(range(200)), vectors=matrix)
    rows, query = matrix.astype(np.float64), matrix[3].astype(np.float64)
    score = {"dot": rows @ query, "euclidean": -np.linalg.norm(rows - query, axis=1)}.get(
        metric, rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    )
    best = np.argsort(-score, kind="stable")[:5].tolist()
    for _ in range(2):
        for exact in (True, False):
            hits = points.search(matrix[3], 5, exact=exact)
            assert [hit.id for hit in hits] == best
            assert np.isfinite([hit.score for hit in hits]).all()
        settle(embedded)
    db.close()


def test_a_vector_too_short_to_have_a_direction_is_no_answer_but_an_error(tmp_path: Path) -> None:
    db, _ = opened(tmp_path, limits=SMALL, idle_after_s=NEVER_S)
    points = db.collection("points", dimensions=3)
    short: NDArray[Any] = np.array([[1.0, 2.0, 3.0], [1e-30, 1e-25, 0.0]], dtype=np.float32)
    with pytest.raises(VectorZero, match="point 1 has no component above 1e-25; cosine needs one of 1e-16 or more"):
        points.add(vectors=short)
    with pytest.raises(VectorZero):
        points.search(short[1])
    assert points.count() == 0
    db.close()
