"""ExactIndex: every vector is compared with every query, without codes. For packed bits, and for whatever must not be approximate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Mask, Matrix, Rows

BLOCK_BYTES = 8 << 20


class HammingIndex:
    """Rows 0 … n-1 of packed bits, compared by XOR and population count."""

    def __init__(self, bytes_per_row: int) -> None:
        self._rows = np.empty((0, bytes_per_row), dtype=np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, vectors: Matrix) -> None:
        """Append (m, b) uint8 rows. Cost: amortised O(1) a row."""
        needed = self._count + len(vectors)
        if needed > len(self._rows):
            grown = np.empty((max(needed, 2 * len(self._rows)), self._rows.shape[1]), dtype=np.uint8)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : needed] = vectors
        self._count = needed

    def search(self, queries: Matrix, depth: int, *, allow: Mask | None = None, probes: int = 0) -> tuple[NDArray[np.float32], Rows]:
        """See `Index.search`. Scores are negated bit counts; rows that tie with the last one asked for come too."""
        count = self._count
        rows = self._rows[:count]
        ranked = []
        for query in queries:
            distance = bit_distances(rows, query).astype(np.float32)
            if allow is not None:
                distance[: len(allow)][~allow] = np.inf
                distance[len(allow) :] = np.inf
            edge = np.partition(distance, depth - 1)[depth - 1] if depth < len(rows) else np.inf
            nearest = np.flatnonzero((distance <= edge) & (distance < np.inf))
            nearest = nearest[np.argsort(distance[nearest], kind="stable")]
            ranked.append((distance[nearest], nearest))
        width = max((len(nearest) for _, nearest in ranked), default=0)
        scores = np.full((len(queries), width), -np.inf, dtype=np.float32)
        found = np.full((len(queries), width), -1, dtype=np.int64)
        for number, (distance, nearest) in enumerate(ranked):
            scores[number, : len(nearest)], found[number, : len(nearest)] = -distance, nearest
        return scores, found

    def save(self, path: Path) -> None:
        """Write the rows to `path` (NumPy's format); the caller makes the file durable. Segments need no such file: see `over`."""
        with path.open("wb") as file:
            np.save(file, self._rows[: self._count], allow_pickle=False)

    @classmethod
    def over(cls, rows: NDArray[np.uint8]) -> HammingIndex:
        """Search (n, b) uint8 `rows` where they are, without a copy."""
        index = cls(rows.shape[1])
        index._rows = rows
        index._count = len(rows)
        return index


def bit_distances(rows: NDArray[np.uint8], query: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many bits of each of (n, b) `rows` differ from (b,) `query`. Cost: n · b bytes."""
    block = max(1, BLOCK_BYTES // rows.shape[1])
    parts = [np.bitwise_count(rows[start : start + block] ^ query).sum(axis=1, dtype=np.int64) for start in range(0, len(rows), block)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
