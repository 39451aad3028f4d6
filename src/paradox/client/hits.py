"""Hits: answers as users read them. Payloads and times are decoded when they are looked at."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from numpy.typing import NDArray

from paradox.client.payloads import decode_payload
from paradox.client.times import datetime_of
from paradox.model.points import Id, Key, id_of
from paradox.model.queries import Answer, Answers, Coverage, Plan
from paradox.wire.inprocess import Awaited, aside

if TYPE_CHECKING:
    from paradox.client.frames import ArrowTable, PandasFrame, PolarsFrame

ROWS_SHOWN_MAX = 20
SNIPPET_CHARACTERS_MAX = 72
COMPLETE = Coverage(share=1.0, holders={})


class Hit:
    """One point of an answer.

    id: str, int or UUID. score: higher is nearer, for every metric. distance: in the metric's own unit. vector: (d,) when asked for,
    else None. modality: one word. origin: who wrote the point.
    """

    __slots__ = ("_at_us", "_encoded", "_key", "_payload", "distance", "modality", "origin", "score", "vector")

    def __init__(
        self,
        key: Key,
        score: float,
        distance: float,
        encoded: bytes | None,
        vector: NDArray[Any] | None,
        modality: str,
        at_us: int,
        origin: str,
    ) -> None:
        self._key = key
        self.score = score
        self.distance = distance
        self.vector = vector
        self.modality = modality
        self.origin = origin
        self._at_us = at_us
        self._encoded = encoded
        self._payload: dict[str, Any] | None = None

    @property
    def id(self) -> Id:
        """The id as it was given."""
        return id_of(self._key)

    @property
    def payload(self) -> dict[str, Any]:
        """The payload as plain values; empty when the search was made with `with_payload=False`."""
        if self._payload is None:
            self._payload = decode_payload(self._encoded) if self._encoded is not None else {}
        return self._payload

    @property
    def at(self) -> datetime:
        """The event time, in UTC."""
        return datetime_of(self._at_us)

    def __repr__(self) -> str:
        return f"Hit(id={self.id!r}, score={self.score:.4f}, payload={_snippet(self.payload)})"


class Hits(list[Hit]):
    """Hits, nearest first, with what they stand for.

    position: the log position that the answer reflects. coverage: how much of the collection could be asked.
    """

    __slots__ = ("_number", "_plan", "_trace", "coverage", "position")

    def __init__(self, hits: list[Hit], *, position: int = 0, coverage: Coverage = COMPLETE, trace: Any = None, number: int = 0) -> None:
        """trace: the plan, or what makes that of query `number`."""
        super().__init__(hits)
        self.position = position
        self.coverage = coverage
        self._trace = trace
        self._number = number
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan | None:
        """How the search was done; made when first asked for. None for points that were not searched for.

        Raises QueryInvalid where a caller who awaits must use `fetch_plan`, since a server is to be asked.
        """
        if self._plan is None and self._trace is not None:
            self._plan = self._traced(self._trace)
            self._trace = None
        return self._plan

    async def fetch_plan(self) -> Plan | None:
        """Return `plan`, for callers that await: a server is asked in a thread."""
        if isinstance(self._trace, Awaited):
            self._plan, self._trace = await aside(self._traced, self._trace.work), None
        return self.plan

    def _traced(self, trace: Any) -> Any:
        if not callable(trace):
            return trace
        return trace(self._number) if self._number else trace()

    def to_pandas(self) -> PandasFrame:
        """Return a row a hit: id, score, distance, modality, at, origin, vector if asked for, then one column a payload field.

        A payload field named like one of these is called `payload.NAME`. Raises ExtraMissing.
        """
        from paradox.client.frames import hits_to_pandas

        return hits_to_pandas(hit_columns(self))

    def to_arrow(self) -> ArrowTable:
        """Return the same as a PyArrow table; payload fields of mixed types become JSON text. Raises ExtraMissing."""
        from paradox.client.frames import hits_to_arrow

        return hits_to_arrow(hit_columns(self))

    def to_polars(self) -> PolarsFrame:
        """Return the same as a Polars frame. Raises ExtraMissing."""
        from paradox.client.frames import hits_to_polars

        return hits_to_polars(hit_columns(self))

    def __repr__(self) -> str:
        if not self:
            return "no hits" + self._gap()
        shown = [(f"{hit.score:.4f}", f"{hit.id}"[:40], _snippet(hit.payload)) for hit in self[:ROWS_SHOWN_MAX]]
        widths = [max(len(row[column]) for row in (("score", "id"), *shown)) for column in (0, 1)]
        lines = [f"{'score':>{widths[0]}}  {'id':<{widths[1]}}  payload"]
        lines += [f"{score:>{widths[0]}}  {id:<{widths[1]}}  {payload}" for score, id, payload in shown]
        if len(self) > ROWS_SHOWN_MAX:
            lines.append(f"… {len(self) - ROWS_SHOWN_MAX} more")
        return "\n".join(lines) + self._gap()

    def _gap(self) -> str:
        return f"\n(covers {self.coverage.share:.0%} of the collection)" if self.coverage.share < 1 else ""


def hits_of(answers: Answers, number: int = 0) -> Hits:
    """Return the hits of one of several queries."""
    return Hits(rows_of(answers.of[number]), position=answers.position, coverage=answers.coverage, trace=answers.trace, number=number)


def rows_of(answer: Answer) -> list[Hit]:
    """Return an answer's columns as hits."""
    count = len(answer.keys)
    return list(
        map(
            Hit,
            answer.keys,
            answer.score.tolist(),
            answer.distance.tolist(),
            answer.payloads if answer.payloads is not None else [None] * count,
            answer.vectors if answer.vectors is not None else [None] * count,
            answer.modality,
            answer.at_us,
            answer.origin,
        )
    )


def found_points(answer: Answer, position: int = 0) -> Hits:
    """Return points that were asked for by id."""
    return Hits(rows_of(answer), position=position)


def hit_columns(hits: list[Hit]) -> dict[str, list[Any]]:
    """Return hits as columns by name, those of payload fields last; None where a point has no such field."""
    columns: dict[str, list[Any]] = {
        "id": [hit.id for hit in hits],
        "score": [hit.score for hit in hits],
        "distance": [hit.distance for hit in hits],
        "modality": [hit.modality for hit in hits],
        "at": [hit.at for hit in hits],
        "origin": [hit.origin for hit in hits],
    }
    if any(hit.vector is not None for hit in hits):
        columns["vector"] = [hit.vector for hit in hits]
    own = frozenset(columns) | {"vector"}
    for name in dict.fromkeys(name for hit in hits for name in hit.payload):
        columns[f"payload.{name}" if name in own else name] = [hit.payload.get(name) for hit in hits]
    return columns


def _snippet(payload: dict[str, Any]) -> str:
    text = msgspec.json.encode(payload).decode()
    return text if len(text) <= SNIPPET_CHARACTERS_MAX else text[: SNIPPET_CHARACTERS_MAX - 1] + "…"
