"""Regions: which of them hold a point, which of them a query should visit.

Assignment is exact on every processor: vectors and centroids become small integers held in float32, so that no sum of products can round
(all stay below 2^22) and BLAS may add in any order. What follows is element-wise arithmetic, which IEEE 754 fixes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.model.topology import RegionMap
from paradox.space.levels import LARGE_MIN, Apart, Groups, assign_near, group, keep_apart, rank_near
from paradox.space.products import products
from paradox.space.spill import spill_loss

EXACT_SUM_MAX = 1 << 22
BLOCK_CELLS = 1 << 20  # points × regions compared at a time: a block of float32 stays within the second-level cache
SPILLED_CELLS = 1 << 17
"""Points × regions whose losses are worked out at a time, for the same reason: that takes several blocks."""
ROWS_MAX = 1 << 16
"""Points of a large map turned into steps at a time."""
MUCH, ROWS_TOGETHER = 1 << 30, 2_048
"""Multiply-adds that are worth all cores, and points compared at a time then."""
NEIGHBOURS = 32
"""Inside a shard a point's complementary region is looked for among so many regions nearest to its first one."""


def levels(dimensions: int) -> int:
    """Return the largest step number: the most for which `dimensions` products of two steps add up exactly."""
    return min(127, int((EXACT_SUM_MAX / dimensions) ** 0.5))


def single_region(dimensions: int) -> RegionMap:
    """Return the map a collection begins with: one region that holds everything, on shard 0."""
    return RegionMap(
        epoch=0,
        names=np.zeros(1, dtype=np.int64),
        centroids=np.zeros((1, dimensions), dtype=np.int8),
        shard_of=np.zeros(1, dtype=np.int32),
        scale=1.0,
        next_name=1,
    )


def blank_regions(dimensions: int, shards: int) -> RegionMap:
    """Return the map a collection of many machines begins with: a region on each shard, none of which is anywhere.

    All points are nearest to the first, and have their copies on the next ones, so that there are copies before there is anything to
    place points by.
    """
    return RegionMap(
        epoch=0,
        names=np.arange(shards, dtype=np.int64),
        centroids=np.zeros((shards, dimensions), dtype=np.int8),
        shard_of=np.arange(shards, dtype=np.int32),
        scale=1.0,
        next_name=shards,
    )


def is_blank(regions: RegionMap) -> bool:
    """Tell whether regions are nowhere yet."""
    return not regions.centroids.any()


def directions(vectors: Matrix) -> Matrix:
    """Return (n, d) integers as float32, each row scaled so that its largest component is `levels(d)`: lengths do not count."""
    largest = np.maximum(vectors.max(axis=1, keepdims=True), -vectors.min(axis=1, keepdims=True))
    largest[largest == 0] = 1.0
    steps = vectors / largest
    steps *= np.float32(levels(vectors.shape[1]))
    return np.rint(steps, out=steps)


class Atlas:
    """One map, ready to place points and to rank regions: what follows from it is worked out once, when first needed. Thread-safe.

    From LARGE_MIN regions on a vector is compared with those near it alone (`levels.py`); of fewer with all.
    """

    def __init__(self, regions: RegionMap, metric: Metric, *, all_cores: bool = False) -> None:
        """all_cores: whether to place many points by all of them, as work in the background does; else by the caller's alone."""
        self.regions = regions
        self.metric = metric
        self._all_cores = all_cores
        self._flat: dict[int, _Cells] = {}
        self._centres: Matrix | None = None
        self._groups: Groups | None = None
        self._apart: dict[int, Apart | None] = {}

    @property
    def is_large(self) -> bool:
        """Whether the map has levels."""
        return len(self.regions) >= LARGE_MIN

    def assign(self, vectors: Matrix, *, copies: int = 1) -> NDArray[np.int32]:
        """Return (n, copies) rows of the map that hold each of (n, d) `vectors`, nearest first; -1 where no further region exists.

        The second and third are complementary (SOAR spilling, Sun et al., arXiv 2404.00774): near, and in error where the first is not.
        Where shards matter (more than one in the map) every copy is on another shard, and in another domain of failure
        where there are as many as copies.
        Cost: n · r · d multiply-adds; of a large map about as of one of PLACED_AMONG regions.
        """
        rows = len(vectors)
        lists = np.full((rows, copies), -1, dtype=np.int32)
        if len(self.regions) == 1:
            lists[:, 0] = 0
            return lists
        much = self._all_cores and vectors.size * len(self.regions) >= MUCH
        block = ROWS_MAX if self.is_large else max(ROWS_TOGETHER if much else 1, BLOCK_CELLS // len(self.regions))
        for start in range(0, rows, block):
            part = vectors[start : start + block]
            steps = directions(part) if self.metric != "euclidean" else _steps(part, self.regions.scale)
            if self.is_large:
                groups, apart = self.groups(copies)
                found = assign_near(steps, self.regions.centroids, groups, apart, metric=self.metric, copies=copies)
            else:
                found = _assign_block(steps, self._cells(copies), self.metric, copies, all_cores=much)
            lists[start : start + block] = found
        return lists

    def rank(self, queries: Matrix) -> Iterable[NDArray[np.int64]]:
        """Return regions for each of (q, d) queries, nearest first: all of them; of a large map see `levels.rank_near`."""
        if self.is_large:
            groups, _ = self.groups()
            return [rank_near(query[None], groups, scale=self.regions.scale, metric=self.metric).astype(np.int64) for query in queries]
        if self._centres is None:
            self._centres = centres(self.regions)
        return rank(queries, self._centres, self.metric)

    def groups(self, copies: int = 1) -> tuple[Groups, Apart | None]:
        """Return a large map's groups, and what keeps copies apart. Cost, the first time: some seconds for a million regions."""
        if self._groups is None:
            self._groups = group(self.regions.centroids, metric=self.metric, most=levels(self.regions.centroids.shape[1]))
        if copies not in self._apart:
            number = _kept_apart(self.regions, copies)
            self._apart[copies] = None if number is None else keep_apart(self._groups, number)
        return self._groups, self._apart[copies]

    def _cells(self, copies: int) -> _Cells:
        if copies not in self._flat:
            self._flat[copies] = _cells(self.regions, self.metric, copies)
        return self._flat[copies]


def assign(vectors: Matrix, regions: RegionMap, *, metric: Metric, copies: int = 1) -> NDArray[np.int32]:
    """Return what `Atlas.assign` does, once and by all cores: who places points again and again by one map keeps its Atlas."""
    return Atlas(regions, metric, all_cores=True).assign(vectors, copies=copies)


class _Cells(msgspec.Struct, frozen=True):
    """A map of r regions as assignment uses it.

    squares (r,): of the centroids' lengths. lengths (r,): for cosine, ones for euclidean. neighbours (r, c): the regions where a point of
    each may have its complementary one; None = in all. between (r, r) or, where there are neighbours, (r, c): products of the centroids,
    divided by both lengths; infinite where the complementary one must not be. apart (r,): what copies are on different ones of.
    """

    centroids: Matrix
    squares: NDArray[np.float32]
    lengths: NDArray[np.float32]
    between: Matrix
    neighbours: NDArray[np.int64] | None
    apart: NDArray[np.int32]


def _cells(regions: RegionMap, metric: Metric, copies: int) -> _Cells:
    centroids = regions.centroids.astype(np.float32)
    squares = np.einsum("rd,rd->r", centroids, centroids)
    lengths = np.sqrt(np.maximum(squares, 1)) if metric != "euclidean" else np.ones(len(centroids), dtype=np.float32)
    kept = _kept_apart(regions, copies)
    apart = kept if kept is not None else np.arange(len(centroids), dtype=np.int32)
    if copies == 1:
        return _Cells(centroids, squares, lengths, np.empty((0, 0), dtype=np.float32), None, apart)
    if kept is not None or len(centroids) <= NEIGHBOURS:
        between = _between(centroids, centroids, lengths, lengths)
        between[apart == apart[:, None]] = np.inf
        return _Cells(centroids, squares, lengths, between, None, apart)
    own = squares if metric == "euclidean" else np.float32(0)
    neighbours = np.empty((len(centroids), NEIGHBOURS), dtype=np.int64)
    beside = np.empty((len(centroids), NEIGHBOURS), dtype=np.float32)
    block = max(1, BLOCK_CELLS // len(centroids))
    for start in range(0, len(centroids), block):
        part = slice(start, start + block)
        between = _between(centroids[part], centroids, lengths[part], lengths)
        between[np.arange(len(between)), np.arange(start, start + len(between))] = np.inf
        neighbours[part] = np.sort(np.argsort(own - 2 * between, axis=1, kind="stable")[:, :NEIGHBOURS], axis=1)
        beside[part] = np.take_along_axis(between, neighbours[part], axis=1)
    return _Cells(centroids, squares, lengths, beside, neighbours, apart)


def _between(some: Matrix, centroids: Matrix, lengths_of_some: NDArray[np.float32], lengths: NDArray[np.float32]) -> Matrix:
    inner = products(some, centroids)
    inner /= lengths
    inner /= lengths_of_some[:, None]
    return inner


def _kept_apart(regions: RegionMap, copies: int) -> NDArray[np.int32] | None:
    """Return what copies are on different ones of, for each region: its domain of failure, or where these are too few its shard.

    None = there is one shard.
    """
    if regions.shard_of.max() == 0:
        return None
    domain = regions.shard_of if regions.domain_of is None else regions.domain_of[regions.shard_of]
    return domain if len(np.unique(domain)) >= copies else regions.shard_of


def _steps(vectors: Matrix, scale: float) -> Matrix:
    most = levels(vectors.shape[1])
    return np.clip(np.rint(vectors / np.float32(scale)), -most, most)


def _assign_block(steps: Matrix, cells: _Cells, metric: Metric, copies: int, *, all_cores: bool) -> NDArray[np.int32]:
    inner = steps @ cells.centroids.T if all_cores else products(steps, cells.centroids)
    nearness = inner if metric != "euclidean" else inner - cells.squares / np.float32(2)
    lists = np.full((len(steps), copies), -1, dtype=np.int32)
    lists[:, 0] = nearness.argmax(axis=1)
    piece = len(steps) if copies == 1 or cells.neighbours is not None else max(1, SPILLED_CELLS // len(cells.squares))
    for start in range(0, len(steps) if copies > 1 else 0, piece):
        part = slice(start, start + piece)
        _spill(steps[part], inner[part], lists[part], cells, metric)
    return lists


def _spill(steps: Matrix, inner: Matrix, lists: NDArray[np.int32], cells: _Cells, metric: Metric) -> None:
    """Find the second and further regions of some points whose first are known, into `lists`."""
    rows, first = np.arange(len(steps)), lists[:, 0]
    near = None if cells.neighbours is None else cells.neighbours[first]
    loss = _spill_loss(steps, inner, near, first, cells, metric)
    for copy in range(1, lists.shape[1]):
        best = loss.argmin(axis=1)
        found = best if near is None else near[rows, best]
        lists[:, copy] = np.where(np.isfinite(loss[rows, best]), found, -1)
        if copy + 1 < lists.shape[1]:
            loss[(cells.apart if near is None else cells.apart[near]) == cells.apart[found][:, None]] = np.inf


def _spill_loss(
    steps: Matrix, inner: Matrix, near: NDArray[np.int64] | None, first: NDArray[np.int32], cells: _Cells, metric: Metric
) -> NDArray[np.float32]:
    """Return (n, c) losses of the regions `near` each row; None = of all."""
    rows = np.arange(len(steps))
    square = np.einsum("nd,nd->n", steps, steps)
    length = np.sqrt(square) if metric != "euclidean" else np.ones(len(steps), dtype=np.float32)
    square = np.ones(len(steps), dtype=np.float32) if metric != "euclidean" else square
    centroid_square = np.ones_like(cells.squares) if metric != "euclidean" else cells.squares
    product = (inner if near is None else np.take_along_axis(inner, near, axis=1)) / length[:, None]
    product /= cells.lengths if near is None else cells.lengths[near]
    return spill_loss(
        product,
        cells.between[first],
        centroid_square if near is None else centroid_square[near],
        at_first=inner[rows, first] / length / cells.lengths[first],
        own=square,
        first=centroid_square[first],
    )


def centres(regions: RegionMap) -> Matrix:
    """Return the centroids as (r, d) float32 vectors."""
    return regions.centroids.astype(np.float32) * np.float32(regions.scale)


def rank(queries: Matrix, centroids: Matrix, metric: Metric) -> NDArray[np.int64]:
    """Return (q, r) regions for each of (q, d) `queries`, nearest first. centroids (r, d) float32. Cost: q · r · d."""
    nearness = products(queries, centroids)
    if metric == "euclidean":
        nearness -= np.einsum("rd,rd->r", centroids, centroids) / 2
    return np.argsort(-nearness, axis=1, kind="stable")
