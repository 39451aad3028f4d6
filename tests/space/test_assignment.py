"""Assignment is exact: whatever the order, the blocks, the threads or the rounding, a point gets the regions that integers give it."""

from __future__ import annotations

from fractions import Fraction
from threading import Thread
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paradox.model.schema import Metric
from paradox.model.topology import RegionMap
from paradox.space import regions as regions_module
from paradox.space.regions import Atlas, assign, centres, directions, levels, rank, single_region

METRICS: tuple[Metric, ...] = ("cosine", "dot", "euclidean")


def map_of(dice: np.random.Generator, count: int, dimensions: int, *, shards: int = 1) -> RegionMap:
    most = levels(dimensions)
    steps = dice.integers(-most, most + 1, size=(count, dimensions))
    return RegionMap(
        epoch=1,
        names=np.arange(count, dtype=np.int64),
        centroids=steps.astype(np.int8),
        shard_of=(np.arange(count) % shards).astype(np.int32),
        scale=0.01,
        next_name=count,
    )


def hostile(dice: np.random.Generator, count: int, dimensions: int) -> NDArray[np.float32]:
    """Return vectors whose sums depend on the order of adding: components of all sizes, near cancellations, near ties."""
    made = dice.normal(size=(count, dimensions)) * 10.0 ** dice.integers(-6, 6, size=(count, 1))
    made[::3] *= 10.0 ** dice.integers(-4, 1, size=(len(made[::3]), dimensions))
    made[1::3] = np.sign(made[1::3]) * (1 + 1e-7 * dice.integers(-3, 4, size=made[1::3].shape))
    return made.astype(np.float32)


def first_by_integers(vectors: NDArray[np.float32], regions: RegionMap, metric: Metric) -> list[int]:
    """Return each vector's nearest region, computed with Python's own integers."""
    most = levels(vectors.shape[1])
    centroids = regions.centroids.astype(object)
    nearest = []
    for vector in vectors:
        if metric == "euclidean":
            steps = np.clip(np.rint(vector / np.float32(regions.scale)), -most, most).astype(int).astype(object)
            nearness = [Fraction(int(steps @ row)) - Fraction(int(row @ row), 2) for row in centroids]
        else:
            largest = np.abs(vector).max() or np.float32(1)
            steps = np.rint(vector / largest * np.float32(most)).astype(int).astype(object)
            nearness = [Fraction(int(steps @ row)) for row in centroids]
        nearest.append(max(range(len(nearness)), key=lambda place: (nearness[place], -place)))
    return nearest


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimensions", [1, 2, 7, 64, 768, 4_096])
def test_the_first_region_is_what_integers_give(metric: Metric, dimensions: int) -> None:
    dice = np.random.default_rng(dimensions)
    regions, vectors = map_of(dice, 12, dimensions), hostile(dice, 60, dimensions)
    assert assign(vectors, regions, metric=metric)[:, 0].tolist() == first_by_integers(vectors, regions, metric)


@pytest.mark.parametrize("dimensions", [1, 64, 255, 768, 4_096, 16_384])
def test_no_sum_of_products_of_steps_can_round(dimensions: int) -> None:
    most = levels(dimensions)
    assert 1 <= most <= 127
    assert dimensions * most * most <= 1 << 22 < 1 << 24
    steps = directions(hostile(np.random.default_rng(0), 20, dimensions))
    assert np.array_equal(steps, np.rint(steps))
    assert np.abs(steps).max() == most


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("copies", "shards"), [(1, 1), (2, 1), (2, 8), (3, 8)])
def test_a_point_gets_the_same_regions_alone_and_among_others_in_any_order(metric: Metric, copies: int, shards: int) -> None:
    dice = np.random.default_rng(5)
    regions, vectors = map_of(dice, 50, 96, shards=shards), hostile(dice, 400, 96)
    whole = assign(vectors, regions, metric=metric, copies=copies)
    order = dice.permutation(len(vectors))
    assert np.array_equal(assign(vectors[order], regions, metric=metric, copies=copies), whole[order])
    for start, stop in ((0, 1), (1, 4), (17, 18), (100, 233), (399, 400)):
        assert np.array_equal(assign(vectors[start:stop], regions, metric=metric, copies=copies), whole[start:stop])
    assert np.array_equal(assign(np.asfortranarray(vectors), regions, metric=metric, copies=copies), whole)
    assert np.array_equal(assign(vectors[:, :][::-1], regions, metric=metric, copies=copies), whole[::-1])


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(6)
    regions, vectors = map_of(dice, 40, 48, shards=4), hostile(dice, 300, 48)
    whole = assign(vectors, regions, metric="cosine", copies=2)
    for cells in (40, 41, 1_000, 7_777):
        monkeypatch.setattr(regions_module, "BLOCK_CELLS", cells)
        assert np.array_equal(assign(vectors, regions, metric="cosine", copies=2), whole)


@pytest.mark.parametrize("metric", METRICS)
def test_all_cores_place_as_one_does(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(8)
    regions, vectors = map_of(dice, 300, 64, shards=4), hostile(dice, 3_000, 64)
    alone = Atlas(regions, metric).assign(vectors, copies=2)
    monkeypatch.setattr(regions_module, "MUCH", 1)
    assert np.array_equal(Atlas(regions, metric, all_cores=True).assign(vectors, copies=2), alone)


def test_threads_that_assign_at_the_same_time_agree() -> None:
    dice = np.random.default_rng(7)
    regions, vectors = map_of(dice, 200, 256, shards=16), hostile(dice, 2_000, 256)
    whole = assign(vectors, regions, metric="cosine", copies=2)
    results: list[NDArray[Any]] = []
    threads = [Thread(target=lambda: results.append(assign(vectors, regions, metric="cosine", copies=2))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(np.array_equal(result, whole) for result in results)


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.5, 2.0, 1024.0, 2.0**-20]))
@settings(max_examples=30, deadline=None)
def test_lengths_do_not_count_for_directions(seed: int, scale: float) -> None:
    """Multiplying by a power of two changes no digit, so it must change no region."""
    dice = np.random.default_rng(seed)
    regions, vectors = map_of(dice, 9, 24, shards=3), hostile(dice, 20, 24)
    scaled = vectors * np.float32(scale)
    for metric in ("cosine", "dot"):
        assert np.array_equal(assign(scaled, regions, metric=metric, copies=2), assign(vectors, regions, metric=metric, copies=2))  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("copies", "shards"), [(2, 2), (2, 4), (2, 16), (3, 3), (3, 16)])
def test_copies_stand_on_different_shards(metric: Metric, copies: int, shards: int) -> None:
    dice = np.random.default_rng(shards)
    regions, vectors = map_of(dice, 64, 32, shards=shards), hostile(dice, 500, 32)
    lists = assign(vectors, regions, metric=metric, copies=copies)
    assert (lists >= 0).all()
    holders = regions.shard_of[lists]
    assert all(len(set(row)) == copies for row in holders.tolist())


def test_a_copy_that_no_other_shard_could_hold_is_left_out() -> None:
    dice = np.random.default_rng(1)
    regions = map_of(dice, 6, 8, shards=2)
    lists = assign(hostile(dice, 30, 8), regions, metric="cosine", copies=3)
    assert (lists[:, :2] >= 0).all()
    assert (lists[:, 2] == -1).all()


def soar_loss(vector: NDArray[Any], centroid: NDArray[Any], first: NDArray[Any]) -> float:
    """The loss of Sun et al. with λ = 1, from its definition."""
    apart, residual = vector - centroid, vector - first
    return float(apart @ apart + (apart @ residual) ** 2 / max(residual @ residual, 1e-6))


@pytest.mark.parametrize("metric", METRICS)
def test_the_second_region_is_complementary(metric: Metric) -> None:
    dice = np.random.default_rng(9)
    regions, vectors = map_of(dice, 20, 16, shards=1), dice.normal(size=(200, 16)).astype(np.float32)
    lists = assign(vectors, regions, metric=metric, copies=2)
    steps = directions(vectors) if metric != "euclidean" else np.clip(np.rint(vectors / np.float32(regions.scale)), -127, 127)
    centroids = regions.centroids.astype(np.float64)
    if metric != "euclidean":
        steps = steps / np.linalg.norm(steps, axis=1)[:, None]
        centroids = centroids / np.linalg.norm(centroids, axis=1)[:, None]
    for row, (first, second) in zip(steps.astype(np.float64), lists.tolist(), strict=True):
        losses = [soar_loss(row, centroid, centroids[first]) if place != first else np.inf for place, centroid in enumerate(centroids)]
        assert losses[second] <= min(losses) * (1 + 1e-4) + 1e-4


@pytest.mark.parametrize("metric", METRICS)
def test_ranking_equals_brute_force(metric: Metric) -> None:
    dice = np.random.default_rng(10)
    queries, centroids = dice.normal(size=(30, 24)).astype(np.float32), dice.normal(size=(50, 24)).astype(np.float32)
    order = rank(queries, centroids, metric)
    assert sorted(order[0].tolist()) == list(range(50))
    for query, ranked in zip(queries.astype(np.float64), order, strict=True):
        near = -np.square(centroids - query).sum(axis=1) if metric == "euclidean" else centroids @ query
        assert (np.diff(near[ranked]) <= 1e-4).all()


def test_a_collection_begins_with_one_region_that_holds_everything() -> None:
    regions = single_region(8)
    lists = assign(hostile(np.random.default_rng(2), 10, 8), regions, metric="cosine", copies=2)
    assert lists.tolist() == [[0, -1]] * 10
    assert centres(regions).shape == (1, 8)
    assert len(regions) == 1


def test_zero_vectors_have_a_region_too() -> None:
    regions = map_of(np.random.default_rng(3), 5, 4)
    for metric in METRICS:
        assert (assign(np.zeros((3, 4), dtype=np.float32), regions, metric=metric)[:, 0] >= 0).all()


@pytest.mark.parametrize("domains", [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]])
def test_copies_are_on_other_shards_and_in_other_domains_where_there_are_any(domains: list[int]) -> None:
    dice = np.random.default_rng(4)
    regions = msgspec.structs.replace(map_of(dice, 16, 8, shards=4), domain_of=np.array(domains, dtype=np.int32))
    shards = regions.shard_of[assign(dice.normal(size=(200, 8)).astype(np.float32), regions, metric="cosine", copies=2)]
    assert (shards[:, 0] != shards[:, 1]).all()
    domain_of = np.array(domains)
    assert (domain_of[shards[:, 0]] != domain_of[shards[:, 1]]).all() or len(set(domains)) == 1
