"""A database behind a real gateway in this process, for tests that ask over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from paradox.node.serve import HttpServer
from paradox.ports.transport import Transport


@contextmanager
def served(database: Transport, *, keys: Sequence[str] = ()) -> Iterator[str]:
    """Serve a database while the block runs; gives the address."""
    server = HttpServer(host="127.0.0.1", port=0, keys=keys)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(database, ready.set))
    thread.start()
    try:
        assert ready.wait(30)
        yield server.address
    finally:
        server.stop()
        thread.join()


def ask(address: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any, dict[str, str]]:
    """Ask as any program would: JSON in, JSON out."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    connection.request(method, path, body=raw, headers={"Content-Type": "application/json", **(headers or {})})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    kind = response.headers["Content-Type"]
    return response.status, json.loads(content) if "json" in kind and "nd" not in kind else content, dict(response.headers)
