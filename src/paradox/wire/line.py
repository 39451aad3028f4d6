"""Lines: connections to a gateway, for requests that are small and many.

Python's own write head and body in two packets and read headers with the parser that is meant for mail, which took more than half of what
a search cost its caller. Only what a gateway and proxies before it say is understood: HTTP/1.1 with a length, in chunks, or to the end.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from io import BufferedReader

LINE_BYTES_MAX, HEADERS_MAX = 1 << 16, 100
TOGETHER_BYTES_MAX = 1 << 16
"""Of a body that is sent in one piece with the head before it."""
CONTINUES = range(100, 200)
BODILESS = (204, 304)


class Line:
    """One connection, for one request at a time."""

    def __init__(self, host: str, port: int, *, timeout_s: float, context: ssl.SSLContext | None = None) -> None:
        """context: speak TLS. Nothing is connected yet."""
        self.sock: socket.socket | None = None
        self._host, self._port = host, port
        self._timeout_s = timeout_s
        self._context = context
        name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        self._named = name if port == (443 if context else 80) else f"{name}:{port}"
        self._reader: BufferedReader | None = None

    def connect(self) -> None:
        """Connect. Raises OSError."""
        sock = socket.create_connection((self._host, self._port), self._timeout_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = sock if self._context is None else self._context.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        self._reader = self.sock.makefile("rb")

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a request; the last reply was read to its end. path: with nothing in it that would have to be quoted. Raises OSError."""
        assert self.sock is not None, "connected before"
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._named}", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode("latin-1")
        if len(body) > TOGETHER_BYTES_MAX:
            self.sock.sendall(head)
            self.sock.sendall(body)
        else:
            self.sock.sendall(head + body)

    def response(self) -> Reply:
        """Return the reply, its head read. Raises HTTPException, OSError."""
        assert self._reader is not None, "connected before"
        return Reply(self._reader)

    def is_quiet(self) -> bool:
        """Tell whether the server has sent nothing, which between two requests would be the end of the connection."""
        return self.sock is not None and not select.select([self.sock], [], [], 0)[0]

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        reader, self._reader, sock, self.sock = self._reader, None, self.sock, None
        for one in (reader, sock):
            if one is not None:
                with suppress(OSError):
                    one.close()


class Reply:
    """A reply whose head was read."""

    def __init__(self, reader: BufferedReader) -> None:
        """Read the head. Raises HTTPException, OSError."""
        self._reader = reader
        self.status, self.reason, self.headers = _head(reader)
        while self.status in CONTINUES:
            self.status, self.reason, self.headers = _head(reader)
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length", "")
        self._left: int | None = None  # bytes of the body, or of its chunk, that were not read; None = up to the end of the connection
        if self._chunked or self.status in BODILESS:
            self._left = 0
        elif length.isdigit():
            self._left = int(length)
        self._ended = self._left == 0 and not self._chunked
        self._stays = self._left is not None and "close" not in self.headers.get("connection", "").lower()

    @property
    def is_read(self) -> bool:
        """Whether all of it was read, and the connection can be used again."""
        return self._ended and self._stays

    def read(self, size: int | None = None) -> bytes:
        """Return the next `size` bytes of the body, fewer at its end; None = all that is left. Raises HTTPException, OSError."""
        parts: list[bytes] = []
        wanted = size
        while not self._ended and wanted != 0:
            part = self._part(wanted)
            parts.append(part)
            wanted = None if wanted is None else wanted - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, wanted: int | None) -> bytes:
        """Return some bytes of the body, `wanted` at most; none only at its end."""
        if self._chunked and self._left == 0:
            self._begin_chunk()
            return b""
        most = wanted if self._left is None else self._left if wanted is None else min(wanted, self._left)
        part = self._reader.read(-1 if most is None else most)
        if self._left is None:
            self._ended = wanted is None or len(part) < wanted
            return part
        if most is not None and len(part) < most:
            raise HTTPException("the reply was cut off")
        self._left -= len(part)
        if self._left == 0 and self._chunked:
            _line(self._reader)  # what ends a chunk
        self._ended = self._left == 0 and not self._chunked
        return part

    def _begin_chunk(self) -> None:
        size = _line(self._reader).partition(";")[0].strip()
        try:
            self._left = int(size, 16)
        except ValueError:
            raise HTTPException(f"a chunk of the reply has the length {size!r:.40}") from None
        if self._left == 0:
            while _line(self._reader):
                continue
            self._ended = True


def _head(reader: BufferedReader) -> tuple[int, str, dict[str, str]]:
    """Return status, reason and headers, their names in small letters. Raises HTTPException, ConnectionResetError when nobody replied."""
    first = _line(reader)
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not code.isdigit():
        raise HTTPException(f"a reply begins with {first!r:.40}")
    headers: dict[str, str] = {} if version != "HTTP/1.0" else {"connection": "close"}
    for _ in range(HEADERS_MAX):
        line = _line(reader)
        if not line:
            return int(code), reason, headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise HTTPException(f"a reply has more than {HEADERS_MAX} headers")


def _line(reader: BufferedReader) -> str:
    line = reader.readline(LINE_BYTES_MAX + 1)
    if not line:
        raise ConnectionResetError("the connection was closed without a reply")
    if not line.endswith(b"\n"):
        raise HTTPException("a line of the reply is too long, or was cut off")
    return line.decode("latin-1").rstrip("\r\n")
