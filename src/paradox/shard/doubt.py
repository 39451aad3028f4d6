"""Doubt: whether an index left out points that are nearer than those it offered.

An index ranks by the true score plus noise. The noise shows on its candidates, for which both are known; a point was left out if its noise
took it below the last candidate. How likely that is for points as near as the best ones found is the share of them that is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.schema import Metric

DEEPER = 4
EXACT_SHARE = 8
"""Where an index would have to offer more than one in so many rows, all are scored exactly."""
LOGISTIC = 1.702
"""The logistic curve at this slope follows the normal distribution to within 0.01. Source: Haley, 1952."""
NOISE_MIN = 1e-9


def product_of(score: NDArray[np.float32], asked: NDArray[Any], metric: Metric) -> NDArray[np.float32]:
    """Return (q, c) exact scores in the unit of an index's: the product of its forms of row and query. asked: (q, d) as the index takes it.

    euclidean: of (x, -|x|²/2s) and (q, s) it is (|q|² - |x - q|²) / 2.
    """
    if metric != "euclidean":
        return score
    squares = np.einsum("qd,qd->q", asked[:, :-1], asked[:, :-1])
    return (squares[:, None] - score * score) / 2


def missed(approximate: NDArray[np.float32], exact: NDArray[np.float32], edge: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return (q,) the share of the k nearest that is expected to be missing among (q, c) candidates.

    approximate, exact: their scores by the index and in truth, -inf in empty places of `exact`. edge: (q,) the index's score of the last
    row it offered. 1.0 where there are fewer than k candidates. Cost: some operations on q · c numbers.
    """
    if exact.shape[1] < k:
        return np.ones(len(exact), dtype=np.float32)
    valid = exact > -np.inf
    error = np.where(valid, approximate - np.where(valid, exact, 0), 0)
    noise = np.sqrt((error * error).sum(axis=1) / np.maximum(valid.sum(axis=1), 1))
    best = np.partition(exact, exact.shape[1] - k, axis=1)[:, -k:]
    apart = np.clip((edge[:, None] - best) / np.maximum(noise, NOISE_MIN)[:, None], -50, 50)
    return (1 / (1 + np.exp(-LOGISTIC * apart))).mean(axis=1)
