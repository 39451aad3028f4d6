"""Sixteen shards in one folder behave as a cluster's would: few are visited, recall holds, and the plan says what happened."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.clusters import Clusters, best_scores
from engine.oracle import recall, scores
from engine.small import opened, settle
from paradox.client.sync import Collection
from paradox.model.queries import Question
from paradox.model.schema import Limits
from paradox.router.patience import PATIENCES, SAMPLES
from paradox.shard.engine import ShardEngine
from paradox.space.balance import is_crowded
from paradox.space.regions import Atlas, assign, single_region

POINTS, QUERIES, SHARDS, COPIES = 12_000, 60, 16, 2
MANY = 1_000
"""Queries by which recall 0.99 can be told from 0.98 even where one neighbour is looked for."""


class Spread:
    def __init__(self, folder: Path) -> None:
        self.clusters = Clusters("cosine", seed=21)
        self.matrix, self.queries = self.clusters.draw(POINTS), self.clusters.draw(QUERIES)
        self.many = self.clusters.draw(MANY)
        self.side = self.clusters.draw(POINTS)
        anchor = self.clusters.draw(1)[0]
        self.near = (anchor + 0.1 * self.clusters.dice.normal(size=(QUERIES, len(anchor)))).astype(np.float32)
        self.rank = np.empty(POINTS, dtype=np.int64)
        self.rank[np.argsort(-scores(self.matrix, anchor, "cosine"), kind="stable")] = np.arange(POINTS)
        self.luck = self.clusters.dice.permutation(POINTS)
        self.db, self.embedded = opened(folder, limits=Limits(growing_points_max=6_000, region_points_max=150), idle_after_s=0.05)
        self.points: Collection = self.db.collection("points", vectors={"main": 64, "side": 64}, shards=SHARDS, copies=COPIES)
        payload = [{"rank": int(one), "luck": int(other)} for one, other in zip(self.rank, self.luck, strict=True)]
        self.points.add(ids=list(range(POINTS)), vectors={"main": self.matrix, "side": self.side}, payload=payload)
        settle(self.embedded)


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    made = Spread(tmp_path_factory.mktemp("spread"))
    yield made
    made.db.close()


def visited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the names of the shards that are searched."""
    names: list[str] = []
    search = ShardEngine.search

    def note(shard: ShardEngine, *asked: Any) -> Any:
        names.append(f"s{shard.number}")
        return search(shard, *asked)

    monkeypatch.setattr(ShardEngine, "search", note)
    return names


def test_few_shards_hold_what_is_near_and_the_plan_lists_exactly_those_visited(spread: Spread, monkeypatch: pytest.MonkeyPatch) -> None:
    true = best_scores(spread.matrix, spread.queries, "cosine", 10)
    names = visited(monkeypatch)
    answers, counts = [], []
    for query in spread.queries:
        names.clear()
        hits = spread.points.search(query, 10, using="main")
        assert hits.plan is not None
        assert hits.plan.shards == tuple(sorted(names, key=lambda name: int(name[1:])))
        assert hits.plan.shards_total == SHARDS
        assert set(hits.coverage.holders) == set(names)
        assert set(hits.coverage.holders.values()) == {"answered"}
        answers.append(hits)
        counts.append(len(names))
    assert recall(answers, true, 10) >= 0.95
    assert np.mean(counts) <= 3, counts
    assert np.quantile(counts, 0.95) <= 8, counts


@pytest.mark.parametrize("asked", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_recall_is_kept_over_shards(spread: Spread, asked: float, k: int) -> None:
    true = best_scores(spread.matrix, spread.many, "cosine", k)
    assert recall(spread.points.search_many(spread.many, k, recall=asked), true, k) >= asked


@pytest.mark.parametrize("kind", ["independent", "correlated", "anti-correlated"])
def test_recall_is_kept_over_shards_under_filters(spread: Spread, kind: str) -> None:
    for share in (0.5, 0.1, 0.01, 0.001):
        most = int(POINTS * share)
        where, mask = {
            "independent": (f"luck < {most}", spread.luck < most),
            "correlated": (f"rank < {most}", spread.rank < most),
            "anti-correlated": (f"rank >= {POINTS - most}", spread.rank >= POINTS - most),
        }[kind]
        true = best_scores(spread.matrix[mask], spread.near, "cosine", 10)
        answers = spread.points.search_many(spread.near, 10, where=where, recall=0.95)
        assert recall(answers, true, 10) >= 0.95, share
        assert {len(hits) for hits in answers} == {10}


def test_another_vector_than_the_one_that_places_points_is_looked_for_everywhere(spread: Spread, monkeypatch: pytest.MonkeyPatch) -> None:
    true = best_scores(spread.side, spread.queries, "cosine", 10)
    assert recall(spread.points.search_many(spread.queries, 10, using="side"), true, 10) >= 0.95
    names = visited(monkeypatch)
    spread.points.search(spread.queries[0], 10, using="side")
    assert len(names) == SHARDS


def test_an_exact_search_visits_every_shard(spread: Spread, monkeypatch: pytest.MonkeyPatch) -> None:
    names = visited(monkeypatch)
    hits = spread.points.search(spread.queries[0], 10, using="main", exact=True)
    assert len(names) == SHARDS
    assert recall([hits], best_scores(spread.matrix, spread.queries[:1], "cosine", 10), 10) == 1.0


def test_every_point_stands_in_two_shards_and_is_counted_once(spread: Spread) -> None:
    engine = spread.embedded.opened("points").held.engine
    lists = assign(spread.matrix, engine.regions, metric="cosine", copies=COPIES)
    for number, shard in enumerate(engine.shards):
        held = {key for segment in shard.segments for key in segment.keys_at(np.flatnonzero(segment.alive()))}
        assert held == set(np.flatnonzero((engine.regions.shard_of[lists] == number).any(axis=1)).tolist())
    assert spread.points.count() == POINTS
    assert sum(shard.count() for shard in engine.shards) == POINTS
    assert sorted(hit.id for hit in spread.points.scroll()) == list(range(POINTS))


def test_queries_asked_together_visit_what_each_would_visit_alone(spread: Spread) -> None:
    queries = spread.matrix[::40]
    together = spread.points.search_many(queries, 10, recall=0.9)
    for query, hits in zip(queries, together, strict=True):
        alone = spread.points.search(query, 10, recall=0.9)
        assert [hit.id for hit in hits] == [hit.id for hit in alone]


def test_shards_carry_like_loads(spread: Spread) -> None:
    shards = spread.points.info()["shards"]
    counts = [shard["points"] for shard in shards]
    assert len(counts) == SHARDS
    assert max(counts) <= 1.5 * POINTS / SHARDS
    assert not is_crowded(spread.embedded.opened("points").held.engine.stored())


def test_shards_that_drift_apart_are_balanced_again(tmp_path: Path) -> None:
    """Many points come to one corner; nothing is lost, nothing seen twice, and searches find what an exact one finds."""
    clusters = Clusters("cosine", seed=25, dimensions=16)
    matrix = clusters.draw(1_200)
    corner = (matrix[:1] + 0.2 * clusters.dice.normal(size=(1_500, 16))).astype(np.float32)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=16, shards=8, copies=2)
    points.add(ids=list(range(1_200)), vectors=matrix)
    settle(embedded)
    engine = embedded.opened("points").held.engine
    before = engine.regions
    for start in range(0, 1_500, 100):
        points.add(ids=list(range(1_200 + start, 1_300 + start)), vectors=corner[start : start + 100])
    settle(embedded)
    assert not is_crowded(engine.stored())
    everything = np.concatenate((matrix, corner))
    stood = np.bincount(before.shard_of[assign(everything, before, metric="cosine", copies=2)].ravel(), minlength=8)
    assert is_crowded(stood), "no point had to move: the test shows nothing"
    assert sum(engine.stored()) == 2 * 2_700
    assert sorted(hit.id for hit in points.scroll()) == list(range(2_700))
    true = best_scores(everything, everything[::9], "cosine", 10)
    assert recall(points.search_many(everything[::9], 10, recall=0.95), true, 10) >= 0.95
    epoch = engine.regions.epoch
    points.add(ids=[5_000], vectors=corner[:1])
    settle(embedded)
    assert engine.regions.epoch == epoch
    db.close()


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_what_is_expected_of_a_search_is_what_it_finds(tmp_path: Path, copies: int) -> None:
    """Readings come from stored points; questions are others."""
    clusters = Clusters("cosine", seed=26, dimensions=32)
    matrix, queries = clusters.draw(6_000), clusters.draw(150)
    db, embedded = opened(tmp_path, limits=Limits(growing_points_max=6_000, region_points_max=150, region_points_min=12), idle_after_s=0.05)
    points = db.collection("points", dimensions=32, shards=12, copies=copies)
    points.add(ids=list(range(6_000)), vectors=matrix)
    settle(embedded)
    engine = embedded.opened("points").held.engine
    assert engine.routed == engine.regions.epoch
    assert [(reading.k, reading.patience) for reading in engine.routing] == list(
        product((k for counts, _ in SAMPLES for k in counts), PATIENCES)
    )
    true = best_scores(matrix, queries, "cosine", 10)
    question = Question(vectors=queries, using="vector", k=10, recall=0.99)
    for reading in engine.routing[2:8]:
        engine.routing = (msgspec.structs.replace(reading, recall=1.0),)
        answers = points.search_many(queries, 10, recall=0.99)
        assert recall(answers, true, 10) == pytest.approx(reading.recall, abs=0.04)
        visits = [len(engine._patiently(query[None], question)) for query in queries]
        assert np.mean(visits) == pytest.approx(reading.shards, rel=0.15)
    db.close()


def test_explain_draws_the_tree_and_says_what_was_measured(spread: Spread) -> None:
    plan = spread.points.explain(spread.queries[0], k=10, where="luck < 6000")
    text = str(plan)
    lines = text.splitlines()
    assert lines[0].startswith("search top 10: vector, recall 0.95 asked, ")
    assert f"of {SHARDS} shards" in lines[0]
    assert "estimated" in lines[0]
    assert "actual" in lines[0]
    assert all(f"shard {name}: " in text for name in plan.shards)
    assert plan.sampled_recall is not None
    assert plan.sampled_recall >= 0.9
    assert set(plan.regions) <= {f"r{name}" for name in spread.embedded.opened("points").held.engine.regions.names}
    assert plan.regions_total == len(spread.embedded.opened("points").held.engine.regions)


def test_a_deleted_point_is_gone_from_all_its_shards(tmp_path: Path) -> None:
    clusters = Clusters("cosine", seed=22, dimensions=16)
    matrix = clusters.draw(600)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=16, shards=4, copies=2)
    points.add(ids=list(range(600)), vectors=matrix, payload=[{"n": number} for number in range(600)])
    settle(embedded)
    points.delete(list(range(0, 600, 3)))
    points.update(list(range(1, 600, 3)), {"changed": True})
    for exact in (True, False):
        hits = points.search(matrix[0], 400, exact=exact)
        assert sorted(hit.id for hit in hits) == [number for number in range(600) if number % 3]
        assert all(hit.payload.get("changed", False) == (hit.id % 3 == 1) for hit in hits)
    db.close()


def test_a_map_that_comes_while_shards_are_ordered_does_not_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = Clusters("cosine", seed=22, dimensions=16)
    matrix = clusters.draw(600)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=16, shards=4, copies=2)
    points.add(ids=list(range(600)), vectors=matrix)
    settle(embedded)
    engine = embedded.opened("points").held.engine
    assert len(engine.regions) > 1
    ranked = Atlas.rank

    def rank(*asked: Any) -> Any:
        engine.regions = single_region(16)  # fewer regions than the map that is being asked
        return ranked(*asked)

    monkeypatch.setattr(Atlas, "rank", rank)
    assert points.search(matrix[0], 1)[0].id == 0
    assert len(engine.regions) == 1
    db.close()


def test_a_point_that_moves_through_space_leaves_its_old_shards(tmp_path: Path) -> None:
    """The same ids, placed anew again and again, seals and maps in between."""
    clusters = Clusters("euclidean", seed=23, dimensions=8)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=8, metric="euclidean", shards=8, copies=3)
    for _ in range(5):
        matrix = clusters.draw(300)
        points.add(ids=list(range(300)), vectors=matrix)
        assert points.count() == 300
        hits = points.search(matrix[7], 300, exact=True)
        assert sorted(hit.id for hit in hits) == list(range(300))
        assert hits[0].id == 7
        settle(embedded)
    engine = embedded.opened("points").held.engine
    lists = assign(matrix, engine.regions, metric="euclidean", copies=3)
    standing = [key for shard in engine.shards for segment in shard.segments for key in segment.keys_at(np.flatnonzero(segment.alive()))]
    assert len(standing) == int((lists >= 0).sum())
    db.close()


def test_bits_all_stand_in_one_shard_and_answer_whole(tmp_path: Path) -> None:
    clusters = Clusters("hamming", seed=24)
    matrix: NDArray[Any] = clusters.draw(500)
    db, embedded = opened(tmp_path)
    points = db.collection("bits", dimensions=clusters.dimensions, metric="hamming", shards=4, copies=2)
    points.add(ids=list(range(500)), vectors=matrix)
    settle(embedded)
    true = best_scores(matrix, matrix[:20], "hamming", 10)
    assert recall(points.search_many(matrix[:20], 10), true, 10) == 1.0
    db.close()
