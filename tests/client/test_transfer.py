"""Transfer: what goes out to a file comes back the same, and an interruption costs little and adds nothing twice."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.fake import FakeTransport
from paradox import errors
from paradox.client import aio, formats, transfer
from paradox.client.sync import Collection, Database
from paradox.client.transfer import Bar
from paradox.wire.inprocess import Offloaded

SUFFIXES = ["parquet", "arrow", "feather", "jsonl", "ndjson", "npz"]
EVERY_SUFFIX = pytest.mark.parametrize("suffix", SUFFIXES)


def opened(transport: FakeTransport | None = None, **spec: Any) -> Collection:
    return Database(transport or FakeTransport("store")).collection("notes", **(spec or {"dimensions": 3}))


def contents(collection: Collection) -> dict[Any, Any]:
    """Return all that a file must keep, by id."""
    points: dict[Any, Any] = {}
    for name in collection.spec.vectors:
        for hit in collection.scroll(with_vectors=True, using=name):
            assert hit.vector is not None
            kept = points.setdefault(hit.id, [hit.payload, hit.modality, hit.at, {}])
            kept[3][name] = (hit.vector.dtype.str, hit.vector.tobytes())
    return points


def interrupted(collection: Collection, path: Path, batch: int) -> None:
    with pytest.raises(errors.StoreClosed, match="the power went out"):
        collection.import_(path, batch=batch)


IDS = st.one_of(st.text(min_size=1, max_size=5).filter(lambda text: "\0" not in text), st.integers(-(2**63), 2**63 - 1), st.uuids())
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=5), NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
POINTS = st.lists(
    st.fixed_dictionaries(
        {
            "id": IDS,
            "vector": st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3),
            "payload": st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
            "modality": st.sampled_from(["text", "image", "ton très haut"]),
            "at": st.datetimes(),
        }
    ),
    max_size=6,
    unique_by=lambda point: str(point["id"]),
)


@EVERY_SUFFIX
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=POINTS)
def test_an_export_comes_back_exactly(tmp_path: Path, suffix: str, points: list[dict[str, Any]]) -> None:
    path = tmp_path / f"notes.{suffix}"
    source, target = opened(), opened()
    if points:
        source.add(points)
    assert source.export(path) == len(points)
    assert target.import_(path) == len(points)
    assert contents(target) == contents(source)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@EVERY_SUFFIX
def test_named_vectors_come_back_and_stay_away_where_they_were_absent(tmp_path: Path, suffix: str) -> None:
    spec: dict[str, Any] = {"vectors": {"title": 3, "image": 2}}
    source, target = opened(**spec), opened(**spec)
    source.add(ids=["a", "b"], vectors={"title": np.eye(3)[:2], "image": [None, [1, 2]]})
    source.export(tmp_path / f"notes.{suffix}")
    target.import_(tmp_path / f"notes.{suffix}")
    assert contents(target) == contents(source)
    assert [hit.id for hit in target.search([1, 2], using="image")] == ["b"]


def test_a_npy_file_keeps_the_vectors_alone(tmp_path: Path) -> None:
    source, target = opened(), opened()
    source.add(vectors=np.eye(3), ids=["a", "b", "c"], payload={"n": 1})
    source.export(tmp_path / "notes.npy")
    assert np.array_equal(np.load(tmp_path / "notes.npy"), np.eye(3, dtype=np.float32))
    assert target.import_(tmp_path / "notes.npy") == 3
    assert target.count() == 3


def test_an_export_may_be_filtered(tmp_path: Path) -> None:
    source = opened()
    source.add(vectors=np.eye(3), ids=["a", "b", "c"], payload=[{"n": 1}, {"n": 2}, {"n": 1}])
    assert source.export(tmp_path / "notes.jsonl", where="n = 1") == 2
    lines = [msgspec.json.decode(line) for line in (tmp_path / "notes.jsonl").read_bytes().splitlines()]
    assert [line["id"] for line in lines] == ["a", "c"]
    assert lines[0] == {
        "id": "a",
        "vector": [1.0, 0.0, 0.0],
        "payload": {"n": 1},
        "modality": "vector",
        "at": "2023-11-14T22:13:20Z",
    }


# Files of other people


FOREIGN = {"id": ["a", "b"], "text": ["one", "two"], "year": [1990, None], "topic": ["sea", "sky"]}


def test_other_columns_become_payload(tmp_path: Path) -> None:
    pq.write_table(pa.table(FOREIGN), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text('{"id":"a","text":"one","year":1990,"topic":"sea"}\n\n\r\n{"id":"b","text":"two","topic":"sky"}')
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pa.ipc.new_stream(file, pa.table(FOREIGN).schema) as writer:
        writer.write_table(pa.table(FOREIGN))
    wanted = [{"text": "one", "year": 1990, "topic": "sea"}, {"text": "two", "topic": "sky"}]
    for source in (*sorted(tmp_path.iterdir()), pd.DataFrame(FOREIGN), pl.DataFrame(FOREIGN), pa.table(FOREIGN)):
        notes = opened()
        assert notes.import_(source) == 2
        assert [hit.payload for hit in notes.get(["a", "b"])] == wanted


def test_an_archive_of_ids_vectors_and_fields_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", ids=np.array([5, 6]), vectors=np.eye(3)[:2], topic=np.array(["sea", "sky"]))
    notes = opened()
    assert notes.import_(str(tmp_path / "rows.npz")) == 2
    assert notes.get(6)[0].payload == {"topic": "sky"}


def test_a_frame_is_taken_in_parts() -> None:
    transport = FakeTransport()
    notes = opened(transport)
    told: list[tuple[int, int | None]] = []
    frame = pd.DataFrame({"id": range(25), "vector": list(np.ones((25, 3)))})
    assert notes.import_(frame, batch=10, progress=lambda done, total: told.append((done, total))) == 25
    assert told == [(10, 25), (20, 25), (25, 25)]


BROKEN: list[tuple[str, bytes, str, str]] = [
    ("x.csv", b"a,b", "request.invalid", "has the suffix '.csv'; expected .parquet"),
    ("x.parquet", b"no", "request.invalid", "is not a Parquet file"),
    ("x.arrow", b"no", "request.invalid", "is not an Arrow file"),
    ("x.npy", b"no", "request.invalid", "is not a NumPy file of plain arrays"),
    ("x.npz", b"no", "request.invalid", "is not a NumPy file of plain arrays"),
    ("x.jsonl", b'{"id": 1, "text": "a"}\n[1]\n', "payload.invalid", "line 2 of"),
    ("x.jsonl", b'{"id": 1, "text": "a"}\n{"id": 2, "te\n', "payload.invalid", "line 2 of"),
    ("x.jsonl", b'{"id": 1, "text": "a"}\n\xff\n', "payload.invalid", "line 2 of"),
    ("x.jsonl", b'{"id": 1, "text": "a"}\n{"id": 2, "text": NaN}\n', "payload.invalid", "line 2 of"),
    ("x.jsonl", b'{"id": 1, "text": "a"}\n{"id": 2, "vector": [1, 2, 3]}\n', "batch.mismatch", "points 1 to 2 of"),
    ("x.jsonl", b'{"id": 1, "vector": [1, 2]}\n', "vector.dimensions", "points 1 to 1 of"),
    ("x.jsonl", b'{"id": 1, "id_kind": "uuid", "text": "a"}\n', "request.invalid", "the column 'id_kind' does not fit the column 'id'"),
    ("x.jsonl", b'{"id": 1, "text": "a", "payload": "words"}\n', "request.invalid", "the payload of point 0 is text, but no JSON object"),
]


@pytest.mark.parametrize(("name", "body", "code", "message"), BROKEN, ids=[f"{name} {message}" for name, _, _, message in BROKEN])
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path: Path, name: str, body: bytes, code: str, message: str) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(errors.InvalidRequest) as caught:
        opened().import_(tmp_path / name)
    assert caught.value.code == code
    assert message in caught.value.message
    assert name in caught.value.message


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.Missing, match="there is no file"):
        opened().import_(tmp_path / "x.jsonl")


def test_a_folder_that_is_not_there_takes_no_export(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnreadable, match="cannot be used: No such file or directory"):
        opened().export(tmp_path / "nowhere" / "x.jsonl")
    with pytest.raises(errors.InvalidRequest, match=r"the suffix '\.csv'"):
        opened().export(tmp_path / "x.csv")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pandas", "polars", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    notes = opened()
    notes.add(vectors=[1, 2, 3], ids="a")
    for verb in (lambda: notes.export(tmp_path / "x.parquet"), notes.get("a").to_pandas, notes.get("a").to_arrow, notes.get("a").to_polars):
        with pytest.raises(errors.ExtraMissing, match=r"install paradox-memory\[frames\]"):
            verb()
    assert notes.export(tmp_path / "x.jsonl") == notes.export(tmp_path / "x.npz") == 1


# Interruptions


def write_rows(path: Path, count: int, *, with_ids: bool) -> None:
    rows = [{**({"id": f"r{row}"} if with_ids else {}), "text": f"word {row}"} for row in range(count)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=8)
    elif path.suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, pa.Table.from_pylist(rows).schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows))
    elif path.suffix == ".npz":
        columns: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        np.savez(path, **columns)
    else:
        path.write_bytes(msgspec.json.Encoder().encode_lines(rows))


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl", "npz"])
@pytest.mark.parametrize("with_ids", [True, False])
def test_an_import_goes_on_where_it_was_interrupted(tmp_path: Path, suffix: str, with_ids: bool) -> None:
    path = tmp_path / f"rows.{suffix}"
    write_rows(path, 50, with_ids=with_ids)
    transport = FakeTransport("store")
    notes = opened(transport)
    transport.fail_after = 3
    interrupted(notes, path, 7)
    assert notes.count() == 21
    transport.fail_after = None
    told: list[int] = []
    assert notes.import_(path, batch=7, progress=lambda done, total: told.append(done)) == 50
    assert 21 < told[0] <= 28  # the first batch of Parquet rows after a break may be short
    assert told[-1] == 50
    assert sorted(hit.payload["text"] for hit in notes.scroll()) == sorted(f"word {row}" for row in range(50))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_rows_without_ids_are_added_once_even_if_an_acknowledgement_was_not_noted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, 20, with_ids=False)
    transport = FakeTransport("store")
    notes = opened(transport)
    transport.fail_after = 1
    interrupted(notes, path, 5)
    noted = (tmp_path / "rows.jsonl.paradox-progress").read_bytes()
    transport.fail_after = 1
    interrupted(notes, path, 5)
    (tmp_path / "rows.jsonl.paradox-progress").write_bytes(noted)
    transport.fail_after = None
    notes.import_(path, batch=5)
    assert notes.count() == 20


def test_what_comes_before_a_damaged_line_is_kept_and_the_mended_file_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = [f'{{"id": {row}, "text": "word {row}"}}\n' for row in range(10)]
    path.write_text("".join([*good[:6], '{"id": 6, "te\n', *good[7:]]))
    notes = opened()
    with pytest.raises(errors.PayloadInvalid, match="line 7 of"):
        notes.import_(path, batch=4)
    assert notes.count() == 6
    path.write_text("".join(good))
    told: list[int] = []
    assert notes.import_(path, batch=4, progress=lambda done, total: told.append(done)) == 10
    assert told == [10]
    assert notes.count() == 10


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_changed_file_is_read_from_the_beginning(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    write_rows(path, 10, with_ids=True)
    transport = FakeTransport("store")
    notes = opened(transport)
    transport.fail_after = 1
    interrupted(notes, path, 5)
    transport.fail_after = None
    write_rows(path, 11, with_ids=True)
    path.write_bytes(path.read_bytes().replace(b"word 1", b"WORD 1")) if suffix == "jsonl" else None
    assert notes.import_(path, batch=5) == 11
    assert notes.count() == 11


def test_an_import_starts_anew_when_what_it_added_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, 10, with_ids=False)
    transport = FakeTransport("store")
    notes = opened(transport)
    transport.fail_after = 1
    interrupted(notes, path, 5)
    transport.fail_after = None
    notes.delete([hit.id for hit in notes.scroll()])
    assert notes.import_(path, batch=5) == 10
    assert notes.count() == 10


def test_another_database_does_not_inherit_the_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, 10, with_ids=True)
    first, second = FakeTransport("first"), FakeTransport("second")
    one, other = opened(first), opened(second)
    first.fail_after = 1
    interrupted(one, path, 5)
    assert other.import_(path) == 10
    assert other.count() == 10
    first.fail_after = None
    assert one.import_(path) == 10
    assert one.count() == 10


def test_an_import_may_start_anew_on_purpose(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, 10, with_ids=True)
    transport = FakeTransport("store")
    notes = opened(transport)
    transport.fail_after = 1
    interrupted(notes, path, 5)
    transport.fail_after = None
    told: list[int] = []
    notes.import_(path, batch=5, resume=False, progress=lambda done, total: told.append(done))
    assert told == [5, 10]


class PowerCut(Exception):
    """What no code of ours catches."""


@EVERY_SUFFIX
def test_an_export_goes_on_where_it_was_interrupted(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "EXPORT_BATCH_POINTS", 40)
    source, target = opened(), opened()
    source.add(vectors=np.random.default_rng(1).standard_normal((100, 3)), ids=[UUID(int=row) for row in range(100)], payload={"n": 1})
    path = tmp_path / f"notes.{suffix}"

    def cut(done: int, total: int | None) -> None:
        if done > 40:
            raise PowerCut

    with pytest.raises(PowerCut):
        source.export(path, progress=cut)
    assert not path.exists()
    part = tmp_path / f"notes.{suffix}.part"
    part.write_bytes(part.read_bytes()[:-1])  # the last page was torn
    told: list[int] = []
    assert source.export(path, progress=lambda done, total: told.append(done)) == 100
    assert told == [40, 40, 80, 100]
    target.import_(path)
    assert contents(target) == contents(source)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_export_starts_anew_when_the_collection_has_changed(tmp_path: Path) -> None:
    source = opened()
    source.add(vectors=np.eye(3), ids=["a", "b", "c"])

    def cut(done: int, total: int | None) -> None:
        if done:
            raise PowerCut

    with pytest.raises(PowerCut):
        source.export(tmp_path / "notes.jsonl", progress=cut)
    source.delete(["a"])
    assert source.export(tmp_path / "notes.jsonl") == 2
    assert b'"a"' not in (tmp_path / "notes.jsonl").read_bytes()


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    source = opened()
    source.add(vectors=np.eye(3), ids=["a", "b", "c"])
    (tmp_path / "notes.npy").write_bytes(b"what was there")
    monkeypatch.setattr(formats, "_write_matrix", full)
    with pytest.raises(errors.StoreFull):
        source.export(tmp_path / "notes.npy")
    assert (tmp_path / "notes.npy").read_bytes() == b"what was there"


# Both faces, and the bar


def test_the_awaiting_face_moves_files_too(tmp_path: Path) -> None:
    async def story() -> None:
        database = aio.AsyncDatabase(Offloaded(FakeTransport()))
        notes = await database.collection("notes", vectors={"title": 3, "image": 2})
        await notes.add(vectors={"title": np.eye(3), "image": [[1, 2], None, [3, 4]]}, ids=["a", "b", "c"])
        assert await notes.export(tmp_path / "notes.jsonl") == 3
        copy = await database.collection("copy", vectors={"title": 3, "image": 2})
        assert await copy.import_(tmp_path / "notes.jsonl") == 3
        assert [hit.id async for hit in copy.scroll()] == ["a", "b", "c"]

    asyncio.run(story())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "rows.parquet", 10, with_ids=True)
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        opened().import_(tmp_path / "rows.parquet", batch=5)
        assert ("5 of 10 points" in stream.getvalue()) is drawn


def test_a_bar_shows_the_share_when_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    bar = Bar("importing")
    bar(1_500, 3_000)
    bar(7, None)
    bar(3_000, 3_000)
    first, second, third = stream.getvalue().removeprefix("\r").split("\r")
    assert "━━━━━━━━━━━━────────────  50%  1,500 of 3,000 points" in first
    assert second.endswith("importing  7 points")
    assert third.endswith("100%  3,000 of 3,000 points\n")
