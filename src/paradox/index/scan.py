"""ScanIndex: every row's 4-bit code is read for every query. The only file that imports turbovec.

Codes are data-oblivious (TurboQuant, Zandieh et al., arXiv 2504.19874): no training, so a row is found as soon as it is added.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from turbovec import TurboQuantIndex

from paradox.model.points import Mask, Matrix, Rows

BITS = 4
DIMENSIONS_STEP = 8  # the kernel packs eight coordinates at a time


class ScanIndex:
    """Rows 0 … n-1 under one array of codes. Thread-safe; searches and appends run without the GIL."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._padding = -dimensions % DIMENSIONS_STEP
        self._codes = TurboQuantIndex(dimensions + self._padding, BITS)
        self._resizing = Lock()  # a mask must be as long as the index at the moment of the search

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, vectors: Matrix) -> None:
        """Append (m, d) float32 rows. Cost: about 2 µs a row of 256 dimensions."""
        with self._resizing:
            self._codes.add(self._padded(vectors))

    def search(self, queries: Matrix, depth: int, *, allow: Mask | None = None, probes: int = 0) -> tuple[NDArray[np.float32], Rows]:
        """See `Index.search`. `probes` is ignored: every row is scored. Cost: n · d / 2 bytes read a query."""
        if self._padding:
            queries = self._padded(queries)
        if allow is None:
            return self._codes.search(queries, depth)
        with self._resizing:
            mask = allow
            if len(mask) != len(self._codes):  # rows added since the mask was made are newer than the caller's view
                mask = np.zeros(len(self._codes), dtype=np.bool_)
                mask[: len(allow)] = allow
            return self._codes.search(queries, depth, mask=mask)

    def save(self, path: Path) -> None:
        """Write the codes to `path`; the caller makes the file durable."""
        self._codes.write(str(path), durable=False)

    @classmethod
    def load(cls, path: Path, dimensions: int) -> ScanIndex:
        """Open what `save` wrote. Raises ValueError or OSError when the file is not whole."""
        index = cls(dimensions)
        index._codes = TurboQuantIndex.load(str(path))
        if index._codes.dim != dimensions + index._padding:
            raise ValueError(f"{path.name} holds {index._codes.dim} dimensions, expected {dimensions + index._padding}")
        return index

    def _padded(self, vectors: Matrix) -> Matrix:
        return np.pad(vectors, ((0, 0), (0, self._padding))) if self._padding else vectors
