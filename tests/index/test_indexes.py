"""The native indexes against the conformance suite, and what each promises beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conformance.index import ROWS, AppendableConformance, StoredConformance
from engine.clusters import Clusters
from paradox.index.exact import HammingIndex, bit_distances
from paradox.index.probe import ProbeIndex
from paradox.index.scan import ScanIndex
from paradox.ports.index import Index
from paradox.space.clusters import cluster

DIMENSIONS = 96
REGIONS = 12


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)


class TestScanIndex(AppendableConformance, StoredConformance):
    dimensions = DIMENSIONS

    def draw(self, dice: np.random.Generator, count: int) -> NDArray[Any]:
        return dice.normal(size=(count, self.dimensions)).astype(np.float32)

    def index_of(self, vectors: NDArray[Any]) -> Index:
        index = ScanIndex(self.dimensions)
        index.add(vectors)
        return index

    def load(self, path: Path) -> Index:
        return ScanIndex.load(path, self.dimensions)

    def test_a_file_of_other_dimensions_is_an_error(self, index: Index, tmp_path: Path) -> None:
        index.save(tmp_path / "index")
        with pytest.raises(ValueError, match="dimensions"):
            ScanIndex.load(tmp_path / "index", self.dimensions + 8)


class TestScanIndexOfDimensionsThatFillNoByte(TestScanIndex):
    dimensions = 33


class TestScanIndexOfFarVectors(TestScanIndex):
    """Lengths differ by a factor of a hundred, as under the dot product."""

    def draw(self, dice: np.random.Generator, count: int) -> NDArray[Any]:
        return (super().draw(dice, count) * 10 ** dice.uniform(-1, 1, size=(count, 1))).astype(np.float32)


class TestHammingIndex(AppendableConformance):
    exact = True

    def draw(self, dice: np.random.Generator, count: int) -> NDArray[Any]:
        return dice.integers(0, 256, size=(count, 12), dtype=np.uint8)

    def index_of(self, vectors: NDArray[Any]) -> Index:
        index = HammingIndex(vectors.shape[1])
        index.add(vectors)
        return index

    def scores(self, vectors: NDArray[Any], query: NDArray[Any]) -> NDArray[np.float64]:
        return -np.unpackbits(vectors ^ query, axis=1).sum(axis=1).astype(np.float64)

    def test_it_searches_rows_where_they_lie(self, vectors: NDArray[Any], queries: NDArray[Any], index: Index) -> None:
        vectors = vectors.copy()
        vectors.setflags(write=False)
        over = HammingIndex.over(vectors)
        for one, other in zip(index.search(queries, 30), over.search(queries, 30), strict=True):
            assert np.array_equal(one, other)

    def test_distances_do_not_depend_on_blocks(self, vectors: NDArray[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        from paradox.index import exact

        whole = bit_distances(vectors, vectors[0])
        monkeypatch.setattr(exact, "BLOCK_BYTES", 100)
        assert np.array_equal(bit_distances(vectors, vectors[0]), whole)
        assert whole[0] == 0


class TestProbeIndex(StoredConformance):
    repeats = 2

    def draw(self, dice: np.random.Generator, count: int) -> NDArray[Any]:
        clusters = Clusters("cosine", seed=0, dimensions=DIMENSIONS)
        clusters.dice = dice
        return unit(clusters.draw(count))

    def index_of(self, vectors: NDArray[Any]) -> Index:
        centroids, lists = regions_of(vectors)
        return ProbeIndex.build(vectors, centroids, lists)

    def load(self, path: Path) -> Index:
        return ProbeIndex.load(path, ROWS, DIMENSIONS)

    def test_few_probes_read_the_nearest_lists_only(self, index: Index, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        centroids, lists = regions_of(vectors)
        for probes in (1, 3):
            _, rows = index.search(queries, ROWS, probes=probes)
            for found, query in zip(self.found(rows), queries, strict=True):
                near = np.argsort(-(centroids @ query), kind="stable")[:probes]
                assert found == set(np.flatnonzero(np.isin(lists, near).any(axis=1)).tolist())

    def test_a_row_may_be_listed_once_or_nowhere(self, vectors: NDArray[Any], queries: NDArray[Any]) -> None:
        centroids, lists = regions_of(vectors)
        lists[:, 1] = -1
        lists[7] = -1
        index = ProbeIndex.build(vectors, centroids, lists)
        _, rows = index.search(queries, ROWS)
        assert self.found(rows) == [set(range(ROWS)) - {7}] * len(queries)

    def test_dimensions_that_do_not_pair_are_padded(self) -> None:
        vectors = unit(np.random.default_rng(5).normal(size=(400, 7)))
        lists = np.zeros((400, 1), dtype=np.int32)
        index = ProbeIndex.build(vectors, vectors[:1], lists)
        _, rows = index.search(vectors[:20], 40)
        assert np.mean([number in row for number, row in enumerate(rows.tolist())]) > 0.9


def regions_of(vectors: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return centroids, and for each row its two nearest."""
    centroids = cluster(vectors, REGIONS, metric="cosine", seed=1)
    return centroids, np.argsort(-(vectors @ centroids.T), axis=1, kind="stable")[:, :2].astype(np.int32)
