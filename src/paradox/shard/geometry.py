"""Geometry: exact scores of rows, and the form in which an index takes vectors so that inner products rank them alike.

cosine: unit length. dot: as given. euclidean: one more coordinate, since |x - q|² = |q|² - 2 (x·q - |x|²/2) and the bracket is an inner
product of (x, -|x|²/2s) with (q, s); s, the typical length, keeps that coordinate in proportion. Both are taken from the middle of the
points, for far from it the squares would drown the differences. hamming: bits as given.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.model.schema import Metric

UNIT_TOLERANCE = 1e-5
FEW = 16


def inverse_lengths(vectors: NDArray[Any], metric: Metric) -> NDArray[np.float32]:
    """Return (n,) one over the length of each (n, d) row for cosine, ones for other metrics. Zero rows give 0."""
    if metric != "cosine":
        return np.ones(len(vectors), dtype=np.float32)
    squares = np.einsum("nd,nd->n", vectors, vectors)
    with np.errstate(divide="ignore"):
        return np.where(squares > 0, 1 / np.sqrt(squares), 0).astype(np.float32)


def typical_length(vectors: Matrix) -> float:
    """Return the root mean square length of (n, d) rows, 1.0 when all are zero."""
    return float(np.sqrt(np.einsum("nd,nd->", vectors, vectors, dtype=np.float64) / max(1, len(vectors)))) or 1.0


class Form(msgspec.Struct, frozen=True):
    """How an index takes euclidean vectors: from where they are measured, (d,), and their typical length from there."""

    centre: NDArray[np.float32] | float = 0.0
    length: float = 1.0


def form_of(vectors: NDArray[Any], metric: Metric) -> Form:
    """Return the form for an index that begins with these (n, d) rows. A few rows say little of where the others will be."""
    if metric != "euclidean":
        return Form()
    centre = vectors.mean(axis=0) * np.float32(len(vectors) / (len(vectors) + FEW))
    return Form(centre, typical_length(vectors - centre))


def index_form(vectors: NDArray[Any], inverse: NDArray[np.float32], metric: Metric, form: Form) -> NDArray[Any]:
    """Return (n, d) rows, or (n, d + 1) for euclidean, as an index takes them. No copy when they are unit or need no change."""
    if metric == "cosine":
        if np.abs(inverse - 1).max(initial=0) < UNIT_TOLERANCE:
            return vectors
        return vectors * inverse[:, None]
    if metric == "euclidean":
        moved = vectors - form.centre
        last = np.einsum("nd,nd->n", moved, moved) / np.float32(-2 * form.length)
        return np.concatenate((moved, last[:, None]), axis=1)
    return vectors


def query_form(queries: NDArray[Any], metric: Metric, form: Form) -> NDArray[Any]:
    """Return (q, d) queries as the index takes them."""
    if metric == "euclidean":
        return np.concatenate((queries - form.centre, np.full((len(queries), 1), form.length, dtype=np.float32)), axis=1)
    return queries


def unit(queries: NDArray[Any], metric: Metric) -> NDArray[Any]:
    """Return (q, d) queries at unit length for cosine, unchanged for other metrics."""
    if metric != "cosine":
        return queries
    return queries / np.sqrt(np.einsum("qd,qd->q", queries, queries))[:, None]


def score_pairs(queries: NDArray[Any], rows: NDArray[Any], inverse: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Return (q, c) exact scores, higher is nearer, of (q, d) queries (unit for cosine) each with its own (q, c, d) rows.

    cosine: the cosine. dot: the product. euclidean, hamming: minus the distance. Each score is summed alike wherever its row stands, so
    equal questions get equal answers. Cost: q · c · d.
    """
    match metric:
        case "cosine":
            return np.einsum("qcd,qd->qc", rows, queries) * inverse
        case "dot":
            return np.einsum("qcd,qd->qc", rows, queries)
        case "euclidean":
            apart = rows - queries[:, None, :]
            return -np.sqrt(np.einsum("qcd,qcd->qc", apart, apart))
        case "hamming":
            return -np.bitwise_count(rows ^ queries[:, None, :]).sum(axis=2).astype(np.float32)


def distance_of(scores: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Return distances for scores: 1 - cosine, minus the product, or the euclidean or hamming distance itself."""
    return 1 - scores if metric == "cosine" else -scores
