"""Serving a folder over HTTP: the gateway over an embedded database, in one process. The only file that imports uvicorn."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from paradox.errors import ExtraMissing, GatewayUnreachable, InvalidRequest
from paradox.gateway.app import SLOWEST_BYTES_S, Gateway
from paradox.ports.transport import Transport

if TYPE_CHECKING:
    import uvicorn

BACKLOG = 1024
STOP_S = 10
"""How long requests that run may take to end when the server is told to stop."""
LOOK_S = 0.005
HEAD_S, HEADS_S = 30.0, 1.0
"""How long a connection may take for the head of its next request, and how often that is looked at."""


class HttpServer:
    """Listens from the start; answers while `run` runs. SIGINT and SIGTERM stop it when that is in the main thread."""

    def __init__(self, *, host: str, port: int, keys: Sequence[str] = ()) -> None:
        """port: 0 = any that is free. keys: one of which a caller must give; none = nobody is asked for one.

        Raises ExtraMissing, InvalidRequest for an open door without keys, GatewayUnreachable when the port is taken.
        """
        try:
            import uvicorn  # noqa: F401
        except ImportError:
            raise ExtraMissing("serving needs uvicorn", hint="pip install 'paradox-memory[cluster]'") from None
        if not keys and not _is_loopback(host):
            raise InvalidRequest(
                f"{host} can be reached from other machines, and there is no key", hint="set PARADOX_KEY, or listen on 127.0.0.1"
            )
        self._door = _listen(host, port)
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self._door.getsockname()[1]}"
        self._keys = keys
        self._gateway: Gateway | None = None
        self._server: uvicorn.Server | None = None

    def run(self, database: Transport, ready: Callable[[], None]) -> None:
        """Answer from a database until told to stop; the caller closes it. ready: called once requests are answered."""
        import uvicorn

        self._gateway = Gateway(database, keys=self._keys)
        config = uvicorn.Config(
            self._gateway,
            log_level="warning",
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = uvicorn.Server(config)
        # uvicorn raises a signal again when it has stopped, and SIGTERM would end us before the database is closed
        self._server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]
        try:
            with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
                runner.run(self._run(self._server, ready))
        finally:
            self._gateway.close()
            self._door.close()

    async def _run(self, server: uvicorn.Server, ready: Callable[[], None]) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        serving = asyncio.create_task(server.serve(sockets=[self._door]))
        while not server.started and not serving.done():
            await asyncio.sleep(LOOK_S)  # uvicorn tells nobody
        if server.started:
            ready()
        watching = asyncio.create_task(_close_idle(server))
        try:
            await serving
        finally:
            watching.cancel()

    def stop(self) -> None:
        """Let `run` return once the running requests are answered. From any thread."""
        if self._gateway is not None and self._server is not None:
            self._gateway.stop()
            self._server.should_exit = True


async def _close_idle(server: uvicorn.Server) -> None:
    """Close connections that bring no whole head of a request, and cut those that do not read the reply: uvicorn waits for ever."""
    since: dict[Any, tuple[Any, float]] = {}
    while True:
        await asyncio.sleep(HEADS_S)
        now, before, since = time.monotonic(), since, {}
        for one in list(server.server_state.connections):
            cycle: Any = getattr(one, "cycle", None)
            if cycle is None or cycle.response_complete:
                last, at = before.get(one, (cycle, now))
                since[one] = (cycle, at if last is cycle else now)
                waited_s, unread = now - since[one][1], one.transport.get_write_buffer_size()
                if waited_s >= 2 * HEAD_S + unread / SLOWEST_BYTES_S:
                    one.transport.abort()
                elif waited_s >= HEAD_S:
                    one.transport.close()  # once the reply is read


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        door.close()
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise GatewayUnreachable(
            f"cannot listen on {host}:{port}: {reason}", hint="name another --port; 0 takes any that is free"
        ) from None
    return door
