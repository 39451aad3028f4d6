"""The native kernels of this build. Heavy ones are imported when first used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paradox.index.exact import HammingIndex
from paradox.index.scan import ScanIndex
from paradox.model.points import Matrix

if TYPE_CHECKING:
    from paradox.index.probe import ProbeIndex
    from paradox.ports.text import TextIndex


class NativeKernels:
    """See `ports.kernels.Kernels`."""

    def scan(self, dimensions: int) -> ScanIndex:
        """An empty index that reads every row's code."""
        return ScanIndex(dimensions)

    def load_scan(self, path: Path, dimensions: int) -> ScanIndex:
        """Open what such an index saved."""
        return ScanIndex.load(path, dimensions)

    def bits(self, bytes_per_row: int) -> HammingIndex:
        """An empty index of packed bits."""
        return HammingIndex(bytes_per_row)

    def bits_over(self, rows: NDArray[np.uint8]) -> HammingIndex:
        """An index over packed bits where they lie."""
        return HammingIndex.over(rows)

    def build_probe(self, vectors: Matrix, centroids: Matrix, lists: NDArray[np.int32]) -> ProbeIndex:
        """An index that reads only the lists of the nearest regions."""
        from paradox.index.probe import ProbeIndex

        return ProbeIndex.build(vectors, centroids, lists)

    def load_probe(self, path: Path, rows: int, dimensions: int) -> ProbeIndex:
        """Open what such an index saved."""
        from paradox.index.probe import ProbeIndex

        return ProbeIndex.load(path, rows, dimensions)

    def text(self, fields: tuple[str, ...]) -> TextIndex:
        """An empty full-text index in memory."""
        from paradox.index.text import TantivyText

        return TantivyText.create(None, fields)

    def load_text(self, folder: Path, fields: tuple[str, ...]) -> TextIndex:
        """Open what such an index saved."""
        from paradox.index.text import TantivyText

        return TantivyText.open(folder, fields)
