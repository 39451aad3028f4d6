"""The client over the real database in memory: what a fake could hide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

import paradox


@pytest.fixture
def database() -> Iterator[paradox.Database]:
    with paradox.connect(":memory:", origin="here") as database:
        yield database


def test_points_are_added_found_changed_and_deleted(database: paradox.Database) -> None:
    notes = database.collection("notes", dimensions=3)
    receipt = notes.add(vectors=np.eye(3), ids=["x", 7, UUID(int=5)], payload=[{"n": 1}, {"n": 2}, {"n": 3}], at="2024-05-17")
    hits = notes.search([0, 1, 0.1], k=2, after=receipt, where=paradox.field("n") >= 2, with_vectors=True)
    assert [hit.id for hit in hits] == [7, UUID(int=5)]
    assert hits[0].vector is not None
    assert hits[0].vector.tolist() == [0, 1, 0]
    assert (hits[0].origin, hits[0].at.isoformat(), hits.coverage.share) == ("here", "2024-05-17T00:00:00+00:00", 1.0)
    assert hits.plan is not None
    notes.update([7], {"n": None, "seen": True})
    assert notes.get([7])[0].payload == {"seen": True}
    assert notes.delete(where="exists(seen)").ids == [7]
    assert notes.count() == 2


def test_a_big_add_is_one_receipt_and_reads_back(database: paradox.Database) -> None:
    notes = database.collection("notes", dimensions=32)
    matrix = np.random.default_rng(1).standard_normal((20_000, 32)).astype(np.float32)
    receipt = notes.add(vectors=matrix, ids=range(20_000))
    assert receipt.ids == list(range(20_000))
    assert notes.count(after=receipt) == 20_000
    assert notes.search(like=19_999, k=1, exact=True)[0].id == 19_999


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "npz"])
def test_packed_bits_and_absent_vectors_come_back_from_a_file(database: paradox.Database, tmp_path: Path, suffix: str) -> None:
    bits = np.array([[1, 2], [255, 0]], dtype=np.uint8)
    source, target = (database.collection(name, dimensions=16, metric="hamming") for name in ("source", "target"))
    source.add(vectors=bits, ids=["a", "b"])
    source.export(tmp_path / f"bits.{suffix}")
    target.import_(tmp_path / f"bits.{suffix}")
    kept = target.get(["a", "b"], with_vectors=True)
    assert [hit.vector.tolist() for hit in kept if hit.vector is not None] == bits.tolist()

    films, copy = (database.collection(name, vectors={"title": 3, "image": 2}) for name in ("films", "copy"))
    films.add(vectors={"title": np.eye(3), "image": [None, [1, 2], [2, 1]]}, ids=[1, 2, 3])
    films.export(tmp_path / f"films.{suffix}")
    copy.import_(tmp_path / f"films.{suffix}")
    assert [hit.id for hit in copy.search([1, 2], using="image")] == [2, 3]
