"""A database behind a real gateway in this process, for tests that ask over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from paradox.node.serve import HttpServer
from paradox.ports.transport import Transport


@contextmanager
def served(database: Transport, *, keys: Sequence[str] = ()) -> Iterator[str]:
    """Serve a database while the block runs; gives the address."""
    server = HttpServer(database, host="127.0.0.1", port=0, keys=keys)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(30)
        yield server.address
    finally:
        server.stop()
        thread.join()
