"""Index: finds candidate rows; the engine scores them exactly afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Mask, Matrix, Rows


class Index(Protocol):
    """Candidates for a query among rows 0 … n-1 of one segment.

    Scores are the index's own, higher is nearer; only their order counts, since candidates are rescored from stored vectors.
    Every adapter passes `tests/conformance/index.py`.
    """

    def __len__(self) -> int: ...

    def search(self, queries: Matrix, depth: int, *, allow: Mask | None = None, probes: int = 0) -> tuple[NDArray[np.float32], Rows]:
        """Return (scores, rows), each (q, ≤ depth), best first; row -1 marks an empty place. An exact index adds what ties with the last.

        allow: (n,) bool, the rows that may be returned. probes: regions to visit; 0 = all. A kernel that does not probe visits all.
        """
        ...

    def save(self, path: Path) -> None:
        """Write the index to a file that the adapter's `load` opens."""
        ...


class Appendable(Protocol):
    """An Index that takes more rows."""

    def add(self, vectors: Matrix) -> None:
        """Append (m, d) rows; they are found by the next search."""
        ...
