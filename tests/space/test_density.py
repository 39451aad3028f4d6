"""Regions follow density: they split where points crowd, are given up where few are left, and every point always has one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.clusters import Clusters
from paradox.model.schema import Limits, Metric
from paradox.model.topology import RegionMap
from paradox.space.balance import place
from paradox.space.clusters import cluster
from paradox.space.regions import assign, single_region
from paradox.space.split import REGIONS_PER_SHARD, UNEVEN, evolve, sizes

LIMITS = Limits(region_points_max=100, region_points_min=10)


def grown(points: NDArray[np.float32], regions: RegionMap, *, shards: int, metric: Metric, limits: Limits = LIMITS) -> RegionMap:
    """Return the map once it has come to rest."""
    for _ in range(12):
        new = evolve(regions, points, np.ones(len(points)), size=sizes(limits, len(points), shards), shards=shards, metric=metric)
        if new is None:
            return regions
        expect_sound(regions, new, shards=shards)
        regions = new
    raise AssertionError("the map does not come to rest")


def expect_sound(old: RegionMap, new: RegionMap, *, shards: int) -> None:
    assert new.epoch == old.epoch + 1
    assert len(set(new.names.tolist())) == len(new)
    assert new.next_name > new.names.max()
    kept = set(new.names.tolist()) & set(old.names.tolist())
    assert all(name < old.next_name for name in kept)
    assert all(name >= old.next_name for name in set(new.names.tolist()) - kept), "a name was used again"
    assert new.centroids.shape == (len(new), old.centroids.shape[1])
    assert ((new.shard_of >= 0) & (new.shard_of < shards)).all()


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize(("shards", "copies"), [(1, 1), (4, 2), (16, 2)])
def test_every_point_has_a_region_whatever_splits_and_merges(metric: Metric, shards: int, copies: int) -> None:
    clusters = Clusters(metric, seed=1, dimensions=16)
    points = clusters.draw(8_000)
    regions = grown(points, single_region(16), shards=shards, metric=metric)
    lists = assign(points, regions, metric=metric, copies=copies)
    assert (lists >= 0).all()
    counts = np.bincount(lists[:, 0], minlength=len(regions))
    assert counts.max() <= LIMITS.region_points_max
    few = points[:300]
    shrunk = grown(few, regions, shards=shards, metric=metric)
    assert len(shrunk) < len(regions)
    assert (assign(points, shrunk, metric=metric)[:, 0] >= 0).all()
    least = sizes(LIMITS, len(few), shards).least
    assert np.bincount(assign(few, shrunk, metric=metric)[:, 0], minlength=len(shrunk)).min() >= least


def test_a_map_that_fits_is_left_alone() -> None:
    points = Clusters("cosine", seed=2, dimensions=8).draw(90)
    assert evolve(single_region(8), points, np.ones(90), size=sizes(LIMITS, 90, 1), shards=1, metric="cosine") is None
    assert evolve(single_region(8), points[:10], np.ones(10), size=sizes(LIMITS, 10, 4), shards=4, metric="cosine") is None


def test_a_collection_that_becomes_empty_but_for_a_few_keeps_a_region() -> None:
    clusters = Clusters("cosine", seed=3, dimensions=8)
    regions = grown(clusters.draw(1_000), single_region(8), shards=1, metric="cosine")
    few = clusters.draw(5)
    shrunk = grown(few, regions, shards=1, metric="cosine")
    assert len(shrunk) >= 1
    assert (assign(few, shrunk, metric="cosine")[:, 0] >= 0).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_heap_of_equal_points_does_not_multiply_regions(metric: Metric) -> None:
    """It cannot be cut, and trying again and again must not fill the map."""
    points = np.tile(np.arange(1, 9, dtype=np.float32), (5_000, 1))
    regions, size = single_region(8), sizes(LIMITS, len(points), 4)
    for _ in range(8):
        regions = evolve(regions, points, np.ones(len(points)), size=size, shards=4, metric=metric) or regions
    assert len(regions) <= round(len(points) / size.meant)
    assert (assign(points, regions, metric=metric, copies=2)[:, 0] >= 0).all()


@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(["cosine", "euclidean"]), shards=st.sampled_from([1, 4, 16]))
@settings(max_examples=25, deadline=None)
def test_growth_and_loss_in_any_order_leave_a_sound_map(seed: int, metric: Metric, shards: int) -> None:
    dice = np.random.default_rng(seed)
    regions = single_region(6)
    for _ in range(6):
        centre = dice.normal(size=(1, 6)) * 10 ** dice.uniform(-2, 2)
        points = (centre + dice.normal(size=(dice.integers(1, 800), 6))).astype(np.float32)
        weights = dice.uniform(0.5, 3, size=len(points))
        new = evolve(regions, points, weights, size=sizes(LIMITS, weights.sum(), shards), shards=shards, metric=metric)
        if new is not None:
            expect_sound(regions, new, shards=shards)
            regions = new
        assert (assign(points, regions, metric=metric, copies=2)[:, 0] >= 0).all()


def test_the_same_points_give_the_same_map() -> None:
    points = Clusters("cosine", seed=4, dimensions=16).draw(3_000)
    maps = [grown(points, single_region(16), shards=8, metric="cosine") for _ in range(2)]
    assert np.array_equal(maps[0].centroids, maps[1].centroids)
    assert np.array_equal(maps[0].shard_of, maps[1].shard_of)


@pytest.mark.parametrize(("growth", "anew"), [(1.1, False), (1.5, True)])
def test_regions_of_several_shards_are_made_anew_when_far_more_are_wanted(growth: float, anew: bool) -> None:
    points = Clusters("cosine", seed=10, dimensions=16).draw(9_000)
    few = points[: int(len(points) / growth)]
    limits = Limits(region_points_min=100)
    old = grown(few, single_region(16), shards=4, metric="cosine", limits=limits)
    new = grown(points, old, shards=4, metric="cosine", limits=limits)
    stayed = np.isin(old.names, new.names)
    assert not stayed.any() if anew else stayed.all()
    lists = assign(points, new, metric="cosine", copies=2)
    stored = np.bincount(new.shard_of[lists[lists >= 0]], minlength=4)
    assert stored.max() <= 1.3 * stored.mean()


def test_regions_that_are_made_anew_on_a_node_leave_those_of_others_alone_and_stay_where_their_points_were() -> None:
    points = Clusters("cosine", seed=11, dimensions=16).draw(9_000)
    limits = Limits(region_points_min=100)
    old = grown(points[:3_000], single_region(16), shards=4, metric="cosine", limits=limits)
    home = old.shard_of[assign(points, old, metric="cosine")[:, 0]]
    mine = points[np.isin(home, (1, 2))]
    new = evolve(old, mine, np.ones(len(mine)), size=sizes(limits, len(mine), 2), shards=4, metric="cosine", copies=2, held=(1, 2))
    assert new is not None
    expect_sound(old, new, shards=4)
    others = ~np.isin(old.shard_of, (1, 2))
    assert np.array_equal(new.names[: others.sum()], old.names[others])
    assert np.array_equal(new.centroids[: others.sum()], old.centroids[others])
    assert set(new.shard_of[others.sum() :].tolist()) == {1, 2}
    after = new.shard_of[assign(mine, new, metric="cosine")[:, 0]]
    assert np.mean(after == home[np.isin(home, (1, 2))]) >= 0.8


@pytest.mark.parametrize("shards", [1, 4])
def test_a_shard_of_several_segments_has_no_more_regions_than_one_of_a_full_segment(shards: int) -> None:
    limits = Limits()
    full = sizes(limits, shards * limits.segment_points_max, shards)
    several = sizes(limits, 10 * shards * limits.segment_points_max, shards)
    assert (several.meant, several.most) == (10 * full.meant, 10 * full.most)
    assert several.least < several.meant / 2
    assert sizes(limits, 5 * shards * limits.segment_points_max, shards, copies=2) == several


@pytest.mark.parametrize("shards", [1, 4, 16])
def test_shards_have_enough_regions_to_tell_them_apart(shards: int) -> None:
    points = Clusters("cosine", seed=9, dimensions=16).draw(20_000)
    wide = Limits(region_points_max=5_000, region_points_min=5)
    regions = grown(points, single_region(16), shards=shards, metric="cosine", limits=wide)
    if shards == 1:
        assert len(regions) <= 10
    else:
        assert 0.75 * REGIONS_PER_SHARD * shards <= len(regions) <= 2 * REGIONS_PER_SHARD * shards
    assert sizes(wide, 16 * wide.segment_points_max, 16) == (2_500, 5, 5_000)
    assert sizes(wide, 10, 16) == (2.5, 0, 10)
    assert sizes(wide, 128 * 16 * 40, 16) == (40, 5, 40 * UNEVEN)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("regions", "shards"), [(66, 4), (66, 8), (66, 16), (400, 16), (1_000, 16), (1_000, 64)])
def test_shards_are_balanced(metric: Metric, regions: int, shards: int) -> None:
    """Regions of a real map hold from a tenth of the most to the most."""
    dice = np.random.default_rng(regions + shards)
    centroids = Clusters(metric, seed=5, dimensions=32).draw(regions)
    weights = dice.uniform(0.1, 1.0, size=regions) * 2_000
    shard_of = place(centroids, weights, shards, metric=metric)
    load = np.bincount(shard_of, weights=weights, minlength=shards)
    assert (load > 0).all()
    assert load.max() <= 1.3 * load.mean()


def test_as_many_shards_as_regions_take_one_each() -> None:
    centroids = Clusters("cosine", seed=6, dimensions=8).draw(4)
    assert place(centroids, np.ones(4), 4, metric="cosine").tolist() == [0, 1, 2, 3]
    assert place(centroids, np.ones(4), 9, metric="cosine").tolist() == [0, 1, 2, 3]


def test_neighbouring_regions_share_shards() -> None:
    """Sixteen tight groups of regions on sixteen shards: most groups stay together."""
    dice = np.random.default_rng(7)
    groups = dice.normal(size=(16, 32))
    centroids = (np.repeat(groups, 10, axis=0) + 0.05 * dice.normal(size=(160, 32))).astype(np.float32)
    shard_of = place(centroids, np.ones(160), 16, metric="cosine").reshape(16, 10)
    together = np.mean([np.bincount(row).max() / 10 for row in shard_of])
    assert together >= 0.7


def test_clusters_of_a_mixture_are_found() -> None:
    clusters = Clusters("cosine", seed=8, dimensions=32, spread=0.1)
    points = clusters.draw(4_000)
    found = cluster(points, 80, metric="cosine", seed=0)
    unit = points / np.linalg.norm(points, axis=1)[:, None]
    assert found.shape == (80, 32)
    assert np.isfinite(found).all()
    assert np.median((unit @ found.T).max(axis=1)) > 0.95
