"""Queries and their answers, as they travel between a client and an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.filters import Filter
from paradox.model.points import Key

Mode: TypeAlias = Literal["vector", "text", "hybrid"]
MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
Consistency: TypeAlias = Literal["eventual", "session", "strong"]
"""What a reader sees at least: whatever is there; what was written through its own connection; all that was acknowledged to anybody."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One search, or many of the same kind.

    vectors: (q, d) of the vector `using`, None in text mode. texts: q strings, for full text. between_us: event times, both included.
    """

    vectors: NDArray[Any] | None
    texts: tuple[str, ...] = ()
    using: str = ""
    k: int = 10
    where: Filter | None = None
    modality: str | None = None
    between_us: tuple[int, int] | None = None
    mode: Mode = "vector"
    recall: float = 0.95
    exact: bool = False
    after: int = 0
    consistency: Consistency = "session"
    deadline_s: float | None = None
    with_payload: bool = True
    with_vectors: bool = False
    explain: bool = False


def alike(questions: Sequence[Question]) -> list[list[int]]:
    """Return the places of questions that differ in nothing but their vectors, together, in the order they came."""
    kinds: list[tuple[Question, list[int]]] = []
    for place, question in enumerate(questions):
        kind = msgspec.structs.replace(question, vectors=None)
        same = next((places for known, places in kinds if known == kind), None)
        if same is None:
            kinds.append((kind, [place]))
        else:
            same.append(place)
    return [places for _, places in kinds]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a plan's tree: what is done, what was estimated, what happened."""

    what: str
    detail: str = ""
    estimated: dict[str, float] = {}
    actual: dict[str, float] = {}
    steps: tuple[Step, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a search was, or would be, done. Printing it draws a tree.

    expected_recall: from curves measured on this collection's own points. sampled_recall: measured for this very query when asked
    to explain, else None. shards and regions: the names visited. partitions_skipped: (modality, time bucket, region) that
    could be left out exactly.
    """

    expected_recall: float
    shards: tuple[str, ...]
    shards_total: int
    regions: tuple[str, ...]
    regions_total: int
    partitions_skipped: int
    partitions_total: int
    root: Step
    sampled_recall: float | None = None

    def __str__(self) -> str:
        lines: list[str] = []
        _draw(self.root, "", "", lines)
        return "\n".join(lines)


def _figures(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:,.0f}" if abs(value) >= 100 else f"{name}={value:.3g}" for name, value in values.items())


def _draw(step: Step, lead: str, below: str, lines: list[str]) -> None:
    text = f"{lead}{step.what}"
    if step.detail:
        text += f": {step.detail}"
    if step.estimated:
        text += f"  [estimated {_figures(step.estimated)}]"
    if step.actual:
        text += f"  [actual {_figures(step.actual)}]"
    lines.append(text)
    for number, child in enumerate(step.steps):
        last = number == len(step.steps) - 1
        _draw(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), lines)


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the collection an answer stands for. share: 1.0 = all. holders: shard or site → answered, late, down or refused."""

    share: float
    holders: dict[str, str]


class Answer(msgspec.Struct, kw_only=True):
    """The nearest points to one query, nearest first, in columns of k rows or fewer.

    score: higher is nearer, for every metric. distance: in the metric's own unit. payloads: MessagePack maps, or None when not
    asked for. vectors: (k, d) or None. stamp: of each version, by which those who join answers know the newest; None for clients.
    """

    keys: list[Key]
    score: NDArray[np.float32]
    distance: NDArray[np.float32]
    payloads: list[bytes] | None
    vectors: NDArray[Any] | None
    modality: list[str]
    at_us: list[int]
    origin: list[str]
    stamp: NDArray[np.uint64] | None = None


class Answers(msgspec.Struct, kw_only=True):
    """One Answer a query, with what they share. `plan` is made from `trace` when first asked for.

    asks_again: whether `trace` asks the database another time.
    """

    of: list[Answer]
    position: int
    coverage: Coverage
    trace: Any = None
    asks_again: bool = False
