"""Kernels: the native indexes a holder of segments may use, so that `shard` names none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix
from paradox.ports.index import Appendable, Index
from paradox.ports.text import TextIndex


class GrowingIndex(Index, Appendable, Protocol):
    """An Index that takes more rows."""


class Kernels(Protocol):
    """Makes and opens indexes. `load_*` raise ValueError or OSError when a file is not whole; indexes can then be built anew."""

    def scan(self, dimensions: int) -> GrowingIndex:
        """Return an empty index that reads every row's code."""
        ...

    def load_scan(self, path: Path, dimensions: int) -> Index:
        """Open what such an index saved."""
        ...

    def bits(self, bytes_per_row: int) -> GrowingIndex:
        """Return an empty index of packed bits."""
        ...

    def bits_over(self, rows: NDArray[np.uint8]) -> Index:
        """Return an index over packed bits where they lie."""
        ...

    def build_probe(self, vectors: Matrix, centroids: Matrix, lists: NDArray[np.int32]) -> Index:
        """Return an index that reads only the lists of the nearest regions. See index/probe.py."""
        ...

    def load_probe(self, path: Path, rows: int, dimensions: int) -> Index:
        """Open what such an index saved."""
        ...

    def text(self, fields: tuple[str, ...]) -> TextIndex:
        """Return an empty full-text index in memory."""
        ...

    def load_text(self, folder: Path, fields: tuple[str, ...]) -> TextIndex:
        """Open what such an index saved."""
        ...
