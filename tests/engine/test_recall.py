"""Recall is a promise: at every state of a segment, every metric, every k, every selectivity, and beside heaps of deleted points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.clusters import Clusters, best_scores
from engine.oracle import recall, scores
from engine.small import NEVER_S, opened, settle
from paradox.client.sync import Collection, Database
from paradox.model.recall import Curve, Reading
from paradox.model.schema import Limits, Metric
from paradox.node.embedded import EmbeddedDatabase
from paradox.planner.choose import Costs
from paradox.shard import probing

POINTS = 20_000
QUERIES = 50
ASKED = (0.9, 0.95, 0.99)
STATES = ("growing", "scan", "packed", "probe")
LISTED = ("packed", "probe")
LISTING = Costs(exact_row_us=1_000.0)
"""Makes lists the cheapest way wherever there are some, where scanning is dear too."""
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)


class Filled:
    """A collection of clustered points in one segment, in one of the states a segment goes through."""

    def __init__(self, folder: Path, metric: Metric, state: str) -> None:
        self.clusters = Clusters(metric, seed=7)
        self.matrix = self.clusters.draw(POINTS)
        self.queries = self.clusters.draw(QUERIES)
        self.anchor = self.clusters.draw(1)[0]
        self.near = near(self.anchor, self.clusters)
        dice = np.random.default_rng(3)
        rank = np.empty(POINTS, dtype=np.int64)
        rank[np.argsort(-scores(self.matrix, self.anchor, metric), kind="stable")] = np.arange(POINTS)
        self.rank, self.luck = rank, dice.permutation(POINTS)
        limits = Limits(growing_points_max=POINTS, region_points_max=500) if state != "growing" else Limits()
        self.db, self.embedded = opened(folder, limits=limits, idle_after_s=NEVER_S if state == "growing" else 0.05)
        self.collection = self.db.collection("points", dimensions=self.clusters.dimensions, metric=metric)
        payload = [{"rank": int(one), "luck": int(other)} for one, other in zip(self.rank, self.luck, strict=True)]
        self.collection.add(ids=list(range(POINTS)), vectors=self.matrix, payload=payload)
        if state != "growing":
            settle(self.embedded)
        if state in LISTED:
            engine = self.embedded.opened("points").held.engine
            engine.costs = LISTING
            for segment in engine.segments():
                for column in segment.vectors.values():
                    column.scan_row_us = 1_000.0
                    column.choices.clear()

    def ways(self) -> set[str]:
        """Return how a plain search looks at each segment."""
        plan = self.collection.search(self.queries[0]).plan
        assert plan is not None
        return {step.what for shard in plan.root.steps for step in shard.steps}


def near(anchor: NDArray[Any], clusters: Clusters) -> NDArray[Any]:
    """Return queries around one place."""
    if anchor.dtype == np.uint8:
        return anchor ^ np.packbits(clusters.dice.random((QUERIES, 8 * len(anchor))) < 0.05, axis=1)
    return (anchor + 0.1 * clusters.dice.normal(size=(QUERIES, len(anchor)))).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Filled]]:
    made: dict[tuple[str, str], Filled] = {}
    yield made
    for filled in made.values():
        filled.db.close()


def let_lists_pay(patch: pytest.MonkeyPatch, state: str) -> None:
    """Let the state be the one that a sealed segment ends in."""
    patch.setattr(probing, "PROBE_POINTS_MIN", 5_000 if state == "probe" else POINTS * 10)
    patch.setattr(probing, "PACKED_POINTS_MIN", 5_000 if state == "packed" else POINTS * 10)
    patch.setattr(probing, "SLOW_ROW_US", -1.0)  # however fast this processor is


@pytest.fixture
def filled(
    request: pytest.FixtureRequest, folders: dict[tuple[str, str], Filled], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    metric, state = request.param
    if (metric, state) not in folders:
        with pytest.MonkeyPatch.context() as patch:
            let_lists_pay(patch, state)
            folders[metric, state] = Filled(tmp_path_factory.mktemp(f"{metric}-{state}"), metric, state)
    return folders[metric, state]


PLACES = [
    (metric, state) for metric in ("cosine", "dot", "euclidean", "hamming") for state in STATES if state not in LISTED or metric == "cosine"
]


@pytest.mark.parametrize("filled", PLACES, indirect=True, ids=lambda place: "-".join(place))
def test_recall_is_kept_for_every_k(filled: Filled) -> None:
    true = best_scores(filled.matrix, filled.queries, filled.clusters.metric, 100)
    for k in (1, 10, 100):
        for asked in ASKED:
            answers = filled.collection.search_many(filled.queries, k, recall=asked)
            assert recall(answers, true, k) >= asked, (k, asked)
            single = [filled.collection.search(query, k, recall=asked) for query in filled.queries[:10]]
            assert recall(single, true[:10], k) >= asked, (k, asked, "one by one")


@pytest.mark.parametrize("filled", [("cosine", state) for state in LISTED], indirect=True, ids=LISTED)
def test_a_curve_says_what_each_effort_finds_when_asked_by_itself(filled: Filled) -> None:
    [segment] = filled.embedded.opened("points").held.engine.segments()
    [column] = segment.vectors.values()
    queries, own, neighbours = probing.sample_truth(column, seed=1)
    alike = np.array([scores(column.matrix(), query, "cosine") for query in queries])
    alike[np.arange(len(own)), own] = -np.inf
    assert (np.sort(neighbours) == np.sort(np.argsort(-alike)[:, : probing.NEIGHBOURS])).mean() > 0.999  # but for equal scores
    lists = 1 if column.probe_curve.listed >= segment.rows else len(segment.region_names)
    curve = probing.measure_probe(column.probe, (queries, own, neighbours), lists=lists)
    assert len({reading.recall for reading in curve.readings}) > 3
    for reading in curve.readings:
        count = round(reading.depth * probing.NEIGHBOURS) + 1
        _, found = column.probe.search(queries, count, probes=reading.probes)
        kept = [list(dict.fromkeys(row for row in rows.tolist() if row >= 0))[:count] for rows in found]
        hits = sum(len(set(rows) & set(true)) for rows, true in zip(kept, neighbours.tolist(), strict=True))
        assert abs(hits / neighbours.size - reading.recall) < 0.005, reading  # equal codes may come in another order


@pytest.mark.parametrize(
    ("filled", "way"),
    [
        (("cosine", "growing"), "scan every code, rescore exactly"),
        (("cosine", "scan"), "scan every code, rescore exactly"),
        (("cosine", "packed"), "scan every packed code, rescore exactly"),
        (("cosine", "probe"), "probe the nearest regions, rescore exactly"),
    ],
    indirect=["filled"],
)
def test_the_states_are_what_they_are_called(filled: Filled, way: str) -> None:
    assert filled.ways() == {way}


@pytest.mark.parametrize(
    "filled",
    [("cosine", "growing"), ("cosine", "scan"), ("cosine", "packed"), ("cosine", "probe"), ("euclidean", "scan"), ("dot", "growing")],
    indirect=True,
)
@pytest.mark.parametrize("kind", ["independent", "correlated", "anti-correlated"])
def test_recall_is_kept_under_filters_of_every_selectivity(filled: Filled, kind: str) -> None:
    for share in SHARES:
        most = int(POINTS * share)
        where, mask = {
            "independent": (f"luck < {most}", filled.luck < most),
            "correlated": (f"rank < {most}", filled.rank < most),
            "anti-correlated": (f"rank >= {POINTS - most}", filled.rank >= POINTS - most),
        }[kind]
        true = best_scores(filled.matrix[mask], filled.near, filled.clusters.metric, 10)
        answers = filled.collection.search_many(filled.near, 10, where=where, recall=0.99)
        assert recall(answers, true, 10) >= 0.99, share
        assert all(mask[hit.id] for hits in answers for hit in hits)
        assert {len(hits) for hits in answers} == {min(10, most)}


@pytest.mark.parametrize("filled", [("cosine", "scan"), ("euclidean", "scan")], indirect=True)
def test_recall_is_kept_under_a_filter_that_the_curve_was_not_measured_with(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from the question points are crowded: a depth that finds all its neighbours may not find theirs."""
    (segment,) = filled.embedded.opened("points").held.engine.segments()
    (column,) = segment.vectors.values()
    monkeypatch.setattr(column, "scan_curve", Curve(readings=(Reading(probes=0, depth=1.5, recall=1.0),), listed=POINTS, sample=128))
    column.choices.clear()
    for share in (0.5, 0.1):
        mask = filled.rank >= POINTS - int(POINTS * share)
        true = best_scores(filled.matrix[mask], filled.near, filled.clusters.metric, 10)
        answers = filled.collection.search_many(filled.near, 10, where=f"rank >= {POINTS - int(POINTS * share)}", recall=0.99)
        assert recall(answers, true, 10) >= 0.99, share
    column.choices.clear()


@pytest.mark.parametrize(("metric", "state"), [place for place in PLACES if place[0] in ("cosine", "euclidean")])
def test_recall_is_kept_where_deleted_points_crowd_the_place(
    tmp_path: Path, metric: Metric, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_lists_pay(monkeypatch, state)
    filled = Filled(tmp_path, metric, state)
    for share in (0.005, 0.05, 0.09, 0.2):
        gone = int(POINTS * share)
        filled.collection.delete(where=f"rank < {gone}")
        living = filled.rank >= gone
        true = best_scores(filled.matrix[living], filled.near, metric, 10)
        for asked in ASKED:
            answers = filled.collection.search_many(filled.near, 10, recall=asked)
            assert {len(hits) for hits in answers} == {10}
            assert all(living[hit.id] for hits in answers for hit in hits)
            assert recall(answers, true, 10) >= asked, (share, asked)
        single = filled.collection.search(filled.anchor, 10)
        assert recall([single], best_scores(filled.matrix[living], filled.anchor[None], metric, 10), 10) >= 0.9
    filled.db.close()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_recall_is_kept_far_from_the_origin_and_after_a_first_point_that_says_nothing(tmp_path: Path, metric: Metric) -> None:
    """All vectors share a large part, as those of many encoders do, and the first batch is one odd point."""
    clusters = Clusters(metric, seed=5, offset=5.0)
    matrix, queries = clusters.draw(8_000), clusters.draw(QUERIES)
    db, _ = opened(tmp_path, limits=Limits(), idle_after_s=NEVER_S)
    points = db.collection("points", dimensions=clusters.dimensions, metric=metric)
    points.add(ids=["first"], vectors=np.full((1, clusters.dimensions), -1e-3, dtype=np.float32))
    points.add(ids=list(range(8_000)), vectors=matrix)
    true = best_scores(matrix, queries, metric, 10)
    for k in (1, 10):
        for asked in ASKED:
            assert recall(points.search_many(queries, k, recall=asked), true, k) >= asked, (k, asked)
    db.close()


def test_a_search_asked_to_be_exact_is(tmp_path: Path) -> None:
    clusters = Clusters("cosine", seed=11)
    matrix, queries = clusters.draw(3_000), clusters.draw(20)
    db, _ = opened(tmp_path, limits=Limits(), idle_after_s=NEVER_S)
    points = db.collection("points", dimensions=clusters.dimensions)
    points.add(ids=list(range(3_000)), vectors=matrix)
    true = best_scores(matrix, queries, "cosine", 25)
    assert recall(points.search_many(queries, 25, exact=True), true, 25) == 1.0
    assert recall(points.search_many(queries, 25, recall=1.0), true, 25) == 1.0
    plan = points.search(queries[0], exact=True).plan
    assert plan is not None
    assert plan.expected_recall == 1.0
    db.close()


def test_explain_measures_what_it_estimates(filled_small: tuple[Collection, NDArray[Any], Database, EmbeddedDatabase]) -> None:
    points, queries, _, _ = filled_small
    plan = points.explain(queries[0], k=10)
    assert plan.sampled_recall is not None
    assert plan.sampled_recall >= 0.9
    assert plan.expected_recall >= 0.95
    assert "search top 10: vector, recall 0.95 asked" in str(plan)
    assert "shard s0" in str(plan)
    assert "actual" in str(plan)


@pytest.fixture
def filled_small(tmp_path: Path) -> Iterator[tuple[Collection, NDArray[Any], Database, EmbeddedDatabase]]:
    clusters = Clusters("cosine", seed=2)
    db, embedded = opened(tmp_path, limits=Limits(), idle_after_s=NEVER_S)
    points = db.collection("points", dimensions=clusters.dimensions)
    points.add(vectors=clusters.draw(3_000))
    yield points, clusters.draw(5), db, embedded
    db.close()
