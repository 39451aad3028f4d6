"""Large maps have levels: what is far is not looked at, and what is assigned is still what integers give."""

from __future__ import annotations

from fractions import Fraction
from threading import Thread
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from paradox.model.schema import Metric
from paradox.model.topology import RegionMap
from paradox.router.patience import way
from paradox.space.levels import LARGE_MIN, Groups
from paradox.space.regions import Atlas, assign, directions, levels

METRICS: tuple[Metric, ...] = ("cosine", "dot", "euclidean")
DIMENSIONS, REGIONS, FAMILIES = 24, 9_000, 300


def map_in_families(seed: int, regions: int = REGIONS, *, shards: int = 1, dimensions: int = DIMENSIONS) -> RegionMap:
    """Return a map whose regions stand around FAMILIES places, neighbours on one shard."""
    dice = np.random.default_rng(seed)
    most = levels(dimensions)
    vectors = np.repeat(dice.normal(size=(FAMILIES, dimensions)), -(-regions // FAMILIES), axis=0)[:regions]
    vectors = vectors + 0.4 * dice.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scale = float(np.abs(vectors).max()) / most
    return RegionMap(
        epoch=1,
        names=np.arange(regions, dtype=np.int64),
        centroids=np.rint(vectors / scale).astype(np.int8),
        shard_of=(np.arange(regions) * shards // regions).astype(np.int32),
        scale=scale,
        next_name=regions,
    )


def beside(made: RegionMap, count: int, seed: int = 0) -> NDArray[np.float32]:
    dice = np.random.default_rng(seed)
    chosen = made.centroids[dice.integers(0, len(made), count)] * made.scale
    return (chosen + 0.05 * dice.normal(size=chosen.shape)).astype(np.float32)


def steps_of(vectors: NDArray[np.float32], made: RegionMap, metric: Metric) -> NDArray[Any]:
    most = levels(vectors.shape[1])
    steps = directions(vectors) if metric != "euclidean" else np.clip(np.rint(vectors / np.float32(made.scale)), -most, most)
    return steps.astype(int).astype(object)


def near(step: NDArray[Any], centroid: NDArray[Any], metric: Metric) -> Fraction:
    return Fraction(int(step @ centroid)) - (Fraction(int(centroid @ centroid), 2) if metric == "euclidean" else 0)


def visited(step: NDArray[Any], groups: Groups, metric: Metric) -> list[int]:
    """Return the regions that a vector is compared with, by Python's own integers."""
    nearness = [near(step, middle.astype(int).astype(object), metric) for middle in groups.middles]
    least = sorted(nearness, reverse=True)[groups.probes - 1]
    return [row for number, one in enumerate(nearness) if one >= least for row in groups.rows[groups.slice(number)].tolist()]


@pytest.mark.parametrize("metric", METRICS)
def test_every_region_is_in_one_group(metric: Metric) -> None:
    made = map_in_families(1)
    groups, _ = Atlas(made, metric).groups()
    assert sorted(groups.rows.tolist()) == list(range(len(made)))
    assert np.array_equal(groups.members, made.centroids[groups.rows])
    assert np.array_equal(groups.squares, np.square(groups.members.astype(np.int64)).sum(axis=1))
    assert (np.diff(groups.starts) > 0).all()
    assert all((np.diff(groups.rows[groups.slice(number)]) > 0).all() for number in range(len(groups)))
    assert len(groups) < len(made) / 8
    assert np.abs(groups.middles).max() <= levels(DIMENSIONS)
    assert np.array_equal(groups.middles, np.rint(groups.middles))


def test_groups_follow_from_the_centroids_alone() -> None:
    made = map_in_families(2)
    other = msgspec.structs.replace(made, epoch=9, names=made.names + 5, shard_of=made.shard_of + 3, centroids=np.array(made.centroids))
    for one, same in zip(
        msgspec.structs.astuple(Atlas(made, "cosine").groups()[0]),
        msgspec.structs.astuple(Atlas(other, "cosine").groups()[0]),
        strict=True,
    ):
        assert np.array_equal(one, same)


@pytest.mark.parametrize("metric", METRICS)
def test_the_first_region_is_what_integers_give(metric: Metric) -> None:
    made = map_in_families(3)
    vectors = beside(made, 12)
    atlas = Atlas(made, metric)
    groups, _ = atlas.groups()
    centroids = made.centroids.astype(int).astype(object)
    expected = []
    for step in steps_of(vectors, made, metric):
        rows = visited(step, groups, metric)
        expected.append(max(rows, key=lambda row: (near(step, centroids[row], metric), -row)))
    assert atlas.assign(vectors)[:, 0].tolist() == expected


@pytest.mark.parametrize("metric", METRICS)
def test_of_equally_near_regions_the_first_is_taken(metric: Metric) -> None:
    made = map_in_families(4)
    twice = msgspec.structs.replace(
        made, centroids=np.concatenate((made.centroids, made.centroids)), shard_of=np.zeros(2 * REGIONS, dtype=np.int32)
    )
    twice = msgspec.structs.replace(twice, names=np.arange(2 * REGIONS))
    assert (assign(beside(made, 300), twice, metric=metric)[:, 0] < REGIONS).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("copies", "shards"), [(1, 1), (2, 1), (3, 16)])
def test_a_point_gets_the_same_regions_alone_and_among_others_in_any_order(metric: Metric, copies: int, shards: int) -> None:
    made = map_in_families(5, shards=shards)
    vectors = beside(made, 200)
    atlas = Atlas(made, metric)
    whole = atlas.assign(vectors, copies=copies)
    order = np.random.default_rng(5).permutation(len(vectors))
    assert np.array_equal(Atlas(made, metric).assign(vectors[order], copies=copies), whole[order])
    for start, stop in ((0, 1), (1, 4), (100, 133), (199, 200)):
        assert np.array_equal(atlas.assign(vectors[start:stop], copies=copies), whole[start:stop])
    assert np.array_equal(atlas.assign(np.asfortranarray(vectors), copies=copies), whole)


def test_threads_that_need_the_groups_at_the_same_time_agree() -> None:
    made = map_in_families(6, shards=8)
    vectors = beside(made, 100)
    atlas = Atlas(made, "cosine")
    results: list[NDArray[Any]] = []
    threads = [Thread(target=lambda: results.append(atlas.assign(vectors, copies=2))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("copies", "shards"), [(2, 2), (2, 16), (3, 16)])
def test_copies_stand_on_different_shards_though_neighbours_share_one(metric: Metric, copies: int, shards: int) -> None:
    made = map_in_families(7, shards=shards)
    lists = assign(beside(made, 300), made, metric=metric, copies=copies)
    assert (lists >= 0).all()
    assert all(len(set(row)) == copies for row in made.shard_of[lists].tolist())


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_stand_in_different_domains_where_there_are_enough_and_else_on_different_shards(copies: int) -> None:
    made = msgspec.structs.replace(map_in_families(8, shards=8), domain_of=np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int32))
    lists = assign(beside(made, 300), made, metric="cosine", copies=copies)
    assert (lists >= 0).all()
    assert all(len(set(row)) == copies for row in made.shard_of[lists].tolist())
    domains = made.domain_of[made.shard_of[lists]]  # type: ignore[index]
    assert copies == 3 or (domains[:, 0] != domains[:, 1]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_second_region_is_the_best_complement_of_those_compared(metric: Metric) -> None:
    made = map_in_families(9)
    vectors = beside(made, 6)
    atlas = Atlas(made, metric)
    lists = atlas.assign(vectors, copies=2)
    centroids = made.centroids.astype(np.float64)
    if metric != "euclidean":
        centroids /= np.linalg.norm(centroids, axis=1)[:, None]
    for step, (first, second) in zip(steps_of(vectors, made, metric), lists.tolist(), strict=True):
        rows = np.array([row for row in visited(step, atlas.groups()[0], metric) if row != first])
        point = step.astype(np.float64)
        point = point if metric == "euclidean" else point / np.linalg.norm(point)
        apart, residual = point - centroids[rows], point - centroids[first]
        losses = np.square(apart).sum(axis=1) + np.square(apart @ residual) / (residual @ residual)
        assert losses[rows == second][0] <= losses.min() * (1 + 1e-4) + 1e-4


@pytest.mark.parametrize("metric", METRICS)
def test_a_ranking_finds_the_nearest_regions(metric: Metric) -> None:
    made = map_in_families(10, 40_000)
    queries = beside(made, 100)
    centroids = made.centroids.astype(np.float64) * made.scale
    shares = []
    for query, ranked in zip(queries.astype(np.float64), Atlas(made, metric).rank(queries), strict=True):
        nearness = -np.square(centroids - query).sum(axis=1) if metric == "euclidean" else centroids @ query
        assert (np.diff(nearness[ranked[:1_000]]) <= 1e-4).all()
        assert len(set(ranked.tolist())) == len(ranked)
        shares.append(len(np.intersect1d(ranked[:10], np.argsort(-nearness)[:10])) / 10)
    assert np.mean(shares) > 0.95


def shard_orders(atlas: Atlas, queries: NDArray[np.float32]) -> list[list[int]]:
    shards = int(atlas.regions.shard_of.max()) + 1
    return [[stop.shard for stop in way(nearest, atlas.regions.shard_of, shards)] for nearest in atlas.rank(queries)]


def test_shards_come_in_the_order_of_their_nearest_regions() -> None:
    made = map_in_families(11, shards=64)
    queries = beside(made, 40)
    centroids = made.centroids.astype(np.float64) * made.scale
    same = []
    for query, order in zip(queries, shard_orders(Atlas(made, "cosine"), queries), strict=True):
        best = made.shard_of[np.argsort(-(centroids @ query), kind="stable")]
        true = list(dict.fromkeys(best.tolist()))
        assert sorted(order) == list(range(64))
        same.append(order[0] == true[0])
        assert set(true[:3]) & set(order[:3])
    assert np.mean(same) > 0.9


def test_small_maps_compare_all_regions() -> None:
    made = map_in_families(12, LARGE_MIN - 1, shards=8)
    queries = beside(made, 20)
    atlas = Atlas(made, "cosine")
    centroids = made.centroids.astype(np.float32) * np.float32(made.scale)
    assert not atlas.is_large
    assert all(sorted(ranked.tolist()) == list(range(LARGE_MIN - 1)) for ranked in atlas.rank(queries))
    assert atlas.assign(queries)[:, 0].tolist() == (directions(queries) @ made.centroids.astype(np.float32).T).argmax(axis=1).tolist()
    expected = [list(dict.fromkeys(made.shard_of[np.argsort(-(centroids @ query), kind="stable")].tolist())) for query in queries]
    assert shard_orders(atlas, queries) == expected


def test_regions_that_are_all_alike_are_one_group() -> None:
    made = msgspec.structs.replace(map_in_families(13, shards=2), centroids=np.ones((REGIONS, DIMENSIONS), dtype=np.int8))
    for metric in METRICS:
        lists = assign(beside(map_in_families(13), 5), made, metric=metric, copies=2)
        assert (lists[:, 0] == 0).all()
        assert (made.shard_of[lists[:, 1]] == 1).all()
        assert len(next(iter(Atlas(made, metric).rank(np.ones((1, DIMENSIONS), dtype=np.float32)))))
