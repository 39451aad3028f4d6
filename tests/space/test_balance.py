"""Shards stay balanced: regions leave those that hold too much, for where their neighbours are, and no more than that takes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.clusters import Clusters
from paradox.model.schema import Limits, Metric
from paradox.model.topology import RegionMap
from paradox.space.balance import CROWDED, EASED, balance, held_by, is_crowded, loads, spread
from paradox.space.regions import assign, blank_regions, single_region
from paradox.space.split import evolve, sizes

METRICS: tuple[Metric, ...] = ("cosine", "dot", "euclidean")
LIMITS = Limits(region_points_max=100, region_points_min=10)


def map_of(centroids: NDArray[np.float32], shard_of: NDArray[np.int32]) -> RegionMap:
    count, scale = len(centroids), float(np.abs(centroids).max()) / 127
    return RegionMap(
        epoch=3,
        names=np.arange(count, dtype=np.int64),
        centroids=np.rint(centroids / scale).astype(np.int8),
        shard_of=shard_of,
        scale=scale,
        next_name=count,
    )


def drifted(metric: Metric, *, regions: int = 400, shards: int = 16, seed: int = 0) -> tuple[RegionMap, NDArray[np.float64]]:
    """Return a map that was balanced before some of its parts of space grew, and the load of each region."""
    dice = np.random.default_rng(seed)
    centroids = Clusters(metric, seed=seed, dimensions=32).draw(regions)
    even = map_of(centroids, np.zeros(regions, dtype=np.int32))
    placed = spread(even, centroids, np.ones(regions), shards=shards, metric=metric, copies=1)
    grown = dice.choice(shards, size=shards // 4, replace=False)
    return placed, dice.uniform(0.5, 1.5, size=regions) * np.where(np.isin(placed.shard_of, grown), 4.0, 1.0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("regions", "shards"), [(40, 4), (400, 16), (1_000, 64)])
def test_no_shard_is_crowded_afterwards_and_then_nothing_is_left_to_do(metric: Metric, regions: int, shards: int) -> None:
    old, load = drifted(metric, regions=regions, shards=shards)
    load[old.shard_of == 0] *= 3
    assert is_crowded(held_by(old.shard_of, load, shards))
    new = balance(old, load, shards=shards, metric=metric)
    assert new is not None
    held = held_by(new.shard_of, load, shards)
    assert held.max() <= max(EASED * held.mean(), held.mean() + load.max())
    assert not is_crowded(held)
    assert new.epoch == old.epoch + 1
    assert balance(new, load, shards=shards, metric=metric) is None
    unchanged = msgspec.structs.replace(new, epoch=old.epoch, shard_of=old.shard_of)
    assert msgspec.structs.asdict(unchanged).keys() == msgspec.structs.asdict(old).keys()
    assert all(np.array_equal(getattr(unchanged, name), getattr(old, name)) for name in ("names", "centroids", "scale", "next_name"))


def test_what_is_not_crowded_is_left_alone() -> None:
    old, _ = drifted("cosine")
    load = np.ones(len(old))
    held = held_by(old.shard_of, load, 16)
    assert 1.0 < held.max() / held.mean() <= CROWDED
    assert balance(old, load, shards=16, metric="cosine") is None


@pytest.mark.parametrize("metric", METRICS)
def test_hardly_more_is_moved_than_is_too_much(metric: Metric) -> None:
    old, load = drifted(metric)
    new = balance(old, load, shards=16, metric=metric)
    assert new is not None
    held = held_by(old.shard_of, load, 16)
    too_much = np.maximum(0, held - EASED * held.mean()).sum()
    moved = load[new.shard_of != old.shard_of].sum()
    assert too_much <= moved <= 1.3 * too_much


def test_what_leaves_goes_to_its_neighbours() -> None:
    """Sixteen shards in a row; the first grew and the second shrank. The first's regions at the border between them go there."""
    angle = np.linspace(0, np.pi / 2, 320)
    centroids = np.stack((np.cos(angle), np.sin(angle)), axis=1).astype(np.float32)
    old = map_of(centroids, np.repeat(np.arange(16), 20).astype(np.int32))
    load = np.ones(320)
    load[:20], load[20:40] = 1.4, 0.7
    new = balance(old, load, shards=16, metric="euclidean")
    assert new is not None
    moved = np.flatnonzero(new.shard_of != old.shard_of)
    assert moved.tolist() == [16, 17, 18, 19]
    assert new.shard_of[moved].tolist() == [1, 1, 1, 1]


def test_a_shard_that_is_too_full_passes_on_what_it_takes() -> None:
    """Nobody has room under the ceiling, for regions are large; still the fullest gets less."""
    centroids = Clusters("cosine", seed=1, dimensions=8).draw(9)
    old = map_of(centroids, np.array([0, 0, 0, 0, 0, 1, 1, 2, 2], dtype=np.int32))
    new = balance(old, np.ones(9), shards=3, metric="cosine")
    assert new is not None
    assert sorted(held_by(new.shard_of, np.ones(9), 3).tolist()) == [3, 3, 3]


def test_one_region_that_is_too_much_for_any_shard_stays() -> None:
    centroids = Clusters("cosine", seed=2, dimensions=8).draw(4)
    old = map_of(centroids, np.array([0, 1, 2, 3], dtype=np.int32))
    assert balance(old, np.array([100.0, 1, 1, 1]), shards=4, metric="cosine") is None


def test_regions_that_are_nowhere_yet_are_left_alone() -> None:
    assert balance(blank_regions(8, 4), np.array([100.0, 100.0, 0.0, 0.0]), shards=4, metric="cosine") is None


@given(
    seed=st.integers(0, 2**32 - 1),
    regions=st.integers(1, 60),
    shards=st.integers(1, 12),
    metric=st.sampled_from(METRICS),
    tail=st.sampled_from([0.0, 1.0, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_any_loads_are_made_no_worse_and_left_alone_the_second_time(
    seed: int, regions: int, shards: int, metric: Metric, tail: float
) -> None:
    dice = np.random.default_rng(seed)
    old = map_of(dice.normal(size=(regions, 6)).astype(np.float32) + 0.1, dice.integers(shards, size=regions).astype(np.int32))
    load = np.round(np.exp(tail * dice.normal(size=regions)) * 100) * dice.integers(0, 2, size=regions)
    new = balance(old, load, shards=shards, metric=metric)
    again = balance(old, load, shards=shards, metric=metric)
    if new is None:
        assert again is None
        return
    assert again is not None
    assert np.array_equal(new.shard_of, again.shard_of)
    before, after = held_by(old.shard_of, load, shards), held_by(new.shard_of, load, shards)
    assert np.square(after).sum() < np.square(before).sum()
    assert after.max() <= before.max()
    assert balance(new, load, shards=shards, metric=metric) is None


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_loads_are_what_assignment_stores(metric: Metric, copies: int) -> None:
    points = Clusters(metric, seed=4, dimensions=16).draw(4_000)
    regions = evolve(single_region(16), points, np.ones(4_000), size=sizes(LIMITS, 4_000, 8), shards=8, metric=metric, copies=copies)
    assert regions is not None
    lists = assign(points, regions, metric=metric, copies=copies)
    stored = np.bincount(lists[lists >= 0], minlength=len(regions))
    assert loads(points, np.ones(4_000), regions, metric=metric, copies=copies).tolist() == stored.tolist()
    assert not is_crowded(held_by(regions.shard_of, stored, 8))


def test_loads_of_a_sample_stand_for_all_points() -> None:
    points = Clusters("cosine", seed=5, dimensions=8).draw(50_000)
    regions = evolve(single_region(8), points, np.ones(50_000), size=sizes(LIMITS, 50_000, 4), shards=4, metric="cosine", copies=2)
    assert regions is not None
    found = loads(points, np.full(50_000, 2.0), regions, metric="cosine", copies=2)
    assert found.sum() == pytest.approx(200_000)
    lists = assign(points, regions, metric="cosine", copies=2)
    held = held_by(regions.shard_of, np.bincount(lists.ravel(), minlength=len(regions)).astype(float), 4)
    assert held_by(regions.shard_of, found, 4) == pytest.approx(2 * held, rel=0.05)


@pytest.mark.parametrize("copies", [1, 2])
def test_regions_of_one_part_of_space_are_first_spread_beside_each_other(copies: int) -> None:
    """More of the regions nearest to each are on its own shard than k-means of centroids alone brings there, at a like load."""
    points = Clusters("cosine", seed=6, dimensions=32).draw(20_000)
    regions = evolve(single_region(32), points, np.ones(20_000), size=sizes(LIMITS, 20_000, 1), shards=1, metric="cosine")
    assert regions is not None
    placed = spread(regions, points, np.ones(20_000), shards=16, metric="cosine", copies=copies)
    centroids = regions.centroids.astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    nearest = np.argsort(-(centroids @ centroids.T), axis=1)[:, 1:5]
    together = (placed.shard_of[nearest] == placed.shard_of[:, None]).mean()
    assert together >= 0.6
    held = held_by(placed.shard_of, loads(points, np.ones(20_000), placed, metric="cosine", copies=copies), 16)
    assert held.max() <= CROWDED * held.mean()


def test_a_map_that_evolves_where_everything_is_known_is_balanced_with_it() -> None:
    clusters = Clusters("cosine", seed=7, dimensions=16)
    even, corner = clusters.draw(4_000), clusters.draw(1)
    regions = evolve(single_region(16), even, np.ones(4_000), size=sizes(LIMITS, 4_000, 8), shards=8, metric="cosine", copies=2)
    assert regions is not None
    points = np.concatenate((even, corner + 0.3 * clusters.dice.normal(size=(6_000, 16)).astype(np.float32)))
    weights = np.ones(len(points))
    for _ in range(12):
        before = regions
        regions = evolve(regions, points, weights, size=sizes(LIMITS, len(points), 8), shards=8, metric="cosine", copies=2) or regions
        if regions is before:
            break
        assert regions.epoch == before.epoch + 1
    assert regions is before, "the map does not come to rest"
    held = held_by(regions.shard_of, loads(points, weights, regions, metric="cosine", copies=2), 8)
    assert not is_crowded(held)


def test_a_part_of_a_cluster_moves_no_regions() -> None:
    """Who sees a few shards alone cannot tell whether they are crowded."""
    clusters = Clusters("cosine", seed=8, dimensions=16)
    points = clusters.draw(4_000)
    regions = evolve(single_region(16), points, np.ones(4_000), size=sizes(LIMITS, 4_000, 4), shards=4, metric="cosine")
    assert regions is not None
    mine = points[np.isin(regions.shard_of[assign(points, regions, metric="cosine")[:, 0]], (0,))]
    new = evolve(regions, mine, np.full(len(mine), 5.0), size=sizes(LIMITS, 5 * len(mine), 1), shards=4, metric="cosine", held=(0,))
    assert new is not None
    before, after = dict(zip(regions.names, regions.shard_of, strict=True)), dict(zip(new.names, new.shard_of, strict=True))
    assert all(after[name] == before.get(name, 0) for name in after)
