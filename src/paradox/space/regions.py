"""Regions: which of them hold a point, which of them a query should visit.

Assignment is exact on every processor: vectors and centroids become small integers held in float32, so that no sum of products can round
(all stay below 2^22) and BLAS may add in any order. What follows is element-wise arithmetic, which IEEE 754 fixes.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.model.topology import RegionMap
from paradox.space.products import products

EXACT_SUM_MAX = 1 << 22
BLOCK_CELLS = 1 << 20  # points × regions compared at a time: a block of float32 stays within the second-level cache
NEIGHBOURS = 32
"""Inside a shard a point's complementary region is looked for among so many regions nearest to its first one."""
SPILL_WEIGHT = 1.0  # λ of SOAR: how much a complementary region must point away from the first one's residual


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


def assign(vectors: Matrix, regions: RegionMap, *, metric: Metric, copies: int = 1) -> NDArray[np.int32]:
    """Return (n, copies) rows of `regions` that hold each of (n, d) `vectors`, nearest first; -1 where no further region exists.

    The second and third are complementary (SOAR spilling, Sun et al., arXiv 2404.00774): near, and in error where the first is not.
    Where shards matter (more than one in the map) every copy is on another shard, and in another domain of failure where there is one.
    Cost: n · r · d multiply-adds.
    """
    rows = len(vectors)
    lists = np.full((rows, copies), -1, dtype=np.int32)
    if len(regions) == 1:
        lists[:, 0] = 0
        return lists
    cells = _cells(regions, metric, complementary=copies > 1)
    block = max(1, BLOCK_CELLS // len(regions))
    for start in range(0, rows, block):
        part = vectors[start : start + block]
        steps = directions(part) if metric != "euclidean" else _steps(part, regions.scale)
        lists[start : start + block] = _assign_block(steps, cells, metric, copies)
    return lists


class _Cells(msgspec.Struct, frozen=True):
    """A map of r regions as assignment uses it.

    squares (r,): of the centroids' lengths. lengths (r,): for cosine, ones for euclidean. between (r, r): products of the centroids,
    divided by both lengths. neighbours (r, c): the regions where a point of each may have its complementary one. shard, domain (r,):
    of each region, or None when copies need not be on different shards.
    """

    centroids: Matrix
    squares: NDArray[np.float32]
    lengths: NDArray[np.float32]
    between: Matrix
    neighbours: NDArray[np.int64]
    shard: NDArray[np.int32] | None
    domain: NDArray[np.int32] | None


def _cells(regions: RegionMap, metric: Metric, *, complementary: bool) -> _Cells:
    centroids = regions.centroids.astype(np.float32)
    squares = np.einsum("rd,rd->r", centroids, centroids)
    lengths = np.sqrt(np.maximum(squares, 1)) if metric != "euclidean" else np.ones(len(centroids), dtype=np.float32)
    shard = regions.shard_of if regions.shard_of.max() > 0 else None
    domain = shard if shard is None or regions.domain_of is None else regions.domain_of[shard]
    if not complementary:
        return _Cells(centroids, squares, lengths, np.empty((0, 0), dtype=np.float32), np.empty((0, 0), dtype=np.int64), shard, domain)
    between = products(centroids, centroids) / lengths / lengths[:, None]
    every = np.broadcast_to(np.arange(len(centroids)), between.shape)
    if shard is not None or len(centroids) <= NEIGHBOURS:
        return _Cells(centroids, squares, lengths, between, every, shard, domain)
    apart = squares if metric == "euclidean" else np.float32(0)
    neighbours = np.sort(np.argsort(apart - 2 * between, axis=1, kind="stable")[:, :NEIGHBOURS], axis=1)
    return _Cells(centroids, squares, lengths, between, neighbours, shard, domain)


def _steps(vectors: Matrix, scale: float) -> Matrix:
    most = levels(vectors.shape[1])
    return np.clip(np.rint(vectors / np.float32(scale)), -most, most)


def _assign_block(steps: Matrix, cells: _Cells, metric: Metric, copies: int) -> NDArray[np.int32]:
    inner = products(steps, cells.centroids)
    nearness = inner if metric != "euclidean" else inner - cells.squares / np.float32(2)
    first = nearness.argmax(axis=1)
    lists = np.full((len(steps), copies), -1, dtype=np.int32)
    lists[:, 0] = first
    if copies == 1:
        return lists
    near = cells.neighbours[first]
    loss = _spill_loss(steps, inner, near, first, cells, metric)
    rows = np.arange(len(steps))
    shard = cells.shard if cells.shard is not None else np.arange(len(cells.squares), dtype=np.int32)
    domain = cells.domain if cells.domain is not None else shard
    elsewhere = loss if domain is shard else loss.copy()
    for copy in range(1, copies):
        before = lists[:, copy - 1]
        loss[shard[near] == shard[before][:, None]] = np.inf
        elsewhere[domain[near] == domain[before][:, None]] = np.inf
        wanted = np.where(np.isfinite(elsewhere.min(axis=1, keepdims=True)), elsewhere, loss)
        best = wanted.argmin(axis=1)
        lists[:, copy] = np.where(np.isfinite(wanted[rows, best]), near[rows, best], -1)
    return lists


def _spill_loss(
    steps: Matrix, inner: Matrix, near: NDArray[np.int64], first: NDArray[np.int64], cells: _Cells, metric: Metric
) -> NDArray[np.float32]:
    """Return (n, c) SOAR losses of the regions `near` each row.

    |r'|² + λ (r'·r / |r|)², where r is the residual to the row's first region and r' to this one.
    """
    rows = np.arange(len(steps))
    square = np.einsum("nd,nd->n", steps, steps)
    length = np.sqrt(square) if metric != "euclidean" else np.ones(len(steps), dtype=np.float32)
    square = np.ones(len(steps), dtype=np.float32) if metric != "euclidean" else square
    centroid_square = np.ones_like(cells.squares) if metric != "euclidean" else cells.squares
    product = np.take_along_axis(inner, near, axis=1) / length[:, None] / cells.lengths[near]
    at_first = (inner[rows, first] / length / cells.lengths[first])[:, None]
    residual = np.maximum(square[:, None] - 2 * at_first + centroid_square[first][:, None], np.float32(1e-6))
    along = square[:, None] - at_first - product + cells.between[first[:, None], near]
    return centroid_square[near] - 2 * product + np.float32(SPILL_WEIGHT) * along * along / residual


def centres(regions: RegionMap) -> Matrix:
    """Return the centroids as (r, d) float32 vectors."""
    return regions.centroids.astype(np.float32) * np.float32(regions.scale)


def rank(queries: Matrix, centroids: Matrix, metric: Metric) -> NDArray[np.int64]:
    """Return (q, r) regions for each of (q, d) `queries`, nearest first. centroids (r, d) float32. Cost: q · r · d."""
    nearness = products(queries, centroids)
    if metric == "euclidean":
        nearness -= np.einsum("rd,rd->r", centroids, centroids) / 2
    return np.argsort(-nearness, axis=1, kind="stable")
