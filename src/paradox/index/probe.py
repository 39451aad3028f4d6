"""ProbeIndex: codes in one list a region, of which a query reads the nearest only, or in one list of all. The only file that imports faiss.

Product-quantised residuals scanned in registers (André, Kermarrec, Le Scouarnec, VLDB 2015), each row listed under its nearest and its
complementary region (SOAR: Sun et al., arXiv 2404.00774), so that few probes reach what one list would miss.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Mask, Matrix, Rows

SUBSPACE = 2  # dimensions a code of 4 bits stands for
TRAIN_POINTS_MAX = 16_384
BLOCK = 32_768
THREADS = os.cpu_count() or 1
THREADED_QUERIES_MIN = 8  # below, waking other cores costs more than it saves
DISTINCT = 2  # a row stands in up to two lists, so twice the depth is asked to have `depth` different rows


class ProbeIndex:
    """Rows 0 … n-1 in lists. Built once from sealed rows, never changed. Thread-safe; searches run without the GIL."""

    def __init__(self, index: faiss.IndexIVFPQFastScan, rows: int, dimensions: int) -> None:
        self._index = index
        self._rows = rows
        self._dimensions = dimensions
        self._padding = index.d - dimensions

    @classmethod
    def build(cls, vectors: Matrix, centroids: Matrix, lists: NDArray[np.int32]) -> ProbeIndex:
        """Code (n, d) `vectors` relative to (r, d) `centroids`; `lists` (n, c) int32 names the regions that list each row, -1 = none.

        Cost: about 8 µs a row and core at 256 dimensions and two lists.
        """
        faiss.omp_set_num_threads(1)  # built in the background: searches keep the other cores
        rows, dimensions = vectors.shape
        padding = dimensions % SUBSPACE
        width = dimensions + padding
        coarse = faiss.IndexFlatIP(width)
        coarse.add(_padded(centroids, padding))
        trained = faiss.IndexIVFPQ(coarse, width, len(centroids), width // SUBSPACE, 4, faiss.METRIC_INNER_PRODUCT)
        step = max(1, rows // TRAIN_POINTS_MAX)
        trained.train(_padded(np.ascontiguousarray(vectors[::step][:TRAIN_POINTS_MAX]), padding))
        for start in range(0, rows, BLOCK):
            block = _padded(np.ascontiguousarray(vectors[start : start + BLOCK]), padding)
            for column in lists[start : start + BLOCK].T:
                listed = np.flatnonzero(column >= 0)
                if not len(listed):
                    continue
                chosen = block if len(listed) == len(block) else np.ascontiguousarray(block[listed])
                numbers = (listed + start).astype(np.int64)
                where = column[listed].astype(np.int64)
                trained.add_core(len(chosen), faiss.swig_ptr(chosen), faiss.swig_ptr(numbers), faiss.swig_ptr(where))
        packed = faiss.IndexIVFPQFastScan(trained)
        coarse.this.disown()  # type: ignore[attr-defined]  # the packed index keeps and frees it
        packed.own_fields = True
        trained.own_fields = False
        return cls(packed, rows, dimensions)

    def __len__(self) -> int:
        return self._rows

    def search(self, queries: Matrix, depth: int, *, allow: Mask | None = None, probes: int = 0) -> tuple[NDArray[np.float32], Rows]:
        """See `Index.search`. Rows may come back twice, once from each list that holds them. probes: lists to read, 0 = all."""
        asked = depth if self._index.nlist == 1 else min(depth * DISTINCT, 2 * self._rows)
        selector: Any = None if allow is None else faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))  # type: ignore[call-arg,arg-type]
        parameters = faiss.SearchParametersIVF(nprobe=probes or self._index.nlist, sel=selector)  # type: ignore[call-arg]
        faiss.omp_set_num_threads(1 if len(queries) < THREADED_QUERIES_MIN else THREADS)  # kept per calling thread by OpenMP
        scores, rows = self._index.search(_padded(queries, self._padding), asked, params=parameters)
        return scores, rows

    def save(self, path: Path) -> None:
        """Write the lists to `path`; the caller makes the file durable."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, rows: int, dimensions: int) -> ProbeIndex:
        """Open what `save` wrote, memory-mapped. Raises ValueError when the file is not whole."""
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ValueError(f"{path.name} cannot be read as lists of codes") from error
        return cls(index, rows, dimensions)  # type: ignore[arg-type]


def _padded(vectors: Matrix, padding: int) -> Matrix:
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, padding)))) if padding else vectors
