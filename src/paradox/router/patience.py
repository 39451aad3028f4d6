"""Patience: how many shards in a row may change nothing before a query stops, and the recall that stored points show for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.queries import Question
from paradox.model.recall import Routing
from paradox.planner.choose import cautious
from paradox.shard.geometry import unit

if TYPE_CHECKING:
    from paradox.router.scatter import Scatter

PATIENCES = (1, 2, 3, 4, 6)
DEFAULT = (
    Routing(patience=1, recall=0.9, shards=3.0),
    Routing(patience=2, recall=0.96, shards=5.0),
    Routing(patience=3, recall=0.98, shards=7.0),
)
"""Before anything is measured: two copies on static text vectors, on the low side."""
SAMPLE = 64
NEIGHBOURS = 10


def choose_patience(readings: Sequence[Routing], *, recall: float, exact: bool, shards: int) -> Routing:
    """Return the cheapest reading that keeps `recall`; a visit to all shards when none does."""
    kept = [] if exact else [reading for reading in readings if reading.recall >= cautious(recall)]
    return min(kept, key=lambda reading: reading.shards, default=Routing(patience=shards, recall=1.0, shards=float(shards)))


def measure_patience(scatter: Scatter) -> tuple[Routing, ...]:
    """Return a reading for each patience, from SAMPLE stored points asked for their neighbours. Cost: SAMPLE visits to all shards."""
    using = scatter.spec.main
    queries, own = _sample(scatter, using)
    if not len(queries):
        return ()
    question = Question(vectors=queries, using=using, k=NEIGHBOURS + 1, recall=0.99)
    truth = [
        _neighbours(scatter.near(query[None], question, patience=len(scatter.shards)), key) for query, key in zip(queries, own, strict=True)
    ]
    readings = []
    for patience in PATIENCES:
        hits = visited = 0
        for query, key, true in zip(queries, own, truth, strict=True):
            keys, shards = scatter.near(query[None], question, patience=patience)
            hits += len(_neighbours((keys, shards), key) & true)
            visited += shards
        wanted = sum(map(len, truth))
        readings.append(Routing(patience=patience, recall=hits / wanted if wanted else 1.0, shards=visited / len(queries)))
    return tuple(readings)


def _neighbours(found: tuple[list[Any], int], own: Any) -> set[Any]:
    return {key for key in found[0] if key != own}


def _sample(scatter: Scatter, using: str) -> tuple[NDArray[Any], list[Any]]:
    """Return up to SAMPLE stored vectors of all shards, at unit length for cosine, and their keys."""
    vectors, keys = [], []
    dice = np.random.default_rng(SAMPLE)
    segments = scatter.segments()
    for segment in segments:
        live = np.flatnonzero(segment.alive() & segment.owned()[: len(segment.alive())])
        chosen = np.sort(dice.permutation(live)[: max(1, SAMPLE // len(segments))])
        vectors.append(segment.vectors[using].matrix()[chosen])
        keys.extend(segment.keys_at(chosen))
    if not vectors:
        return np.empty((0, 0), dtype=np.float32), []
    return unit(np.concatenate(vectors), scatter.spec.vectors[using].metric), keys
