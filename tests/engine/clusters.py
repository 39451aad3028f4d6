"""Clustered points as real ones are: mixtures of Gaussians, and questions from the same mixture that are not stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.oracle import scores
from paradox.model.schema import Metric

CLUSTERS = 80
DIMENSIONS = 64
BITS = 256


class Clusters:
    """A mixture, and whatever is drawn from it."""

    def __init__(self, metric: Metric, seed: int, *, dimensions: int = DIMENSIONS, spread: float = 0.5, offset: float = 0.0) -> None:
        self.metric = metric
        self.dice = np.random.default_rng(seed)
        self.spread = spread
        self.dimensions = BITS if metric == "hamming" else dimensions
        if metric == "hamming":
            self.centres = self.dice.integers(0, 2, size=(CLUSTERS, BITS)).astype(np.uint8)
        else:
            self.centres = (self.dice.normal(size=(CLUSTERS, dimensions)) + offset).astype(np.float32)

    def draw(self, count: int) -> NDArray[Any]:
        """Return (count, d) vectors. Lengths vary by a factor of four under dot; under hamming one bit in eight differs from the centre."""
        home = self.dice.integers(CLUSTERS, size=count)
        if self.metric == "hamming":
            flips = (self.dice.random((count, BITS)) < 1 / 8).astype(np.uint8)
            return np.packbits(self.centres[home] ^ flips, axis=1)
        made = self.centres[home] + self.spread * self.dice.normal(size=(count, self.dimensions))
        if self.metric == "dot":
            made *= np.exp(self.dice.uniform(-0.7, 0.7, size=(count, 1)))
        return made.astype(np.float32)


def best_scores(matrix: NDArray[Any], queries: NDArray[Any], metric: Metric, most: int) -> list[NDArray[np.float64]]:
    """Return for each query the scores of its `most` nearest rows, best first."""
    best = []
    for query in queries:
        score = scores(matrix, query, metric)
        keep = min(most, len(score))
        best.append(-np.sort(np.partition(-score, keep - 1)[:keep]) if keep else score)
    return best
