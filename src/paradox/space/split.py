"""Splitting and merging of regions, and their places on shards. Pure: what is returned is a new map, which then travels in the log."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Limits, Metric
from paradox.model.topology import RegionMap
from paradox.space.products import products
from paradox.space.regions import assign, is_blank, levels

ROUNDS = 6
SAMPLE_PER_CHILD = 256


def children_wanted(count: int, limits: Limits) -> int:
    """Return into how many regions one that holds `count` points should be cut: 1 = leave it."""
    if count <= limits.region_points_max:
        return 1
    return max(2, round(2 * count / limits.region_points_max))


def cluster(sample: Matrix, clusters: int, *, metric: Metric, seed: int) -> Matrix:
    """Return (clusters, d) centroids of (n, d) `sample` by Lloyd's k-means; empty cells restart in the fullest.

    Directions (spherical k-means, Dhillon & Modha 2001) unless the metric is euclidean. Cost: rounds · n · clusters · d.
    """
    dice = np.random.default_rng(seed)
    points = sample if metric == "euclidean" else sample / np.maximum(np.linalg.norm(sample, axis=1, keepdims=True), 1e-30)
    centroids = points[np.sort(dice.choice(len(points), size=clusters, replace=len(points) < clusters))].copy()
    for _ in range(ROUNDS):
        nearness = products(points, centroids)
        if metric == "euclidean":
            nearness -= np.einsum("rd,rd->r", centroids, centroids) / 2
        nearest = nearness.argmax(axis=1)
        counts = np.bincount(nearest, minlength=clusters)
        order = np.argsort(nearest, kind="stable")
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        filled = np.flatnonzero(counts)
        centroids[filled] = np.add.reduceat(points[order], starts[filled], axis=0) / counts[filled, None]
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            crowded = order[starts[counts.argmax()] : starts[counts.argmax()] + counts.max()]
            centroids[empty] = points[dice.choice(crowded, size=len(empty))]
        if metric != "euclidean":
            centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-30)
    return centroids


def evolve(
    old: RegionMap,
    sample: Matrix,
    weights: NDArray[np.float64],
    *,
    limits: Limits,
    shards: int,
    metric: Metric,
    held: Collection[int] | None = None,
    first: int = 0,
) -> RegionMap | None:
    """Return the map that fits the density of points now, or None when `old` does.

    sample: (n, d) points, each standing for `weights[i]` points. Regions above `region_points_max` are split, regions below
    `region_points_min` are given up to their neighbours. held: the shards that the sample is of, whose regions may change; None = all.
    Cost: n · r · d, and k-means over the crowded regions' part of the sample.
    """
    blank = is_blank(old)
    if blank:
        old = msgspec.structs.replace(old, names=old.names[:1], centroids=old.centroids[:1], shard_of=old.shard_of[:1])
    home = assign(sample, old, metric=metric)[:, 0]
    counts = np.bincount(home, weights=weights, minlength=len(old))
    known = np.ones(len(old), dtype=np.bool_) if held is None else np.isin(old.shard_of, list(held))
    crowded = np.flatnonzero(known & (counts > limits.region_points_max))
    sparse = np.flatnonzero(known & (counts < few_points(limits))) if len(old) > 1 else np.empty(0, dtype=np.int64)
    if len(sparse) == len(old):
        sparse = sparse[sparse != counts.argmax()]
    if not len(crowded) and not len(sparse):
        return None
    children: list[Matrix] = []
    for parent in crowded.tolist():
        mine = sample[home == parent]
        wanted = min(max(children_wanted(int(counts[parent]), limits), first if blank else 0), max(2, len(mine) // 8))
        mine = mine[:: max(1, len(mine) // (SAMPLE_PER_CHILD * wanted))]
        children.append(cluster(mine, wanted, metric=metric, seed=int(old.names[parent])))
    new = _replaced(old, crowded, sparse, children)
    if shards > 1 and blank:  # the first real map: every region may go anywhere
        load = np.bincount(assign(sample, new, metric=metric)[:, 0], weights=weights, minlength=len(new))
        new = msgspec.structs.replace(new, shard_of=place(new.centroids.astype(np.float32), load.astype(np.float64), shards, metric=metric))
    return new


def few_points(limits: Limits) -> int:
    """Return the points under which a region is given up: well below those at which one is split, or regions would come and go."""
    return min(limits.region_points_min, limits.region_points_max // 4)


def halved(old: RegionMap, row: int, sample: Matrix, *, metric: Metric) -> RegionMap | None:
    """Return `old` with one region cut in two, last in the new map, by (n, d) of its points; None when they are all alike."""
    children = cluster(sample[:: max(1, len(sample) // (2 * SAMPLE_PER_CHILD))], 2, metric=metric, seed=int(old.names[row]))
    new = _replaced(old, np.array([row]), np.empty(0, dtype=np.int64), [children])
    homes = assign(sample, new, metric=metric)[:, 0]
    return new if len(np.intersect1d(homes, (len(new) - 2, len(new) - 1))) == 2 else None


def _replaced(old: RegionMap, crowded: NDArray[np.int64], sparse: NDArray[np.int64], children: list[Matrix]) -> RegionMap:
    """Return `old` without its sparse regions and with the crowded ones replaced by children, which stay on their parent's shard.

    Names are never used again: no child keeps its parent's.
    """
    keep = np.setdiff1d(np.arange(len(old)), np.concatenate((crowded, sparse)))
    born = np.concatenate([np.empty((0, old.centroids.shape[1]), dtype=np.float32), *children]).astype(np.float32)
    most = levels(born.shape[1])
    scale = old.scale if old.centroids.any() else float(np.abs(born).max()) / most or 1.0
    steps = np.clip(np.rint(born / np.float32(scale)), -most, most).astype(np.int8)
    inherited = np.repeat(old.shard_of[crowded], [len(matrix) for matrix in children])
    return RegionMap(
        epoch=old.epoch + 1,
        names=np.concatenate((old.names[keep], np.arange(old.next_name, old.next_name + len(born)))).astype(np.int64),
        centroids=np.concatenate((old.centroids[keep], steps)),
        shard_of=np.concatenate((old.shard_of[keep], inherited)).astype(np.int32),
        scale=scale,
        next_name=old.next_name + len(born),
        domain_of=old.domain_of,
    )


def place(centroids: Matrix, weights: NDArray[np.float64], shards: int, *, metric: Metric) -> NDArray[np.int32]:
    """Return the shard of each of (r, d) `centroids`, neighbours together, the load of no shard far above the average.

    Clusters the centroids, then fills shards in order of how much a region prefers its nearest over its second, up to a ceiling of the
    average load. Cost: r · shards · d.
    """
    if len(centroids) <= shards:
        return np.arange(len(centroids), dtype=np.int32)
    middles = cluster(centroids, shards, metric=metric, seed=shards)
    nearness = products(centroids, middles)
    if metric == "euclidean":
        nearness -= np.einsum("rd,rd->r", middles, middles) / 2
    choices = np.argsort(-nearness, axis=1, kind="stable")
    best = np.take_along_axis(nearness, choices, axis=1)
    regret = best[:, 0] - best[:, min(1, shards - 1)]
    ceiling = weights.sum() / shards + weights.max() / 2
    load = np.zeros(shards)
    shard_of = np.empty(len(centroids), dtype=np.int32)
    for region in np.argsort(-regret, kind="stable"):
        open_shards = [shard for shard in choices[region] if load[shard] + weights[region] <= ceiling]
        shard = open_shards[0] if open_shards else int(load.argmin())
        shard_of[region] = shard
        load[shard] += weights[region]
    return shard_of
