"""A database folder of format 1, written once and kept: it must open for ever. `python tests/durability/test_golden.py FOLDER` writes it.

Run that with `src` and `tests` on PYTHONPATH. The folder has sealed segments with columns and dead rows, shards and copies, a named vector,
packed bits, time buckets, and logs that go on after the snapshots.
"""

from __future__ import annotations

import random
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from durability.mirror import HastyDisk, StillWorker, still_database
from paradox.client.sync import Database
from paradox.model.schema import Limits
from worlds import TestEnv

GOLDEN = Path(__file__).parents[1] / "golden" / "folder-v1"
LIMITS = Limits(growing_points_max=16, region_points_max=6, region_points_min=2, segment_points_max=14)
SPECS: dict[str, dict[str, Any]] = {
    "notes": {"dimensions": 4, "time_bucket": "year"},
    "films": {"vectors": {"title": 3}, "metric": "euclidean", "shards": 2, "copies": 2},
    "bits": {"dimensions": 16, "metric": "hamming"},
}
POINTS = 20
DEAD = (2, 9)
CHANGED = (3, 18)


def id_of(number: int) -> int | str:
    return f"Größe {number}" if number % 4 == 0 else number


def matrix_of(length: int, *, bits: bool = False) -> Any:
    dice = random.Random(length)
    if bits:
        return np.array([[dice.randrange(256) for _ in range(length // 8)] for _ in range(POINTS)], dtype=np.uint8)
    return np.array(
        [[dice.choice((-2, -1, 1, 2)) + dice.randrange(64) / 64 for _ in range(length)] for _ in range(POINTS)], dtype=np.float32
    )


def payload_of(number: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "kind": ("sea", "sky", "大地")[number % 3],
        "year": 1990 + number,
        "share": number / 8,
        "tags": ["a", "b"][: number % 3],
        "deep": {"even": number % 2 == 0},
    }
    return payload if number % 5 else payload | {"rare": -(2**40) * number}


def vectors_of(name: str) -> dict[str, Any]:
    vectors = SPECS[name].get("vectors") or {"vector": SPECS[name]["dimensions"]}
    return {vector: matrix_of(length, bits=name == "bits") for vector, length in vectors.items()}


def time_of(number: int) -> datetime:
    return datetime(2020 + number % 3, 5, 17, 12, 30, number, tzinfo=UTC)


def expected(name: str) -> dict[Any, Any]:
    """Return what must come back: payload, vectors, event time and modality by id."""
    vectors = vectors_of(name)
    points = {}
    for number in range(POINTS):
        payload = payload_of(number) | ({"kind": "changed"} if number in CHANGED else {})
        if number == 3:
            del payload["share"]
        if number not in DEAD:
            mine = {vector: matrix[number].tolist() for vector, matrix in vectors.items()}
            points[id_of(number)] = (payload, mine, time_of(number), ("text", "image")[number % 2])
    return points


def write(folder: Path) -> None:
    """Write the folder: sixteen points are sealed, one of them dead by then; the rest stands in the logs only."""
    embedded = still_database(folder, disk=HastyDisk(), env=TestEnv(1), limits=LIMITS, origin="golden")
    assert isinstance(embedded.worker, StillWorker)
    database = Database(embedded)
    for name, spec in SPECS.items():
        collection = database.collection(name, **spec)
        vectors = vectors_of(name)

        def add(numbers: range, collection: Any = collection, vectors: Any = vectors) -> None:
            chosen = {vector: matrix[numbers.start : numbers.stop] for vector, matrix in vectors.items()}
            collection.add(
                ids=[id_of(number) for number in numbers],
                vectors=chosen.get("vector", chosen),
                payload=[payload_of(number) for number in numbers],
                modality=[("text", "image")[number % 2] for number in numbers],
                at=[time_of(number) for number in numbers],
            )

        add(range(4))
        while embedded.worker.work():
            pass
        embedded.opened(name).held.freeze()
        while embedded.worker.work():
            pass
        collection.delete([id_of(2)])
        add(range(4, 16))
        embedded.opened(name).held.freeze()
        while embedded.worker.work():
            pass
        collection.update([id_of(3)], {"kind": "changed", "share": None})
        add(range(16, POINTS))
        collection.delete([id_of(9)])
        collection.update([id_of(18)], {"kind": "changed"})
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "golden")
    return tmp_path / "golden"


def expect_all(database: Database) -> None:
    assert database.collections() == sorted(SPECS)
    for name, spec in SPECS.items():
        collection = database[name]
        wanted = expected(name)
        seen: dict[Any, Any] = {}
        for vector in vectors_of(name):
            for hit in collection.scroll(with_vectors=True, using=vector):
                assert hit.origin == "golden"
                assert hit.vector is not None
                seen.setdefault(hit.id, (hit.payload, {}, hit.at, hit.modality))[1][vector] = hit.vector.tolist()
        assert seen == wanted
        assert collection.count() == len(wanted)
        assert collection.count(where="kind = 'changed'") == 2
        assert collection.count(where="year < 1995 and deep.even = true") == 2
        tagged = {name for name, (payload, *_) in wanted.items() if "b" in payload["tags"]}
        assert {hit.id for hit in collection.scroll(where="contains(tags, 'b')")} == tagged
        for vector, matrix in vectors_of(name).items():
            using = vector if "vectors" in spec else None
            assert collection.search(matrix[5], k=1, exact=True, using=using)[0].id == 5
            assert len(collection.search(matrix[5], k=18, using=using)) == 18
        assert len(collection.search(like=7, k=3, between=(time_of(0), time_of(2)), modality="text")) == 3
    assert database.status()["healthy"], database.status()["sentence"]
    report = database.verify()
    assert report["healthy"], report["damaged"]
    assert report["checked"] > 12


def test_a_folder_of_format_1_can_be_read_for_ever(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    database = Database(still_database(folder, limits=LIMITS, read_only=True))
    for name in SPECS:
        segments = [segment for shard in database[name].info()["shards"] for segment in shard["segments"]]
        assert any(segment["sealed"] and segment["dead"] for segment in segments)
        assert any(not segment["sealed"] for segment in segments)
    manifest = database._transport.opened("notes").held.manifest  # type: ignore[attr-defined]
    assert any(entry.dead for entry in manifest.segments)
    expect_all(database)
    database.close()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_of_format_1_can_be_gone_on_with_for_ever(folder: Path) -> None:
    database = Database(still_database(folder, limits=LIMITS, env=TestEnv(2, now_us=1_800_000_000_000_000)))
    expect_all(database)
    worker = database._transport.worker  # type: ignore[attr-defined]
    for name, spec in SPECS.items():
        dtype = np.uint8 if name == "bits" else np.float32
        vectors = {vector: np.ones((40, matrix.shape[1]), dtype=dtype) for vector, matrix in vectors_of(name).items()}
        ids = [f"new {number}" for number in range(40)]
        database[name].add(ids=ids, vectors=vectors if "vectors" in spec else vectors["vector"], payload={"year": 2030})
        while worker.work():
            pass
        assert database[name].count() == 58
        assert database[name].count(where="year = 2030") == 40
        database[name].delete(ids)
    while worker.work():
        pass
    expect_all(database)
    database.close()
    database = Database(still_database(folder, limits=LIMITS))
    expect_all(database)
    database.close()


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True)
    write(Path(sys.argv[1]))
