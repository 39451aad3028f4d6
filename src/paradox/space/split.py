"""Splitting and merging of regions, and their places on shards. Pure: what is returned is a new map, which then travels in the log."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Limits, Metric
from paradox.model.topology import RegionMap
from paradox.space.regions import levels

ROUNDS = 6
SAMPLE_PER_CHILD = 64


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
        nearness = points @ centroids.T
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


def replace_regions(old: RegionMap, parents: list[int], children: list[Matrix], *, shards: int, metric: Metric) -> RegionMap:
    """Return `old` with each region (row) of `parents` replaced by the rows of the matching matrix of `children`.

    The first child keeps nothing of its parent's name: names are never reused. Children stay on their parent's shard, but the first real
    map (from one region to many) spreads all regions over the shards, neighbours together, evenly.
    """
    keep = np.setdiff1d(np.arange(len(old)), parents)
    born = np.concatenate(children).astype(np.float32)
    most = levels(born.shape[1])
    if len(old) == 1 and not old.centroids.any():
        scale = float(np.abs(born).max()) / most or 1.0
    else:
        scale = old.scale
    steps = np.clip(np.rint(born / np.float32(scale)), -most, most).astype(np.int8)
    centroids = np.concatenate((old.centroids[keep], steps))
    names = np.concatenate((old.names[keep], np.arange(old.next_name, old.next_name + len(born))))
    if shards > 1 and len(old) == 1:
        shard_of = place(centroids.astype(np.float32), np.ones(len(centroids)), shards, metric=metric)
    else:
        inherited = np.repeat(old.shard_of[parents], [len(matrix) for matrix in children])
        shard_of = np.concatenate((old.shard_of[keep], inherited))
    return RegionMap(
        epoch=old.epoch + 1,
        names=names.astype(np.int64),
        centroids=centroids,
        shard_of=shard_of.astype(np.int32),
        scale=scale,
        next_name=old.next_name + len(born),
    )


def place(centroids: Matrix, weights: NDArray[np.float64], shards: int, *, metric: Metric) -> NDArray[np.int32]:
    """Return the shard of each of (r, d) `centroids`, neighbours together, the load of no shard far above the average.

    Clusters the centroids, then fills shards in order of how much a region prefers its nearest over its second, up to a ceiling of the
    average load. Cost: r · shards · d.
    """
    if len(centroids) <= shards:
        return np.arange(len(centroids), dtype=np.int32)
    middles = cluster(centroids, shards, metric=metric, seed=shards)
    nearness = centroids @ middles.T
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
