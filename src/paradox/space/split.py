"""Splitting and merging of regions. Pure: what is returned is a new map, which then travels in the log."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Limits, Metric
from paradox.model.topology import RegionMap
from paradox.space.balance import balance, loads, spread
from paradox.space.clusters import cluster
from paradox.space.regions import assign, is_blank, levels

SAMPLE_PER_CHILD = 256
REGIONS_PER_SHARD = 64
"""That shards have at least, as far as there are points: of few regions queries see too little of which shards are near.

100,000 texts, 16 shards, two copies, four regions in a row that change nothing: recall 0.82 after 3.5 shards with 200 regions, 0.93 after
3.5 with 1,100.
"""


def children_wanted(count: int, limits: Limits) -> int:
    """Return into how many regions one that holds `count` points should be cut: 1 = leave it."""
    if count <= limits.region_points_max:
        return 1
    return max(2, round(2 * count / limits.region_points_max))


def finer(limits: Limits, points: float, shards: int) -> Limits:
    """Return limits that give each of several shards REGIONS_PER_SHARD regions of so many points, but cut none below the least size."""
    if shards == 1:
        return limits
    most = max(limits.region_points_min, int(2 * points / (REGIONS_PER_SHARD * shards)))
    return msgspec.structs.replace(limits, region_points_max=min(limits.region_points_max, most))


def evolve(
    old: RegionMap,
    sample: Matrix,
    weights: NDArray[np.float64],
    *,
    limits: Limits,
    shards: int,
    metric: Metric,
    copies: int = 1,
    held: Collection[int] | None = None,
) -> RegionMap | None:
    """Return the map that fits the density of points now, or None when `old` does.

    sample: (n, d) points, each standing for `weights[i]` points. Crowded regions are split, regions below `region_points_min` are given
    up to their neighbours. The first regions are spread over the shards; where all points are here, crowded shards are eased too.
    held: the shards that the sample is of, whose regions may change; None = all. Cost: n · r · d, and k-means over the crowded
    regions' part of the sample.
    """
    blank = is_blank(old)
    new = _cut(old, sample, weights, finer(limits, weights.sum(), shards if held is None or blank else len(held)), metric, held)
    if shards == 1:
        return new
    if blank:
        return new and spread(new, sample, weights, shards=shards, metric=metric, copies=copies)
    if held is not None:
        return new
    now = new or old
    eased = balance(now, loads(sample, weights, now, metric=metric, copies=copies), shards=shards, metric=metric)
    return new if eased is None else msgspec.structs.replace(eased, epoch=old.epoch + 1)


def _cut(
    old: RegionMap, sample: Matrix, weights: NDArray[np.float64], limits: Limits, metric: Metric, held: Collection[int] | None
) -> RegionMap | None:
    """Return `old` with crowded regions split, and without sparse ones; None when there are neither."""
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
        wanted = min(children_wanted(int(counts[parent]), limits), max(2, len(mine) // 8))
        mine = mine[:: max(1, len(mine) // (SAMPLE_PER_CHILD * wanted))]
        children.append(cluster(mine, wanted, metric=metric, seed=int(old.names[parent])))
    return _replaced(old, crowded, sparse, children)


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
