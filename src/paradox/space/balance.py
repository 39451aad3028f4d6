"""Balance: which shard each region is on, so that none holds far more than the others and neighbours stay together. Pure.

Regions are tied to those nearest to them. How well shards suit queries is how much of the ties runs within shards (graph partitioning,
as Gottesbüren et al., arXiv 2403.01797, cut shards for search, here of regions in place of points).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.model.topology import RegionMap
from paradox.space.clusters import cluster
from paradox.space.products import products
from paradox.space.regions import BLOCK_CELLS, assign, is_blank

CROWDED, EASED = 1.3, 1.15
"""Times the average: what a shard may hold before regions leave it, and what is left to it then."""
TIES = 8
"""Regions that each region is tied to. With 4 or 16 as many queries find their neighbours on few shards, within what can be measured."""
GATHER_ROUNDS = 10
SAMPLE_MAX = 16_384
"""Points that loads are estimated with: of sixteen shards each is known to 3 %."""


def is_crowded(held: Sequence[float] | NDArray[np.float64]) -> bool:
    """Tell whether one of the shards that hold so many points each holds too much."""
    return bool(max(held) > CROWDED * sum(held) / len(held))


def loads(sample: Matrix, weights: NDArray[np.float64], regions: RegionMap, *, metric: Metric, copies: int) -> NDArray[np.float64]:
    """Return how many points each region stores, copies included. sample: (n, d), each standing for `weights[i]` points."""
    step = -(-len(sample) // SAMPLE_MAX) or 1
    lists = assign(sample[::step], regions, metric=metric, copies=copies)
    stored = lists >= 0
    weight = np.broadcast_to(weights[::step, None], lists.shape)[stored]
    scale = weights.sum() / max(1e-30, weights[::step].sum())
    return np.bincount(lists[stored], weights=weight * scale, minlength=len(regions)).astype(np.float64)


def balance(old: RegionMap, load: NDArray[np.float64], *, shards: int, metric: Metric) -> RegionMap | None:
    """Return a map in which no shard is crowded, as far as regions can be moved, or None when `old` stays as it is.

    load: (r,) points stored in each region, copies included. Regions that leave a shard are those with most neighbours elsewhere. Each
    move lowers the sum of the squares of what shards hold, so it ends. Cost: r² · d, and moves · regions of a shard · shards.
    """
    if is_blank(old) or not is_crowded(held_by(old.shard_of, load, shards)):
        return None
    shard_of = _eased(old.shard_of, load, shards, _ties(old.centroids.astype(np.float32), load, metric))
    if np.array_equal(shard_of, old.shard_of):
        return None
    return msgspec.structs.replace(old, epoch=old.epoch + 1, shard_of=shard_of)


def spread(regions: RegionMap, sample: Matrix, weights: NDArray[np.float64], *, shards: int, metric: Metric, copies: int) -> RegionMap:
    """Return a map whose regions are placed anew, wherever they were: balanced, and neighbours together. sample: as for `loads`."""
    centroids = regions.centroids.astype(np.float32)
    first = loads(sample, weights, regions, metric=metric, copies=1)
    shard_of = place(centroids, first, shards, metric=metric)
    for _ in range(2):  # where copies go depends on where regions are
        regions = msgspec.structs.replace(regions, shard_of=shard_of)
        load = loads(sample, weights, regions, metric=metric, copies=copies)
        ties = _ties(centroids, load, metric)
        shard_of = _eased(_gathered(shard_of, load, shards, ties), load, shards, ties)
    return msgspec.structs.replace(regions, shard_of=shard_of)


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


def held_by(shard_of: NDArray[np.int32], load: NDArray[np.float64], shards: int) -> NDArray[np.float64]:
    """Return (s,) what each shard holds of (r,) loads of regions."""
    return np.bincount(shard_of, weights=load, minlength=shards).astype(np.float64)


class _Ties(msgspec.Struct, frozen=True):
    """Who is tied to whom, each tie from both its ends: ends of region i are `other[starts[i]:starts[i + 1]]`."""

    starts: NDArray[np.int64]
    other: NDArray[np.int64]
    strength: NDArray[np.float64]

    def pulls(self, shard_of: NDArray[np.int32], shards: int) -> NDArray[np.float64]:
        """Return (r, s) how strongly each region is tied to the regions of each shard."""
        count = len(shard_of)
        one = np.repeat(np.arange(count), np.diff(self.starts))
        return (
            np.bincount(one * shards + shard_of[self.other], weights=self.strength, minlength=count * shards)
            .reshape(count, shards)
            .astype(np.float64)
        )

    def move(self, pulls: NDArray[np.float64], region: int, giver: int, taker: int) -> None:
        """Bring pulls up to date with one region's move."""
        ends = slice(self.starts[region], self.starts[region + 1])
        np.subtract.at(pulls[:, giver], self.other[ends], self.strength[ends])
        np.add.at(pulls[:, taker], self.other[ends], self.strength[ends])


def _ties(centroids: Matrix, load: NDArray[np.float64], metric: Metric) -> _Ties:
    """Tie each region to the TIES nearest to it, as strongly as it is loaded: so many queries will want both."""
    count, nearest = len(centroids), min(TIES, len(centroids) - 1)
    if metric != "euclidean":
        centroids = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.float32(1))
    squares = np.einsum("rd,rd->r", centroids, centroids)
    other = np.empty((count, nearest), dtype=np.int64)
    block = max(1, BLOCK_CELLS // count)
    for start in range(0, count, block):
        rows = np.arange(start, min(start + block, count))
        nearness = products(centroids[rows], centroids) - squares / 2
        nearness[np.arange(len(rows)), rows] = -np.inf
        other[rows] = np.argsort(-nearness, axis=1, kind="stable")[:, :nearest]
    one = np.repeat(np.arange(count), nearest)
    ends, others = np.concatenate((one, other.ravel())), np.concatenate((other.ravel(), one))
    order = np.argsort(ends, kind="stable")
    starts = np.searchsorted(ends[order], np.arange(count + 1))
    return _Ties(starts, others[order], np.tile(load[one], 2)[order])


def _gathered(shard_of: NDArray[np.int32], load: NDArray[np.float64], shards: int, ties: _Ties) -> NDArray[np.int32]:
    """Move regions to the shard that most of their neighbours are on while it has room. Each move strengthens the ties within shards."""
    shard_of = shard_of.copy()
    held, pulls = held_by(shard_of, load, shards), ties.pulls(shard_of, shards)
    every, ceiling = np.arange(len(shard_of)), EASED * held.mean()
    for _ in range(GATHER_ROUNDS):
        gains = (pulls - pulls[every, shard_of][:, None]).max(axis=1)
        moved = 0
        for region in np.argsort(-gains, kind="stable")[: np.count_nonzero(gains > 0)].tolist():
            giver = int(shard_of[region])
            gain = np.where(held + load[region] <= ceiling, pulls[region] - pulls[region, giver], 0.0)
            taker = int(gain.argmax())
            if gain[taker] > 0:
                ties.move(pulls, region, giver, taker)
                held[giver], held[taker] = held[giver] - load[region], held[taker] + load[region]
                shard_of[region] = taker
                moved += 1
        if not moved:
            break
    return shard_of


def _eased(shard_of: NDArray[np.int32], load: NDArray[np.float64], shards: int, ties: _Ties) -> NDArray[np.int32]:
    """Take from shards that hold too much, the fullest first, what is least tied to them, a unit of load for a unit."""
    shard_of = shard_of.copy()
    held, pulls = held_by(shard_of, load, shards), ties.pulls(shard_of, shards)
    ceiling = EASED * held.mean()
    stuck: set[int] = set()
    while True:
        full = [shard for shard in np.argsort(-held, kind="stable").tolist() if held[shard] > ceiling and shard not in stuck]
        if not full:
            return shard_of
        giver = full[0]
        mine = np.flatnonzero((shard_of == giver) & (load > 0))
        after = held + load[mine, None]
        allowed = after <= ceiling
        if not allowed.any():
            allowed = after < held[giver]  # it may give further what is too much for it
        if not allowed.any():
            stuck.add(giver)
            continue
        gain = np.where(allowed, (pulls[mine] - pulls[mine, giver][:, None]) / load[mine, None], -np.inf)
        place, taker = np.unravel_index(int(gain.argmax()), gain.shape)
        region = int(mine[place])
        ties.move(pulls, region, giver, int(taker))
        shard_of[region] = taker
        held = held_by(shard_of, load, shards)
        stuck.clear()
