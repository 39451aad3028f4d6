"""TextIndex: finds rows by the words of their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Mask, Rows


class TextStatistics(NamedTuple):
    """How common words are. rows: how many rows have any text. counts: (field, word) → in how many rows the field holds the word.

    A word is scored by how rare it is, and each segment knows only its own rows; scores of several segments are comparable when all are
    searched with the statistics of all.
    """

    rows: int
    counts: Mapping[tuple[str, str], int]

    @classmethod
    def together(cls, parts: Iterable[TextStatistics]) -> TextStatistics:
        """Return the statistics of several segments as if they were one."""
        rows = 0
        counts: Counter[tuple[str, str]] = Counter()
        for part in parts:
            rows += part.rows
            counts.update(part.counts)
        return cls(rows, counts)


class TextIndex(Protocol):
    """Full text over rows 0 … n-1 of one segment, each with a text in some of the declared fields.

    Scores are BM25, summed over fields and words: higher is nearer, zero is never returned. Thread-safe for many searches beside one
    who adds.
    """

    def add(self, first_row: int, texts: Sequence[Mapping[str, str]]) -> None:
        """Append rows `first_row`, `first_row` + 1, …: field → text, fields may be missing. Found by the next search.

        Raises InternalError unless `first_row` is the number of rows so far.
        """
        ...

    def commit(self) -> None:
        """Make ready what was added, so that the next search need not."""
        ...

    def search(
        self,
        query: str,
        depth: int,
        *,
        fields: Sequence[str] | None = None,
        allow: Mask | None = None,
        statistics: TextStatistics | None = None,
    ) -> tuple[NDArray[np.float32], Rows]:
        """Return (scores, rows), each (≤ depth,), best first, ties by row: the rows that hold any word of `query`.

        query: words as a person types them; whatever is not a word is ignored, so nothing is ever misspelt, and a query without words
        finds nothing. fields: where to look, all by default. allow: (n,) bool, the rows that may be returned; when at least `depth` of
        them match, `depth` are returned. statistics: those to score with, the index's own by default.
        Raises QueryInvalid for a field that was not declared.
        """
        ...

    def statistics(self, query: str, *, fields: Sequence[str] | None = None) -> TextStatistics:
        """Return how common the words of `query` are here. Raises QueryInvalid as `search`."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index to a folder that the adapter's `open` opens. Nothing may be added afterwards."""
        ...
