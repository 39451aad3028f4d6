"""Clusters of points: k-means."""

from __future__ import annotations

import numpy as np

from paradox.model.points import Matrix
from paradox.model.schema import Metric
from paradox.space.products import products

ROUNDS = 6


def cluster(sample: Matrix, clusters: int, *, metric: Metric, seed: int) -> Matrix:
    """Return (clusters, d) centroids of (n, d) `sample` by Lloyd's k-means; empty cells restart in the fullest.

    Directions (spherical k-means, Dhillon & Modha 2001) unless the metric is euclidean. Cost: rounds · n · clusters · d.
    """
    dice = np.random.default_rng(seed)
    points = sample if metric == "euclidean" else sample / np.maximum(np.linalg.norm(sample, axis=1, keepdims=True), 1e-30)
    centroids = points[np.sort(dice.choice(len(points), size=clusters, replace=len(points) < clusters))].copy()
    for _ in range(ROUNDS):
        nearness = products(points, centroids)
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
