"""The gateway as an ASGI application: reads a request, admits it, lets a thread do it, and writes the reply."""

from __future__ import annotations

import hmac
import re
import sys
import traceback
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from paradox.errors import AuthDenied, GatewayBusy, InternalError, ParadoxError, RequestTooLarge, RouteMissing
from paradox.gateway.openapi import document
from paradox.gateway.routes import ROUTES, Call, Route
from paradox.ports.transport import Transport
from paradox.wire.bodies import Problem
from paradox.wire.pack import MEDIA, Form, pack, unpack

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
THREADS = 16
WAITING_MAX = 256
"""Requests that wait or run at once; who comes after them is told to come back."""
BODY_BYTES_MAX = 256 << 20
RETRY_AFTER_S = 1
PROBLEM = "application/problem+json"
STREAM: Mapping[Form, str] = MappingProxyType({"json": "application/x-ndjson", "msgpack": "application/x-msgpack-stream"})
OPEN_PATHS = frozenset(("/healthz", "/readyz"))


class Gateway:
    """Serves one database over HTTP. An ASGI 3 application."""

    def __init__(self, database: Transport, *, keys: Sequence[str] = (), threads: int = THREADS, waiting_max: int = WAITING_MAX) -> None:
        """keys: those that may ask; none = everybody who can connect."""
        self._database = database
        self._keys = tuple(key.encode() for key in keys)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="paradox-gateway")
        self._waiting = 0
        self._waiting_max = waiting_max
        self._routes = [(route, _pattern(route.path)) for route in ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        form: Form = "msgpack" if MEDIA["msgpack"].encode() in headers.get(b"accept", b"") else "json"
        try:
            await self._answer(scope, headers, form, receive, send)
        except ParadoxError as error:
            await _complain(send, error)
        except Exception:
            traceback.print_exc(file=sys.stderr)  # the operator's; the caller learns only that it was our fault
            await _complain(send, InternalError("the server failed on this request", hint="its log says more; please report it"))

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], form: Form, receive: Receive, send: Send) -> None:
        path: str = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        if path in OPEN_PATHS:
            await _reply(send, 200, b'{"status":"ok"}', MEDIA["json"])
            return
        self._admit(headers)
        if path == "/openapi.json":
            await _reply(send, 200, document(), MEDIA["json"])
            return
        route, name = self._find(scope["method"], path)
        content = await _body(receive, headers)
        if self._waiting >= self._waiting_max:
            raise GatewayBusy(f"{self._waiting} requests are waiting already", hint=f"come back in {RETRY_AFTER_S} s")
        self._waiting += 1
        try:
            given: Form = "msgpack" if MEDIA["msgpack"].encode() in headers.get(b"content-type", b"") else "json"
            work = _Work(route, self._database, name, content, given, form)
            if route.streams:
                await self._stream(work, send)
            else:
                await _reply(send, 200, await get_running_loop().run_in_executor(self._pool, work.reply), MEDIA[form])
        finally:
            self._waiting -= 1

    async def _stream(self, work: _Work, send: Send) -> None:
        loop = get_running_loop()
        frames = work.frames()
        frame = await loop.run_in_executor(self._pool, next, frames, b"")  # what is wrong is told before the reply begins
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", STREAM[work.form].encode())]})
        while frame:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            frame = await loop.run_in_executor(self._pool, next, frames, b"")
        await send({"type": "http.response.body", "body": b""})

    def _admit(self, headers: dict[bytes, bytes]) -> None:
        if not self._keys:
            return
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise AuthDenied("this server asks for a key", hint="send 'Authorization: Bearer …', or connect(url, key=…)")
        same = [hmac.compare_digest(key.strip(), known) for known in self._keys]  # all are compared: time tells nothing
        if not any(same):
            raise AuthDenied("the key is not one of this server's", hint="ask its operator for a key")

    def _find(self, method: str, path: str) -> tuple[Route, str]:
        """Return the route of a request and the name in its path. Raises RouteMissing."""
        methods = []
        for route, pattern in self._routes:
            if found := pattern.fullmatch(path):
                if route.method == method:
                    return route, unquote(found.groupdict().get("name", ""))
                methods.append(route.method)
        if methods:
            raise RouteMissing(f"{path} does not take {method}", hint=f"it takes {', '.join(methods)}")
        raise RouteMissing(f"there is nothing at {path}", hint="/openapi.json lists every path")

    def close(self) -> None:
        """Wait for what is running, and let the threads go."""
        self._pool.shutdown(cancel_futures=True)


class _Work:
    """One admitted request, to be done by a thread."""

    def __init__(self, route: Route, database: Transport, name: str, content: bytes, given: Form, form: Form) -> None:
        self.form = form
        self._route, self._database, self._name, self._content, self._given = route, database, name, content, given

    def _run(self) -> Any:
        body = None if self._route.body is None else unpack(self._content or b"{}", self._given, self._route.body)
        return self._route.run(Call(self._database, self._name, body, self._given if body is not None else self.form, self.form))

    def reply(self) -> bytes:
        """Return the bytes of the reply."""
        return pack(self._run(), self.form)

    def frames(self) -> Iterator[bytes]:
        """Yield the bytes of a stream's frames: JSON on a line each, MessagePack behind its length."""
        for part in self._run():
            packed = pack(part, self.form)
            yield packed + b"\n" if self.form == "json" else len(packed).to_bytes(4, "little") + packed


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(re.escape("{name}"), "(?P<name>[^/]+)"))


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """Return the body of a request. Raises RequestTooLarge as soon as that is known."""
    said = headers.get(b"content-length", b"0")
    parts, size = [], int(said) if said.isdigit() else 0
    more = True
    while more:
        if size > BODY_BYTES_MAX:
            raise RequestTooLarge(
                f"the body has more than {BODY_BYTES_MAX >> 20} MiB", hint="send the points in several requests, or use import_"
            )
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size = max(size, sum(map(len, parts)))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _complain(send: Send, error: ParadoxError) -> None:
    problem = Problem(
        type=f"urn:paradox:{error.code}",
        title=error.code,
        status=error.status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        retryable=error.retryable,
    )
    more = [(b"retry-after", str(RETRY_AFTER_S).encode())] if error.retryable else []
    more += [(b"www-authenticate", b"Bearer")] if isinstance(error, AuthDenied) else []
    await _reply(send, error.status, msgspec.json.encode(problem), PROBLEM, more)


async def _reply(send: Send, status: int, content: bytes, media: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"content-type", media.encode()), (b"content-length", str(len(content)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
