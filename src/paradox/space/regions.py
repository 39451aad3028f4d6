"""Regions: which of them hold a point, which of them a query should visit.

Assignment is exact on every processor: vectors and centroids become small integers held in float32, so that no sum of products can round
(all stay below 2^22) and BLAS may add in any order. What follows is element-wise arithmetic, which IEEE 754 fixes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.model.topology import RegionMap

EXACT_SUM_MAX = 1 << 22
BLOCK_CELLS = 1 << 20  # points × regions compared at a time: a block of float32 stays within the second-level cache
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
    Where shards matter (more than one in the map) every copy is on another shard. Cost: n · r · d multiply-adds.
    """
    rows = len(vectors)
    lists = np.full((rows, copies), -1, dtype=np.int32)
    if len(regions) == 1:
        lists[:, 0] = 0
        return lists
    centroids = regions.centroids.astype(np.float32)
    apart = regions.shard_of if regions.shard_of.max() > 0 else np.arange(len(regions), dtype=np.int32)
    block = max(1, BLOCK_CELLS // len(regions))
    for start in range(0, rows, block):
        part = vectors[start : start + block]
        steps = directions(part) if metric != "euclidean" else _steps(part, regions.scale)
        lists[start : start + block] = _assign_block(steps, centroids, apart, metric, copies)
    return lists


def _steps(vectors: Matrix, scale: float) -> Matrix:
    most = levels(vectors.shape[1])
    return np.clip(np.rint(vectors / np.float32(scale)), -most, most)


def _assign_block(steps: Matrix, centroids: Matrix, apart: NDArray[np.int32], metric: Metric, copies: int) -> NDArray[np.int32]:
    products = steps @ centroids.T
    squares = np.einsum("rd,rd->r", centroids, centroids)
    nearness = products if metric != "euclidean" else products - squares / np.float32(2)
    rows = np.arange(len(steps))
    first = nearness.argmax(axis=1)
    lists = np.full((len(steps), copies), -1, dtype=np.int32)
    lists[:, 0] = first
    if copies == 1:
        return lists
    if metric != "euclidean":  # compare directions: both sides at unit length
        products = products / np.sqrt(np.einsum("nd,nd->n", steps, steps))[:, None] / np.sqrt(np.maximum(squares, 1))
        own_square, centroid_square = np.float32(1), np.ones(len(centroids), dtype=np.float32)
        between = (centroids @ centroids.T) / np.sqrt(np.maximum(squares, 1)) / np.sqrt(np.maximum(squares, 1))[:, None]
    else:
        own_square, centroid_square = np.einsum("nd,nd->n", steps, steps)[:, None], squares
        between = centroids @ centroids.T
    at_first = products[rows, first][:, None]
    residual_square = np.maximum(own_square - 2 * at_first + centroid_square[first][:, None], np.float32(1e-6))
    along = own_square - at_first - products + between[first]
    loss = centroid_square - 2 * products + np.float32(SPILL_WEIGHT) * along * along / residual_square
    for copy in range(1, copies):
        taken = lists[:, :copy]
        for column in taken.T:
            loss[apart[column][:, None] == apart[None, :]] = np.inf
        best = loss.argmin(axis=1)
        lists[:, copy] = np.where(np.isfinite(loss[rows, best]), best, -1)
    return lists


def centres(regions: RegionMap) -> Matrix:
    """Return the centroids as (r, d) float32 vectors."""
    return regions.centroids.astype(np.float32) * np.float32(regions.scale)


def rank(queries: Matrix, centroids: Matrix, metric: Metric) -> NDArray[np.int64]:
    """Return (q, r) regions for each of (q, d) `queries`, nearest first. centroids (r, d) float32. Cost: q · r · d."""
    nearness = queries @ centroids.T
    if metric == "euclidean":
        nearness -= np.einsum("rd,rd->r", centroids, centroids) / 2
    return np.argsort(-nearness, axis=1, kind="stable")
