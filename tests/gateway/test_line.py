"""Connections to a gateway: whatever a server or a proxy may say, in whatever pieces it comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException

import pytest

from paradox.wire.line import TOGETHER_BYTES_MAX, Line, Reply

FIXED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def server(pieces: Sequence[bytes]) -> Iterator[tuple[Line, list[bytes]]]:
    """A server that takes what comes, sends pieces one by one, and hangs up; gives a line to it, and what it took."""
    door = socket.create_server(("127.0.0.1", 0))
    taken: list[bytes] = []

    def serve() -> None:
        accepted, _ = door.accept()
        with accepted:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            taken.append(accepted.recv(1 << 20))
            for piece in pieces:
                accepted.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    line = Line("127.0.0.1", door.getsockname()[1], timeout_s=10)
    try:
        line.connect()
        yield line, taken
    finally:
        line.close()
        thread.join()
        door.close()


def asked(line: Line, body: bytes = b"") -> Reply:
    line.request("POST", "/v1", body, {"Accept": "x/y"})
    return line.response()


def test_a_request_says_what_it_is_in_one_piece() -> None:
    with server([FIXED]) as (line, taken):
        reply = asked(line, b"body")
        assert (reply.status, reply.reason, reply.read(), reply.is_read) == (200, "OK", b"hello", True)
    head, _, body = taken[0].partition(b"\r\n\r\n")
    assert body == b"body"
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1 HTTP/1.1"
    assert set(lines[1:]) == {f"Host: 127.0.0.1:{line._port}", "Accept: x/y", "Content-Length: 4"}


def test_a_large_body_arrives_whole() -> None:
    door = socket.create_server(("127.0.0.1", 0))
    body = b"x" * (3 * TOGETHER_BYTES_MAX)
    received = bytearray()

    def serve() -> None:
        accepted, _ = door.accept()
        with accepted:
            while not received.endswith(body):
                received.extend(accepted.recv(1 << 16))
            accepted.sendall(FIXED)

    thread = threading.Thread(target=serve)
    thread.start()
    line = Line("127.0.0.1", door.getsockname()[1], timeout_s=10)
    line.connect()
    assert asked(line, body).read() == b"hello"
    thread.join()
    line.close()
    door.close()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "said",
    [
        FIXED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + FIXED,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_a_body_is_read_in_whatever_pieces_it_comes(said: bytes, size: int) -> None:
    stays = not (b"close" in said or b"1.0" in said or said == b"HTTP/1.1 200 OK\r\n\r\nhello")
    with server([said[start : start + size] for start in range(0, len(said), size)]) as (line, _):
        reply = asked(line)
        assert reply.status == 200
        assert reply.read() == b"hello"
        assert reply.is_read is stays
    with server([said]) as (line, _):
        reply = asked(line)
        assert [reply.read(2), reply.read(2), reply.read(2), reply.read(2)] == [b"he", b"ll", b"o", b""]
        assert reply.is_read is stays


def test_a_reply_without_a_body_ends_at_once() -> None:
    with server([b"HTTP/1.1 204 No Content\r\n\r\n"]) as (line, _):
        reply = asked(line)
        assert reply.read() == b""
        assert reply.is_read


def test_a_reply_that_was_not_read_to_its_end_keeps_its_connection_busy() -> None:
    with server([FIXED]) as (line, _):
        reply = asked(line)
        assert reply.read(4) == b"hell"
        assert not reply.is_read


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", ConnectionResetError),
        (b"SSH-2.0\r\n", HTTPException),
        (b"HTTP/1.1 two OK\r\n\r\n", HTTPException),
        (b"HTTP/1.1 200 OK\r\nContent-Le", HTTPException),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, HTTPException),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", HTTPException),
    ],
)
def test_a_head_that_is_none_is_refused(said: bytes, error: type[Exception]) -> None:
    with server([said]) as (line, _), pytest.raises(error):
        asked(line)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_a_body_that_was_cut_off_is_no_body(said: bytes) -> None:
    with server([said]) as (line, _), pytest.raises((HTTPException, OSError)):
        asked(line).read()


def test_a_line_knows_that_the_server_hung_up() -> None:
    with server([FIXED]) as (line, _):
        assert line.is_quiet()
        assert asked(line).read() == b"hello"
        line.sock.settimeout(10)  # type: ignore[union-attr]
        while line.is_quiet():
            threading.Event().wait(0.01)
    assert not line.is_quiet()
