"""Splitting and merging of regions. Pure: what is returned is a new map, which then travels in the log."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

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
SAMPLE_LEAST = 8
"""Points of the sample that a region is made of at the least."""
REGIONS_PER_SHARD = 128
"""That shards have at least, as far as there are points: of few regions queries see too little of which shards are near."""
UNEVEN = 4
"""Times the size that is meant: what a region of several shards may hold. Queries are led best by regions as large as the clusters that
are there. 100,000 texts, 16 shards, two copies: recall 0.95 takes 3.5 shards where each region above twice its size is cut, 3.0 where
k-means had its way.
"""
TOO_FEW, TOO_MANY = 0.8, 2.0
"""Times what is wanted: as few or as many regions of several shards are made anew, for cuts know nothing of the regions around."""


class Sizes(NamedTuple):
    """Points a region: how many are meant, below how many it is given up, above how many it is cut."""

    meant: float
    least: int
    most: int


def sizes(limits: Limits, points: float, shards: int, *, copies: int = 1) -> Sizes:
    """Return the sizes of regions where `shards` shards have so many points: of several each gets REGIONS_PER_SHARD.

    Of a shard that fills several segments they are larger: in each segment as many points of a region stand together as in a full one.
    `least` is well below half of `most`, or regions would come and go.
    """
    largest = round(limits.region_points_max * max(1.0, points * copies / shards / limits.segment_points_max))
    if shards == 1:
        return Sizes(largest / 2, min(limits.region_points_min, largest // 4), largest)
    meant = min(max(limits.region_points_min, 2 * points / (REGIONS_PER_SHARD * shards)), largest) / 2
    return Sizes(meant, min(limits.region_points_min, int(meant / 8)), min(largest, int(UNEVEN * meant)))


def children_wanted(count: float, size: Sizes) -> int:
    """Return into how many regions one that holds `count` points should be cut: 1 = leave it."""
    return 1 if count <= size.most else max(2, round(count / size.meant))


def evolve(
    old: RegionMap,
    sample: Matrix,
    weights: NDArray[np.float64],
    *,
    size: Sizes,
    shards: int,
    metric: Metric,
    copies: int = 1,
    held: Collection[int] | None = None,
) -> RegionMap | None:
    """Return the map that fits the density of points now, or None when `old` does.

    sample: (n, d) points, each standing for `weights[i]` points. Where there are several shards, regions are made anew when far more are
    wanted than there are; else crowded ones are split, and sparse ones given up to their neighbours. New regions of a whole map are
    spread over the shards, and where all points are here crowded shards are eased.
    held: the shards that the sample is of, whose regions may change; None = all. Cost: n · r · d, and k-means over what is made anew.
    """
    blank = is_blank(old)
    if blank:
        old = msgspec.structs.replace(old, names=old.names[:1], centroids=old.centroids[:1], shard_of=old.shard_of[:1])
    home = assign(sample, old, metric=metric)[:, 0]
    known = np.ones(len(old), dtype=np.bool_) if held is None else np.isin(old.shard_of, list(held))
    seen = _Seen(old, sample, weights, home, known)
    anew = _made_anew(seen, size, metric) if shards > 1 else None
    new = anew or _cut(seen, size, metric)
    if new is not None and shards > 1 and (blank or (anew is not None and held is None)):
        return spread(new, sample, weights, shards=shards, metric=metric, copies=copies)
    if shards == 1 or held is not None:
        return new
    now = new or old
    eased = balance(now, loads(sample, weights, now, metric=metric, copies=copies), shards=shards, metric=metric)
    return new if eased is None else msgspec.structs.replace(eased, epoch=old.epoch + 1)


class _Seen(NamedTuple):
    """A map and (n, d) points under it: `home` (n,) is the region of each, `known` (r,) which regions the points are a sample of."""

    old: RegionMap
    sample: Matrix
    weights: NDArray[np.float64]
    home: NDArray[np.int32]
    known: NDArray[np.bool_]


def _made_anew(seen: _Seen, size: Sizes, metric: Metric) -> RegionMap | None:
    """Return `old` with new regions in place of the known ones, each on the shard that most of its points were on.

    None while there are about as many as are wanted, or where points are too much alike for more.
    """
    old, sample, weights, home, known = seen
    mine, before = known[home], np.flatnonzero(known)
    points = sample[mine]
    wanted = min(round(weights[mine].sum() / size.meant), len(points) // SAMPLE_LEAST)
    if wanted < 2 or TOO_FEW * wanted < len(before) < TOO_MANY * wanted:
        return None
    centroids = cluster(points, wanted, metric=metric, seed=old.next_name)
    new = _replaced(old, before, centroids, np.zeros(len(centroids), dtype=np.int32))
    cell = assign(points, new, metric=metric)[:, 0] - (len(new) - len(centroids))
    own = cell >= 0
    shards = int(old.shard_of.max()) + 1
    votes = np.bincount(cell[own] * shards + old.shard_of[home[mine][own]], minlength=len(centroids) * shards).reshape(-1, shards)
    filled = np.flatnonzero(votes.any(axis=1))
    if TOO_FEW * len(filled) < len(before) <= wanted:
        return None
    return _replaced(old, before, centroids[filled], votes[filled].argmax(axis=1).astype(np.int32))


def _cut(seen: _Seen, size: Sizes, metric: Metric) -> RegionMap | None:
    """Return `old` with crowded regions split, and without sparse ones; None when there are neither."""
    old, sample, weights, home, known = seen
    counts = np.bincount(home, weights=weights, minlength=len(old))
    crowded = np.flatnonzero(known & (counts > size.most))
    sparse = np.flatnonzero(known & (counts < size.least)) if len(old) > 1 else np.empty(0, dtype=np.int64)
    if len(sparse) == len(old):
        sparse = sparse[sparse != counts.argmax()]
    if not len(crowded) and not len(sparse):
        return None
    children: list[Matrix] = []
    for parent in crowded.tolist():
        mine = sample[home == parent]
        wanted = min(children_wanted(counts[parent], size), max(2, len(mine) // SAMPLE_LEAST))
        mine = mine[:: max(1, len(mine) // (SAMPLE_PER_CHILD * wanted))]
        children.append(cluster(mine, wanted, metric=metric, seed=int(old.names[parent])))
    born = np.concatenate([np.empty((0, old.centroids.shape[1]), dtype=np.float32), *children])
    inherited = np.repeat(old.shard_of[crowded], [len(matrix) for matrix in children])
    return _replaced(old, np.concatenate((crowded, sparse)), born, inherited)


def halved(old: RegionMap, row: int, sample: Matrix, *, metric: Metric) -> RegionMap | None:
    """Return `old` with one region cut in two, last in the new map, by (n, d) of its points; None when they are all alike."""
    children = cluster(sample[:: max(1, len(sample) // (2 * SAMPLE_PER_CHILD))], 2, metric=metric, seed=int(old.names[row]))
    new = _replaced(old, np.array([row]), children, np.repeat(old.shard_of[row], len(children)))
    homes = assign(sample, new, metric=metric)[:, 0]
    return new if len(np.intersect1d(homes, (len(new) - 2, len(new) - 1))) == 2 else None


def _replaced(old: RegionMap, gone: NDArray[np.int64], born: Matrix, shard_of: NDArray[np.int32]) -> RegionMap:
    """Return `old` without the regions `gone`, and with (n, d) centroids `born` on (n,) shards at its end.

    Names are never used again.
    """
    keep = np.setdiff1d(np.arange(len(old)), gone)
    most = levels(born.shape[1])
    scale = old.scale if old.centroids.any() else float(np.abs(born).max()) / most or 1.0
    steps = np.clip(np.rint(born / np.float32(scale)), -most, most).astype(np.int8)
    return RegionMap(
        epoch=old.epoch + 1,
        names=np.concatenate((old.names[keep], np.arange(old.next_name, old.next_name + len(born)))).astype(np.int64),
        centroids=np.concatenate((old.centroids[keep], steps)),
        shard_of=np.concatenate((old.shard_of[keep], shard_of)).astype(np.int32),
        scale=scale,
        next_name=old.next_name + len(born),
        domain_of=old.domain_of,
    )
