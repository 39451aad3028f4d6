"""Sampling: some of the points that an engine answers for, for what need not know them all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Key, Matrix
from paradox.router.scatter import Scatter
from paradox.shard.build import Segment
from paradox.shard.geometry import unit


def sample_vectors(engine: Scatter, wanted: int) -> tuple[Matrix, NDArray[np.float64]]:
    """Return about so many main vectors of all segments, in proportion, and how many points each stands for; at least one a segment."""
    points, main = max(1, engine.count()), engine.spec.main
    samples: list[Matrix] = [np.empty((0, engine.regions.centroids.shape[1]), dtype=np.float32)]
    weights = [np.empty(0)]
    for segment in engine.segments():
        rows = _owned(segment)
        if len(rows):
            share = np.random.default_rng(len(rows)).permutation(len(rows))[: max(1, wanted * len(rows) // points)]
            samples.append(np.asarray(segment.vectors[main].matrix()[rows[np.sort(share)]]))
            weights.append(np.full(len(share), len(rows) / len(share)))
    return np.concatenate(samples), np.concatenate(weights)


def sample_points(engine: Scatter, most: int) -> tuple[NDArray[Any], list[Key]]:
    """Return up to `most` main vectors of all segments, at unit length for cosine, and their keys."""
    vectors: list[NDArray[Any]] = [np.empty((0, engine.regions.centroids.shape[1]), dtype=np.float32)]
    keys: list[Key] = []
    dice = np.random.default_rng(most)
    segments = engine.segments()
    for segment in segments:
        chosen = np.sort(dice.permutation(_owned(segment))[: max(1, most // len(segments))])
        vectors.append(segment.vectors[engine.spec.main].matrix()[chosen])
        keys.extend(segment.keys_at(chosen))
    return unit(np.concatenate(vectors)[:most], engine.spec.vectors[engine.spec.main].metric), keys[:most]


def _owned(segment: Segment) -> NDArray[np.int64]:
    alive = segment.alive()
    return np.flatnonzero(alive & segment.owned()[: len(alive)])
