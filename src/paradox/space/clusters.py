"""Clusters of points: k-means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.space.products import products

BLOCK_CELLS = 1 << 20
"""Points x centroids compared at a time: a block of float32 stays within the second-level cache."""
EARLY_ROUNDS, LAST_ROUNDS = 4, 2
EARLY_POINTS = 16
"""Points a cluster in the early rounds, where centroids still travel far whatever they are pulled by."""


def cluster(sample: Matrix, clusters: int, *, metric: Metric, seed: int) -> Matrix:
    """Return (clusters, d) centroids of (n, d) `sample` by Lloyd's k-means; empty cells restart in the fullest.

    Directions (spherical k-means, Dhillon & Modha 2001) unless the metric is euclidean. Cost: rounds · n · clusters · d.
    """
    dice = np.random.default_rng(seed)
    points = sample if metric == "euclidean" else _unit(sample)
    centroids = points[np.sort(dice.choice(len(points), size=clusters, replace=len(points) < clusters))].copy()
    some = points[:: max(1, len(points) // (EARLY_POINTS * clusters))]
    for part in (*[some] * EARLY_ROUNDS, *[points] * LAST_ROUNDS):
        nearest = _nearest(part, centroids, metric)
        filled, means = middles(part, nearest, metric=metric)
        centroids[filled] = means
        counts = np.bincount(nearest, minlength=clusters)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            centroids[empty] = part[dice.choice(np.flatnonzero(nearest == counts.argmax()), size=len(empty))]
    return centroids


def _nearest(points: Matrix, centroids: Matrix, metric: Metric) -> NDArray[np.int64]:
    """Return (n,) the centroid that each point is nearest to."""
    away = np.einsum("rd,rd->r", centroids, centroids) / 2 if metric == "euclidean" else np.float32(0)
    nearest = np.empty(len(points), dtype=np.int64)
    step = max(1, BLOCK_CELLS // len(centroids))
    for start in range(0, len(points), step):
        nearest[start : start + step] = (products(points[start : start + step], centroids) - away).argmax(axis=1)
    return nearest


def middles(points: Matrix, cell: NDArray[Any], *, metric: Metric) -> tuple[NDArray[np.int64], Matrix]:
    """Return the cells that occur in (n,) `cell`, ascending, and (c, d) the mean of the points of each, of directions one of length 1."""
    if metric != "euclidean":
        points = _unit(points)
    order = np.argsort(cell, kind="stable")
    cells, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    means: Matrix = np.add.reduceat(points[order], starts, axis=0)
    means /= counts[:, None]
    return cells, means if metric == "euclidean" else _unit(means)


def _unit(vectors: Matrix) -> Matrix:
    unit: Matrix = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    return unit
