"""The oracle: a collection as a plain dict, searched by brute force, written from the contract and not from the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from paradox.client.hits import Hit
from paradox.model.points import Id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TOLERANCE = 2e-6
"""What float32 may lose against float64, a unit of score."""


@dataclass
class Known:
    """A point as its writer knows it. A name without a vector is missing from `vectors`."""

    vectors: dict[str, NDArray[Any]]
    payload: dict[str, Any] = field(default_factory=dict)
    at_us: int = 0
    modality: str = "vector"


Condition = Callable[[Id, Known], bool]


def every(_: Id, __: Known) -> bool:
    return True


def order(id: Id) -> tuple[int, Any]:
    """Return what sorts ids of all types as ties are broken: integers, strings, UUIDs."""
    return (0, id) if isinstance(id, int) else (1, id) if isinstance(id, str) else (2, id.bytes)


def scores(matrix: NDArray[Any], query: NDArray[Any], metric: str) -> NDArray[np.float64]:
    """Return (n,) scores in double precision, higher is nearer."""
    if metric == "hamming":
        return -np.unpackbits(matrix ^ query, axis=1).sum(axis=1).astype(np.float64)
    rows, asked = matrix.astype(np.float64), query.astype(np.float64)
    if metric == "dot":
        return rows @ asked
    if metric == "euclidean":
        return -np.sqrt(np.square(rows - asked).sum(axis=1))
    return (rows @ asked) / np.linalg.norm(rows, axis=1) / np.linalg.norm(asked)


class Memory:
    """What a collection should hold."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.points: dict[Id, Known] = {}

    def matching(self, test: Condition = every) -> list[Id]:
        return [id for id, point in self.points.items() if test(id, point)]

    def ranking(self, query: NDArray[Any], using: str, test: Condition = every) -> list[tuple[float, Id]]:
        """Return (score, id) of all that may answer, best first, ties by id."""
        ids = [id for id in self.matching(test) if using in self.points[id].vectors]
        if not ids:
            return []
        score = scores(np.stack([self.points[id].vectors[using] for id in ids]), query, self.metric).tolist()
        return sorted(zip(score, ids, strict=True), key=lambda pair: (-pair[0], order(pair[1])))

    def update(self, id: Id, change: Mapping[str, Any]) -> None:
        point = self.points[id]
        kept = {name: value for name, value in (point.payload | dict(change)).items() if name not in change or value is not None}
        self.points[id] = Known(point.vectors, kept, point.at_us, point.modality)


def expect_answer(hits: Sequence[Hit], ranking: Sequence[tuple[float, Id]], k: int, *, exact: bool) -> None:
    """Check what every answer owes: as many as there are, each once, each with its true score, in order, ties by id; if exact, the best."""
    assert len(hits) == min(k, len(ranking))
    ids = [hit.id for hit in hits]
    assert len(set(ids)) == len(ids), "a point stands twice in one answer"
    true = {id: score for score, id in ranking}
    for hit in hits:
        assert hit.id in true, f"{hit.id!r} should not be in the answer"
        assert abs(hit.score - true[hit.id]) <= TOLERANCE * max(1.0, abs(true[hit.id])), (hit.id, hit.score, true[hit.id])
    assert [(-hit.score, order(hit.id)) for hit in hits] == sorted((-hit.score, order(hit.id)) for hit in hits)
    if exact and hits:
        edge = ranking[len(hits) - 1][0]
        slack = TOLERANCE * max(1.0, abs(edge))
        missed = [id for score, id in ranking if score > edge + slack and id not in set(ids)]
        assert not missed, f"{missed[:5]} are nearer than the last of the answer"


def expect_point(hit: Hit, known: Known, using: str | None = None) -> None:
    """Check that a hit shows the point as it was written."""
    assert hit.payload == known.payload
    assert hit.modality == known.modality
    assert (hit.at - EPOCH) // timedelta(microseconds=1) == known.at_us
    if using is not None and using in known.vectors:
        assert hit.vector is not None
        assert np.array_equal(hit.vector, known.vectors[using])


def recall(answers: Sequence[Sequence[Hit]], rankings: Sequence[Sequence[float]], k: int) -> float:
    """Return the share of the true k nearest that were found. A hit counts if no better one was left out: ties are all as good.

    rankings: for each query the scores of all that may answer, best first.
    """
    found = wanted = 0
    for hits, ranking in zip(answers, rankings, strict=True):
        best = ranking[:k]
        wanted += len(best)
        if len(best):
            edge = best[-1] - TOLERANCE * max(1.0, abs(best[-1]))
            found += min(len(best), sum(hit.score >= float(edge) for hit in hits))
    return found / wanted if wanted else 1.0


def uuid_of(number: int) -> UUID:
    return UUID(int=number, version=4)
