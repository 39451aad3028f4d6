"""What a gateway and its client do when answers are lost, readers go, bodies lie and others interfere."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import paradox
from paradox.errors import DeadlineExceeded, InvalidRequest, SegmentCorrupt
from paradox.gateway import app, routes
from paradox.node import serve
from paradox.node.config import keys_of
from paradox.node.embedded import open_folder
from paradox.objects import disk
from paradox.ports.transport import Transport
from paradox.wire.line import Reply
from served import ask, served


class Counting:
    """A database that tells what was asked of it."""

    def __init__(self, database: Transport) -> None:
        self.asked: list[str] = []
        self._database = database

    def send(self, operation: Any) -> Any:
        self.asked.append(type(operation).__name__)
        return self._database.send(operation)

    def close(self) -> None: ...


@pytest.fixture
def counting(database: Transport) -> Iterator[tuple[Counting, Any]]:
    """A collection of ten points behind a server that counts."""
    seen = Counting(database)
    with served(seen) as address, paradox.connect(address) as db:
        points = db.collection("counted", dimensions=2)
        points.add(ids=range(10), vectors=np.ones((10, 2)), payload=[{"n": n} for n in range(10)])
        seen.asked.clear()
        yield seen, points
        db.drop("counted")


def test_nothing_is_done_twice_after_a_scroll(counting: tuple[Counting, Any]) -> None:
    seen, points = counting
    for read in (lambda: list(points.scroll(batch=3)), lambda: next(points.scroll(batch=1)), lambda: points.search([1, 1]).plan):
        read()
        points.update([1], {"n": 1})
        assert seen.asked.count("UpdatePoints") == 1, seen.asked
        seen.asked.clear()
    assert sorted(points.delete(where="n < 5").ids) == [0, 1, 2, 3, 4]
    assert seen.asked.count("DeletePoints") == 1


def test_a_write_whose_answer_was_lost_is_done_once(counting: tuple[Counting, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is done, the connection breaks: the second attempt gets the first one's answer."""
    seen, points = counting
    read, broken = Reply.read, [1]

    def breaking(response: Reply, *given: Any) -> bytes:
        content: bytes = read(response, *given)
        if broken:
            broken.pop()
            raise IncompleteRead(b"")
        return content

    monkeypatch.setattr(Reply, "read", breaking)
    assert points.delete(where="n >= 8").ids == [8, 9]
    assert not broken
    assert seen.asked == ["DeletePoints"]


def test_a_reader_that_goes_ends_its_scroll(counting: tuple[Counting, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    framed = app._Work.framed
    monkeypatch.setattr(app._Work, "framed", lambda work, part: made.append(part) or framed(work, part))
    _, points = counting
    points.add(ids=range(3000), vectors=np.ones((3000, 2)), payload=[{"text": "x" * 1000}] * 3000)
    reading = points.scroll(batch=1)
    next(reading)
    reading.close()
    assert points.count() == 3000
    assert len(made) < 3000


def test_what_goes_wrong_within_a_scroll_is_said(counting: tuple[Counting, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, points = counting

    def damaged(answer: Any, form: Any, rows: Any = routes._rows) -> Any:
        if answer.keys and answer.keys[0] == 4:
            raise SegmentCorrupt("segment x is damaged", hint="run verify")
        return rows(answer, form)

    monkeypatch.setattr(routes, "_rows", damaged)
    reading = points.scroll(batch=2)
    assert [next(reading).id for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(SegmentCorrupt, match="segment x is damaged"):
        next(reading)
    assert points.count() == 10


def test_a_request_that_was_cut_off_does_nothing(address: str) -> None:
    ask(address, "PUT", "/v1/collections/kept", {"dimensions": 2})
    with socket.create_connection(urlsplit(address).netloc.split(":")) as caller:  # type: ignore[arg-type]
        caller.sendall(b"DELETE /v1/collections/kept HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
    assert "kept" in ask(address, "GET", "/v1/collections")[1]["collections"]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example:6500"}])
def test_web_pages_are_refused_where_nobody_has_a_key(address: str, headers: dict[str, str]) -> None:
    status, problem, _ = ask(address, "GET", "/v1/collections", headers=headers)
    assert (status, problem["code"]) == (401, "auth.denied")


@pytest.mark.parametrize(
    ("present", "code"),
    [
        ({"vector": True}, "batch.mismatch"),
        ({"vector": [True, True]}, "batch.mismatch"),
        ({"vector": [False]}, "batch.mismatch"),
        ({"vector": [[True], [True, False]]}, "batch.mismatch"),
        ({"nothing": [True]}, "batch.mismatch"),
        ({"vector": [1]}, "batch.mismatch"),
    ],
)
def test_a_mask_that_fits_no_points_changes_nothing(address: str, present: Any, code: str) -> None:
    ask(address, "PUT", "/v1/collections/masked", {"dimensions": 2})
    status, problem, _ = ask(address, "POST", "/v1/collections/masked/points", {"ids": [1], "vectors": [[1, 0]], "present": present})
    assert (status, problem["code"]) == (400, code)
    assert ask(address, "POST", "/v1/collections/masked/points", {"ids": [2], "vectors": [[1, 0]], "present": {"vector": [True]}})[0] == 200
    ask(address, "DELETE", "/v1/collections/masked")


def test_many_points_of_which_some_lack_a_vector(address: str) -> None:
    """More than one operation takes: each part gets its own part of the mask."""
    rows = 20_000
    has = np.arange(rows) % 3 == 0
    with paradox.connect(address) as db:
        films = db.collection("many-films", vectors={"title": 2, "image": 2})
        vectors = {"title": np.ones((rows, 2)), "image": [[1.0, 0.0] if one else None for one in has]}
        films.add(ids=range(rows), vectors=vectors)
        assert len(films.search([1, 0], 10_000, using="image", exact=True)) == int(has.sum())
        db.drop("many-films")
    body = {"ids": list(range(rows)), "vectors": {"title": [[1, 1]] * rows, "image": [[1, 0]] * rows}, "present": {"image": has.tolist()}}
    ask(address, "PUT", "/v1/collections/many-films", {"vectors": {"title": 2, "image": 2}})
    assert ask(address, "POST", "/v1/collections/many-films/points", body)[0] == 200
    found = ask(address, "POST", "/v1/collections/many-films/search", {"query": [1, 0], "k": 10_000, "using": "image", "exact": True})[1]
    assert len(found["hits"]) == int(has.sum())
    ask(address, "DELETE", "/v1/collections/many-films")


def test_a_deadline_is_not_tried_again(counting: tuple[Counting, Any]) -> None:
    seen, points = counting
    with pytest.raises(DeadlineExceeded):
        points.search([1, 1], within_s=1e-9)
    assert seen.asked.count("Ask") == 1


def test_explaining_goes_through(counting: tuple[Counting, Any]) -> None:
    _, points = counting
    hits = points.search([1, 1], explain=True)
    assert hits.plan is not None
    assert points.explain([1, 1]).sampled_recall == 1.0


@pytest.mark.parametrize("key", ["a\nb", "€", "\0"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidRequest, match="the key holds signs") as caught:
        paradox.connect("http://localhost:1", key=key)
    assert key not in str(caught.value)
    with pytest.raises(InvalidRequest):
        keys_of({"PARADOX_KEY": key + "x"})


def test_nobody_learns_where_the_server_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_folder(str(tmp_path / "memory"), read_only=False, origin="", timeout_s=0)
    with served(database) as address:
        ask(address, "PUT", "/v1/collections/p", {"dimensions": 2})
        add = {"ids": [1], "vectors": [[1, 0]]}
        assert ask(address, "POST", "/v1/collections/p/points", add)[0] == 200

        def full(*_: Any) -> None:
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(disk, "_sync", full)
        status, problem, _ = ask(address, "POST", "/v1/collections/p/points", add)
        monkeypatch.undo()
        assert (status, problem["code"]) == (503, "log.unavailable")
        assert "collections/p/log" in problem["detail"]
        told = [problem, *(ask(address, method, path)[1] for method, path in TELLING)]
        assert str(tmp_path) not in json.dumps(told)
    database.close()


TELLING = [("GET", "/v1/status"), ("POST", "/v1/verify"), ("GET", "/v1/collections/p")]


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("begun", ["nothing", "a head", "a second head"])
def test_a_connection_that_brings_no_whole_head_is_closed(database: Transport, monkeypatch: pytest.MonkeyPatch, begun: str) -> None:
    """Beside it another connection asks without pause."""
    monkeypatch.setattr(serve, "HEAD_S", 2.0)
    monkeypatch.setattr(serve, "HEADS_S", 0.05)
    with served(database) as address:
        place = urlsplit(address)
        busy = HTTPConnection(place.netloc, timeout=20)
        with socket.create_connection((place.hostname, place.port), timeout=20) as slow:  # type: ignore[arg-type]
            if begun == "a second head":
                slow.sendall(HEAD + b"\r\n")
                assert slow.recv(4096).startswith(b"HTTP/1.1 200")
            if begun != "nothing":
                slow.sendall(HEAD)
            slow.settimeout(0.01)
            until, ended = time.monotonic() + 20, False
            while not ended:
                assert time.monotonic() < until
                assert asked(busy) == 200
                with suppress(TimeoutError):
                    ended = not slow.recv(4096)
        assert asked(busy) == 200
        busy.close()


def asked(connection: HTTPConnection) -> int:
    connection.request("GET", "/healthz")
    with connection.getresponse() as response:
        response.read()
        return response.status


def test_a_caller_that_does_not_read_is_cut_off(database: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds up is memory: the reply, until somebody takes it."""
    monkeypatch.setattr(serve, "HEAD_S", 0.5)
    monkeypatch.setattr(serve, "HEADS_S", 0.05)
    monkeypatch.setattr(serve, "SLOWEST_BYTES_S", 64 << 20)
    servers, close_idle = [], serve._close_idle

    async def seen(server: Any) -> None:
        servers.append(server)
        await close_idle(server)

    monkeypatch.setattr(serve, "_close_idle", seen)
    with served(database) as address:
        ask(address, "PUT", "/v1/collections/unread", {"dimensions": 1_000})
        vectors = np.ones((2_000, 1_000)).tolist()
        ask(address, "POST", "/v1/collections/unread/points", {"ids": list(range(2_000)), "vectors": vectors})
        body = json.dumps({"query": [1] * 1_000, "k": 2_000, "with_vectors": True}).encode()
        place = urlsplit(address)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.settimeout(20)
            slow.connect((place.hostname, place.port))
            head = f"POST /v1/collections/unread/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            slow.sendall(head.encode() + body)
            assert slow.recv(15) == b"HTTP/1.1 200 OK"
            [server], until = servers, time.monotonic() + 20
            while server.server_state.connections:
                assert time.monotonic() < until
                time.sleep(0.01)  # the server tells nobody
