"""Levels: a large map's regions in groups, so that of a million regions only some thousands near a vector are looked at.

Groups are a pure function of the map's centroids, and what is assigned by them is one of the map and the vector: sums are of integers, so
they are exact in any order; what is divided or rounded is element-wise, which IEEE 754 fixes; and what is equally near is told apart by
its number. Nothing of it is stored or sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.space.products import products
from paradox.space.spill import spill_loss

LARGE_MIN = 6_144
"""Regions from which on a map has levels: of fewer it costs less to compare with all."""
PLACED_AMONG, RANKED_AMONG = 1_024, 2_048
"""Regions, those of its nearest groups, that a point and a query are compared with, about. Of texts under a static encoder 0.96 are placed
in the nearest of 6,400 regions so, 0.91 in that of 25,600, and the others beside it; comparing with twice as many takes twice as long.
"""
GROUPS = 4
"""Times the square root of the regions: how many groups there are, about. Of a million regions they cost as much as what is in them."""
RANKED_MAX = 1_024
"""Regions that a ranking tells one by one."""
ROUNDS, SAMPLE = 4, 64
"""Of k-means, and regions a group that it looks at."""
BLOCK_ROWS, BLOCK_CELLS = 16_384, 1 << 20
"""Points assigned together, and points × groups compared at a time."""
FINE = 256.0
"""Steps that a step is divided into while a group's middle is made."""


class Groups(msgspec.Struct, frozen=True):
    """A map of r regions in g groups of neighbours.

    middles (g, d): integers held in float32, of about one length unless the metric is euclidean; middle_squares (g,): of their lengths.
    Group i has the regions rows[starts[i]:starts[i + 1]], ascending; members (r, d) int8 and squares (r,) are the centroids of all rows
    and the squares of their lengths. probes: how many groups a point visits.
    """

    middles: Matrix
    middle_squares: NDArray[np.float32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    members: NDArray[np.int8]
    squares: NDArray[np.float32]
    probes: int

    def __len__(self) -> int:
        return len(self.middles)

    def slice(self, group: int) -> slice:
        """Return where a group's regions are."""
        return slice(int(self.starts[group]), int(self.starts[group + 1]))


def group(centroids: NDArray[np.int8], *, metric: Metric, most: int) -> Groups:
    """Return the regions of (r, d) centroids in groups. most: the largest step number. Cost: 4 · r · sqrt(sqrt(r)) · d multiply-adds.

    Cut twice by k-means of a sample of fixed places (Lloyd), each time into as many parts.
    """
    wanted = GROUPS * math.isqrt(len(centroids))
    coarse = _cut(centroids, math.isqrt(wanted), metric, most)
    parts: list[NDArray[np.int64]] = []
    for rows in _parts(coarse):
        count = max(1, round(wanted * len(rows) / len(centroids)))
        parts += [rows[part] for part in _parts(_cut(centroids[rows], count, metric, most))]
    order = np.concatenate(parts).astype(np.int32)
    starts = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
    members = centroids[order]
    sums, squares = np.empty((len(parts), centroids.shape[1])), np.empty(len(order), dtype=np.float32)
    for number, (start, stop) in enumerate(pairwise(starts.tolist())):
        part = members[start:stop].astype(np.float64)  # holds the sums of integers exactly
        sums[number], squares[start:stop] = part.sum(axis=0), _squares(part)
    middles = _middles(sums, np.diff(starts), metric, most)
    return Groups(middles, _squares(middles), starts, order, members, squares, min(len(parts), -(-len(parts) * PLACED_AMONG // len(order))))


def _cut(points: NDArray[np.int8], parts: int, metric: Metric, most: int) -> NDArray[np.int64]:
    """Return the part, of `parts` at most, that each of (n, d) points is in."""
    if parts == 1:
        return np.zeros(len(points), dtype=np.int64)
    sample = points[:: max(1, len(points) // (SAMPLE * parts))]
    middles = sample[np.arange(parts) * len(sample) // parts].astype(np.float32)
    for _ in range(ROUNDS):
        home = _nearest(sample, middles, metric)
        order = np.argsort(home, kind="stable")
        counts = np.bincount(home, minlength=parts)
        filled = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[filled]
        middles[filled] = _middles(np.add.reduceat(sample[order].astype(np.float64), starts, axis=0), counts[filled], metric, most)
    return _nearest(points, middles, metric)


def _middles(sums: NDArray[np.float64], counts: NDArray[np.int64], metric: Metric, most: int) -> Matrix:
    """Return (g, d) integers in float32: means of what adds up to `sums`; directions, all of about one length, unless euclidean."""
    means = sums / counts[:, None]
    if metric != "euclidean":
        means = np.rint(means * FINE)
        means /= np.sqrt(np.maximum(np.einsum("gd,gd->g", means, means), 1.0))[:, None]  # sums of integers below 2^53
        means *= most / max(np.abs(means).max(), 1e-9)
    return np.rint(means).astype(np.float32)


def _nearest(points: NDArray[np.int8], middles: Matrix, metric: Metric) -> NDArray[np.int64]:
    """Return the nearest of (g, d) middles to each of (n, d) points; of equally near ones the first."""
    squares = _squares(middles)
    home = np.empty(len(points), dtype=np.int64)
    block = max(1, BLOCK_CELLS // len(middles))
    for start in range(0, len(points), block):
        home[start : start + block] = _nearness(points[start : start + block].astype(np.float32), middles, squares, metric).argmax(axis=1)
    return home


def _squares(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors))


def _nearness(steps: Matrix, centroids: Matrix, squares: NDArray[np.float32], metric: Metric) -> Matrix:
    inner = products(steps, centroids)
    return inner if metric != "euclidean" else inner - squares / np.float32(2)


def _parts(home: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each part that has any, ascending."""
    if not len(home):
        return
    order = np.argsort(home, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(home[order])) + 1)


# -- ranking


def rank_near(query: Matrix, groups: Groups, *, scale: float, metric: Metric) -> NDArray[np.int32]:
    """Return regions for one (1, d) query: the RANKED_MAX nearest of those in its nearest groups, then the first of each further group.

    scale: of the map's steps. Cost: (g + RANKED_AMONG) · d multiply-adds.
    """
    steps = query / np.float32(scale)
    order = np.argsort(-_nearness(steps, groups.middles, groups.middle_squares, metric)[0], kind="stable")
    probes = 1 + int(np.searchsorted(np.cumsum(np.diff(groups.starts)[order]), RANKED_AMONG))
    near = [groups.slice(number) for number in order[:probes].tolist()]
    # group by group: what is widened to float32 stays in the cache
    nearness = np.concatenate([_nearness(steps, groups.members[part].astype(np.float32), groups.squares[part], metric)[0] for part in near])
    best = np.argpartition(-nearness, RANKED_MAX)[:RANKED_MAX] if len(nearness) > RANKED_MAX else np.arange(len(nearness))
    best = best[np.argsort(-nearness[best], kind="stable")]
    further = groups.starts[order[probes:]]
    return np.concatenate((np.concatenate([groups.rows[part] for part in near])[best], groups.rows[further]))


# -- assignment


class Apart(msgspec.Struct, frozen=True):
    """What keeps a point's copies apart: number (r,), which no two regions that hold it share. of (g, n): the numbers in each group."""

    number: NDArray[np.int32]
    of: NDArray[np.int32]

    def open_groups(self, taken: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return (n, g): the groups with a region that may hold a copy of a point beside (n, c) regions that do."""
        left = self.of.sum(axis=1)[None, :] - sum(self.of.T[self.number[column]] for column in taken.T)
        return np.asarray(left > 0)


def keep_apart(groups: Groups, number: NDArray[np.int32]) -> Apart:
    """Return what keeps copies apart. number (r,): of the shard, or the domain of failure, of each region."""
    of = np.zeros((len(groups), int(number.max()) + 1), dtype=np.int32)
    of[np.repeat(np.arange(len(groups)), np.diff(groups.starts)), number[groups.rows]] = 1
    return Apart(number, of)


def assign_near(
    steps: Matrix, centroids: NDArray[np.int8], groups: Groups, apart: Apart | None, *, metric: Metric, copies: int
) -> NDArray[np.int32]:
    """Return (n, copies) regions that hold each of (n, d) points, given in steps: see `regions.Atlas.assign`.

    Each copy is in the best of the regions that may hold it among those of the nearest groups that have one. apart: None = any two
    regions may. Cost: copies · (g + 2 · PLACED_AMONG) · d multiply-adds a point.
    """
    lists = np.full((len(steps), copies), -1, dtype=np.int32)
    for start in range(0, len(steps), BLOCK_ROWS):
        part, taken = steps[start : start + BLOCK_ROWS], lists[start : start + BLOCK_ROWS]
        taken[:, 0] = _first(part, groups, metric)
        for copy in range(1, copies):
            left = np.flatnonzero(taken[:, copy - 1] >= 0)
            taken[left, copy] = _complementary(part[left], centroids, groups, apart, taken[left, :copy], metric)
    return lists


def _first(steps: Matrix, groups: Groups, metric: Metric) -> NDArray[np.int64]:
    def loss(points: NDArray[np.int64], part: slice) -> Matrix:
        return -_nearness(steps[points], groups.members[part].astype(np.float32), groups.squares[part], metric)

    return _best(len(steps), groups, _visits(steps, groups, metric), loss)


def _complementary(
    steps: Matrix, centroids: NDArray[np.int8], groups: Groups, apart: Apart | None, taken: NDArray[np.int32], metric: Metric
) -> NDArray[np.int64]:
    """Return the region with the least spill loss for each point that is in the regions `taken` (n, c) already; -1 = there is none."""
    home = centroids[taken[:, 0]].astype(np.float32)
    home_square, own = _squares(home), _squares(steps)
    inner = np.einsum("nd,nd->n", steps, home)
    euclidean, one = metric == "euclidean", np.float32(1)
    home_length, length = (np.ones_like(own), np.ones_like(own)) if euclidean else (np.sqrt(np.maximum(home_square, 1)), np.sqrt(own))
    length = np.maximum(length, one)

    def loss(points: NDArray[np.int64], part: slice) -> Matrix:
        there, rows, squares = groups.members[part].astype(np.float32), groups.rows[part], groups.squares[part]
        lengths = np.ones_like(squares) if euclidean else np.sqrt(np.maximum(squares, 1))
        losses = spill_loss(
            products(steps[points], there) / length[points, None] / lengths,
            products(home[points], there) / lengths / home_length[points, None],
            (squares if euclidean else np.ones_like(squares))[None, :],
            at_first=inner[points] / length[points] / home_length[points],
            own=own[points] if euclidean else np.ones_like(length[points]),
            first=home_square[points] if euclidean else np.ones_like(length[points]),
        )
        for column in taken[points].T:
            same = rows == column[:, None] if apart is None else apart.number[rows] == apart.number[column][:, None]
            losses[same] = np.inf
        return losses

    return _best(len(steps), groups, _visits(steps, groups, metric, apart, taken), loss)


def _visits(
    steps: Matrix, groups: Groups, metric: Metric, apart: Apart | None = None, taken: NDArray[np.int32] | None = None
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (group, points that visit it): each point its nearest groups with an open region, and others as near as the last."""
    points, visited = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    block = max(1, BLOCK_CELLS // len(groups))
    for start in range(0, len(steps), block):
        nearness = _nearness(steps[start : start + block], groups.middles, groups.middle_squares, metric)
        if apart is not None and taken is not None:
            nearness[~apart.open_groups(taken[start : start + block])] = -np.inf
        least = np.partition(nearness, -groups.probes, axis=1)[:, -groups.probes]
        point, number = np.nonzero((nearness >= least[:, None]) & np.isfinite(nearness))
        points.append(point + start)
        visited.append(number)
    point, number = np.concatenate(points), np.concatenate(visited)
    for part in _parts(number):
        yield int(number[part[0]]), point[part]


def _best(
    count: int,
    groups: Groups,
    visits: Iterator[tuple[int, NDArray[np.int64]]],
    loss: Callable[[NDArray[np.int64], slice], Matrix],
) -> NDArray[np.int64]:
    """Return the region of the least loss for each of `count` points, of equal ones the one with the lowest number; -1 = there is none."""
    lowest, best = np.full(count, np.inf, dtype=np.float32), np.full(count, -1, dtype=np.int64)
    for number, points in visits:
        part = groups.slice(number)
        losses = loss(points, part)
        place = losses.argmin(axis=1)
        low, row = losses[np.arange(len(points)), place], groups.rows[part][place]
        better = (low < lowest[points]) | ((low == lowest[points]) & (row < best[points]))
        lowest[points[better]], best[points[better]] = low[better], row[better]
    return best
