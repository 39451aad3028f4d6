"""Streams of points over HTTP: any length, a part at a time, as JSON lines or Arrow."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
import pytest

import paradox
from paradox.client import bulk as client_bulk
from paradox.gateway import app, bulk
from paradox.node.embedded import open_folder
from served import ask, served

pyarrow = pytest.importorskip("pyarrow")
ipc = pytest.importorskip("pyarrow.ipc")

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
LINES = {"Content-Type": "application/x-ndjson"}
BULK = "/v1/collections/notes/points/bulk"
RNG = np.random.default_rng(5)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    database = open_folder(str(tmp_path), read_only=False, origin="", timeout_s=0)
    with served(database) as address:
        yield address
    database.close()


def arrow_stream(*tables: Any) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue()


def table_of(ids: list[Any], vectors: Any, **fields: Any) -> Any:
    width = vectors.shape[1]
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.astype(np.float32).reshape(-1)), width)
    return pyarrow.table({"id": ids, "vector": column, **fields})


def send_chunked(address: str, chunks: Iterator[bytes], headers: dict[str, str]) -> tuple[int, Any]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("POST", BULK, body=chunks, headers=headers, encode_chunked=True)
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    return response.status, told


def test_lines_are_added_as_they_come(address: str) -> None:
    ask(address, "PUT", "/v1/collections/notes", {"encoder": "text"})
    lines = [{"id": number, "text": f"the tide turns at {number}", "hour": number} for number in range(2_000)]
    chunks = (b"".join(json.dumps(line).encode() + b"\n" for line in lines[start : start + 100]) for start in range(0, 2_000, 100))
    status, told = send_chunked(address, chunks, LINES)
    assert (status, told["points"]) == (200, 2_000)
    assert ask(address, "POST", "/v1/collections/notes/count", {"where": "hour >= 1500", "after": told["position"]})[1] == {"count": 500}


def test_a_scroll_in_arrow_goes_back_in_as_it_is(address: str) -> None:
    vectors = RNG.normal(size=(300, 8)).astype(np.float32)
    with paradox.connect(address) as database:
        notes = database.collection("notes", dimensions=8, metric="dot")
        ids = [*range(100), *(f"name {number}" for number in range(100)), *(UUID(int=number) for number in range(100))]
        notes.add(ids=ids, vectors=vectors, payload=[{"n": number, "deep": {"x": [1, None]}} for number in range(300)], at="2024-05-17")
        status, stream, headers = ask(
            address,
            "POST",
            "/v1/collections/notes/scroll",
            {"batch": 70, "with_vectors": True},
            {"Accept": ARROW["Content-Type"]},
        )
        assert (status, headers["content-type"]) == (200, ARROW["Content-Type"])
        table = ipc.open_stream(stream).read_all()
        assert table.num_rows == 300
        assert table.column_names == ["id", "id_kind", "vector", "payload", "modality", "at"]
        ask(address, "PUT", "/v1/collections/copy", {"dimensions": 8, "metric": "dot"})
        told = ask(address, "POST", BULK.replace("notes", "copy"), stream, ARROW)[1]
        assert told["points"] == 300
        for number in (3, 150, 299):
            [here], [there] = notes.get([ids[number]], with_vectors=True), database["copy"].get([ids[number]], with_vectors=True)
            assert (here.id, here.payload, here.at) == (there.id, there.payload, there.at)
            assert np.array_equal(here.vector, vectors[number])
            assert np.array_equal(there.vector, vectors[number])
        _, bare, _ = ask(address, "POST", "/v1/collections/notes/scroll", {"where": "n < 9"}, {"Accept": ARROW["Content-Type"]})
        bare_table = ipc.open_stream(bare).read_all()
        assert bare_table.num_rows == 9
        assert "vector" not in bare_table.column_names


def test_arrow_in_many_batches_of_any_length(address: str) -> None:
    """More than a body may have, in parts: what is in memory is one part."""
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 64})
    rows, batches = 20_000, 4
    sent = arrow_stream(
        *(
            table_of(list(range(rows * one, rows * (one + 1))), RNG.normal(size=(rows, 64)), color=["red", "blue"] * (rows // 2))
            for one in range(batches)
        )
    )
    status, told = send_chunked(address, (sent[start : start + 1_000_000] for start in range(0, len(sent), 1_000_000)), ARROW)
    assert (status, told["points"]) == (200, rows * batches)
    assert ask(address, "POST", "/v1/collections/notes/count", {"where": "color = 'red'"})[1] == {"count": rows * batches // 2}


@pytest.mark.parametrize(
    ("body", "headers", "code", "words"),
    [
        (b'{"id": 1, "vector": [1, 2]}\n{"id": 2, "vector"\n', LINES, "payload.invalid", "line 2 is not a JSON object"),
        (b"[1, 2]\n", LINES, "payload.invalid", "line 1 is not a JSON object"),
        (b'{"id": 1, "vector": [1, 2]}\n{"id": 2, "vector": [1]}\n', LINES, "vector.dimensions", "no point was added"),
        (
            b'{"id": 1, "n": 2}\n',
            LINES,
            "batch.mismatch",
            "neither a column of texts nor one of vectors; its columns are id, n",
        ),
        (b"", LINES, "request.invalid", "the stream holds no points"),
        (b"", ARROW, "request.invalid", "the stream holds no points"),
        (b"\x10\0\0\0hello", ARROW, "request.invalid", "this is not an Arrow IPC stream"),
        (b"\xff\xff\xff\xff\x10\0\0\0" + b"\x01" * 200, ARROW, "request.invalid", "this is not an Arrow IPC stream"),
        (arrow_stream(table_of([1, 2], np.ones((2, 2))))[:-40], ARROW, "request.invalid", "or was cut off"),
        (arrow_stream(table_of([1, 2], np.ones((2, 3)))), ARROW, "vector.dimensions", "no point was added"),
        (arrow_stream(table_of([1, 1], np.ones((2, 2)))), ARROW, "id.duplicate", "no point was added"),
        (
            arrow_stream(pyarrow.table({"id": [1], "vector": [[1.0, 2.0]], "at": pyarrow.array([2**62], pyarrow.timestamp("s"))})),
            ARROW,
            "time.invalid",
            "no point was added",
        ),
        (arrow_stream(pyarrow.table({"id": [1]})), ARROW, "batch.mismatch", "its columns are id"),
        (
            b"{}",
            {"Content-Type": "application/json"},
            "request.unreadable",
            "has the content type 'application/json'; expected application/x-ndjson or",
        ),
    ],
)
def test_what_is_wrong_with_a_stream_is_said(address: str, body: bytes, headers: dict[str, str], code: str, words: str) -> None:
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
    status, problem, _ = ask(address, "POST", BULK, body, headers)
    assert status == 400
    assert problem["code"] == code
    assert words in problem["detail"]
    assert problem["hint"]


def test_the_parts_before_a_bad_one_are_added_and_counted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.client.bulk.PART_ROWS", 10)
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
    lines = [json.dumps({"id": number, "vector": [1.0, number] if number != 35 else [1.0]}) for number in range(50)]
    status, problem, _ = ask(address, "POST", BULK, "\n".join(lines).encode(), LINES)
    assert (status, problem["code"]) == (400, "vector.dimensions")
    assert "(after 30 points, which are added)" in problem["detail"]
    assert ask(address, "POST", "/v1/collections/notes/count", {})[1] == {"count": 30}


def test_a_part_that_is_too_large_is_refused_before_it_is_in_memory(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PART_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(bulk, "BLOCK_BYTES", 1 << 16)
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 64})
    small = [table_of(list(range(1_000)), RNG.normal(size=(1_000, 64))) for _ in range(10)]
    assert ask(address, "POST", BULK, arrow_stream(*small), ARROW)[1]["points"] == 10_000
    for body, headers in (
        (arrow_stream(table_of(list(range(10_000)), RNG.normal(size=(10_000, 64)))), ARROW),
        (b'{"id": 1, "vector": [' + b"1, " * 1_000_000, LINES),
    ):
        status, problem, _ = ask(address, "POST", BULK, body, headers)
        assert (status, problem["code"]) == (413, "request.size")


def nested(**column: Any) -> bytes:
    return arrow_stream(pyarrow.table({"id": [1], "vector": [[1.0, 2.0]], **column}))


def compressed() -> bytes:
    sink = io.BytesIO()
    table = table_of([1, 2], np.ones((2, 2)))
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def many_rows_of_nothing() -> bytes:
    schema = pyarrow.schema([("id", pyarrow.int64()), ("n", pyarrow.null())])
    rows = (1 << 20) + 1
    return arrow_stream(pyarrow.table([pyarrow.array(np.arange(rows)), pyarrow.nulls(rows)], schema=schema))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (compressed(), "is compressed"),
        (many_rows_of_nothing(), "a record batch has 1,048,577 rows"),
        (nested(n=pyarrow.array(["a"]).dictionary_encode()), "column 'n' is of type dictionary<"),
        (nested(n=pyarrow.array([[None]])), "column 'n' is of type list<"),
        (nested(n=pyarrow.array([{}], pyarrow.struct([]))), "column 'n' is of type struct<"),
        (nested(n=pyarrow.array([b"1"])), "column 'n' is of type binary"),
        (arrow_stream(pyarrow.table([[1], [2]], names=["n", "n"])), "two columns of the stream have the same name"),
    ],
)
def test_what_would_take_more_memory_than_bytes_is_refused(address: str, body: bytes, words: str) -> None:
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
    status, problem, _ = ask(address, "POST", BULK, body, ARROW)
    assert (status, problem["code"]) == (400, "request.invalid")
    assert words in problem["detail"]
    assert "(no point was added)" in problem["detail"]


def test_no_more_memory_is_taken_than_a_stream_brings(address: str) -> None:
    """Nine bytes say that two gigabytes follow."""
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
    status, problem, _ = ask(address, "POST", BULK, b"\xff\xff\xff\xff\xff\xff\xff\x7f.", ARROW)
    assert (status, problem["code"]) == (413, "request.size")


def test_lines_that_share_no_names_are_parts_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_bulk, "PART_CELLS", 1_000)
    lines = b"".join(json.dumps({f"n{number}.{one}": 1 for one in range(20)}).encode() + b"\n" for number in range(50))
    parts = list(client_bulk.columns_in(io.BytesIO(lines), "lines"))
    assert sum(len(next(iter(part.values()))) for part in parts) == 50
    assert max(len(part) * len(next(iter(part.values()))) for part in parts) <= 1_500


def test_parts_without_rows_are_passed_over(address: str) -> None:
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
    table = table_of([1, 2], np.ones((2, 2)))
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        for one in (table, table.slice(0, 0), table_of([3], np.ones((1, 2)))):
            for batch in one.to_batches() or [pyarrow.record_batch([[], table["vector"].chunk(0).slice(0, 0)], schema=table.schema)]:
                writer.write_batch(batch)
    assert ask(address, "POST", BULK, sink.getvalue(), ARROW)[1]["points"] == 3
    assert ask(address, "POST", BULK, b'\n\n{"id": 4, "vector": [1, 2]}\n\n', LINES)[1]["points"] == 1


def test_a_caller_that_stalls_is_let_go_and_the_fifth_is_told_to_come_back(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that had sent much before."""
    monkeypatch.setattr(app, "READ_S", 1.0)
    monkeypatch.setattr(bulk, "READ_S", 1.0)
    ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
    host, port = urlsplit(address).hostname, urlsplit(address).port
    head = f"POST {BULK} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    stalled = [socket.create_connection((host, port)) for _ in range(app.BULKS_MAX)]  # type: ignore[arg-type]
    chunk = (b'{"id": 1, "vector": [1, 2.5]}' + b" " * 1_000 + b"\n") * 1_000
    for door in stalled:
        door.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(chunk), chunk))
    began = time.monotonic()
    while (told := ask(address, "POST", BULK, b'{"id": 2, "vector": [1, 2]}', LINES))[0] != 429:
        assert time.monotonic() < began + 10
    assert told[1]["code"] == "gateway.busy"
    for door in stalled:
        reply = door.makefile("rb").read(4096)
        assert b"400" in reply.splitlines()[0]
        assert b"the rest was not waited for" in reply
        door.close()
    assert time.monotonic() < began + 10
    assert ask(address, "POST", BULK, b'{"id": 2, "vector": [1, 2]}', LINES)[0] == 200


def test_a_server_that_stops_does_not_wait_for_a_stream(tmp_path: Path) -> None:
    """Who sends it is told how far it came."""
    database = open_folder(str(tmp_path), read_only=False, origin="", timeout_s=0)
    with served(database) as address:
        ask(address, "PUT", "/v1/collections/notes", {"dimensions": 2})
        host, port = urlsplit(address).hostname, urlsplit(address).port
        door = socket.create_connection((host, port))  # type: ignore[arg-type]
        lines = b"".join(b'{"id": %d, "vector": [1, 2]}\n' % number for number in range(10_000))
        head = f"POST {BULK} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        door.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(lines), lines))
        while ask(address, "POST", "/v1/collections/notes/count", {})[1]["count"] < 8_192:
            pass
        began = time.monotonic()
    assert time.monotonic() - began < 5
    reply = door.makefile("rb").read()
    assert b"429" in reply.splitlines()[0]
    assert b"the server is stopping (after 8,192 points, which are added)" in reply
    door.close()
    database.close()
