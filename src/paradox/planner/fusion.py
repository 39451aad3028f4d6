"""Fusion: several rankings of the same things into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RANK_CONSTANT = 60
"""How little the very first ranks stand out. The source's value; results change slowly with it."""


def fuse_ranks(
    rankings: Sequence[NDArray[np.int64]], *, constant: int = RANK_CONSTANT, limit: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (scores, numbers), each (≤ limit,), best first, ties by number: the reciprocal rank fusion of `rankings`.

    rankings: each (m,) int64 distinct numbers, best first; lengths may differ. A number scores the sum of 1 / (constant + rank) over the
    rankings it stands in, ranks from 1. Of a number that stands twice in one ranking the better place counts. Pure.
    Cost: a sort of all places. Source: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion", SIGIR 2009.
    """
    firsts = [np.unique(ranking, return_index=True) for ranking in rankings]
    if limit <= 0 or not any(len(numbers) for numbers, _ in firsts):
        return np.empty(0, np.float32), np.empty(0, np.int64)
    numbers, place = np.unique(np.concatenate([numbers for numbers, _ in firsts]), return_inverse=True)
    gains = np.concatenate([1.0 / (constant + 1.0 + rank) for _, rank in firsts])
    scores = np.bincount(place, weights=gains).astype(np.float32)
    best = np.lexsort((numbers, -scores))[:limit]
    return scores[best], numbers[best].astype(np.int64)
