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
from paradox.space.clusters import cluster, middles
from paradox.space.regions import assign, is_blank, levels

SAMPLE_PER_CHILD = 256
REGIONS_PER_SHARD = 128
"""That shards have at least, as far as there are points: of few regions queries see too little of which shards are near.

100,000 texts, 16 shards, two copies: recall 0.95 takes 4.0 shards with 64 regions each, 3.5 with 128.
"""
LEVEL_ROUNDS = 2
"""How often centroids are moved to the middle of their points once regions were cut. Recall 0.95 takes 4.7 shards without, 4.1 after one
round, 3.9 after two, 3.85 after four; a cut gives 42 % of points other places, with two rounds 53 %.
"""
LEVEL_SHARE = 0.1
"""How much of a map must be new for that: a region here and there is not worth that points move everywhere, and maps come to rest."""


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
    new = _replaced(old, crowded, sparse, children)
    born = np.count_nonzero(new.names >= old.next_name)
    return _levelled(new, sample, metric, held) if born > LEVEL_SHARE * np.count_nonzero(known) else new


def _levelled(cut: RegionMap, sample: Matrix, metric: Metric, held: Collection[int] | None) -> RegionMap:
    """Return a map that was cut, with the centroids of these shards' regions in the middle of their points (Lloyd's k-means).

    Children are cut out of one region at a time, from a sample of it, and know nothing of the regions around.
    """
    most = levels(cut.centroids.shape[1])
    for _ in range(LEVEL_ROUNDS):
        home = assign(sample, cut, metric=metric)[:, 0]
        rows, means = middles(sample, home, metric=metric)
        if held is not None:
            known = np.isin(cut.shard_of[rows], list(held))
            rows, means = rows[known], means[known]
        centroids = cut.centroids.copy()
        centroids[rows] = np.clip(np.rint(means / np.float32(cut.scale)), -most, most).astype(np.int8)
        cut = msgspec.structs.replace(cut, centroids=centroids)
    return cut


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
