"""The gateway as an ASGI application: admits a request, lets a thread do it, and writes the reply."""

from __future__ import annotations

import asyncio
import hmac
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

import msgspec

from paradox.client.bulk import BulkForm
from paradox.errors import (
    AuthDenied,
    GatewayBusy,
    InternalError,
    LogConflict,
    ParadoxError,
    RequestTooLarge,
    RequestUnreadable,
    RouteMissing,
    StoreFull,
    StoreLocked,
)
from paradox.gateway.bulk import Incoming
from paradox.gateway.calls import Call, Route
from paradox.gateway.joining import Joining
from paradox.gateway.openapi import document
from paradox.gateway.routes import ROUTES, is_joinable, without
from paradox.model.operations import DescribeDatabase
from paradox.ports.transport import Joins, Transport
from paradox.wire.bodies import Problem, ScrollPage
from paradox.wire.pack import ARROW, LINES, MEDIA, STREAM, Form, pack, unpack

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers: TypeAlias = dict[bytes, bytes]
THREADS = 16
WAITING_MAX, STREAMS_MAX, BULKS_MAX = 256, 64, 4
"""Requests, scrolls and bulk adds that wait or run at once; who comes after them is told to come back."""
Place: TypeAlias = Literal["request", "stream", "bulk"]
BULK_FORMS: Mapping[str, BulkForm] = MappingProxyType({LINES: "lines", ARROW: "arrow"})
BODY_BYTES_MAX, BODIES_BYTES_MAX = 256 << 20, 512 << 20
"""Of one body, and of all that are being read or answered."""
JOINED_BYTES_MAX = 1 << 16
"""Of a search's body that is read at once, in the event loop."""
READ_S, SLOWEST_BYTES_S = 30.0, 64 << 10
"""How long a caller may take for a body, a reply or one page of a stream; more for each 64 KiB of it. Who is slower holds up others."""
REMEMBERED_S, REMEMBERED_MAX = 120.0, 10_000
"""How long, and how many, writes are known again when they are sent again."""
RETRY_AFTER_S = 1
LINGER_S = 2.0
"""How long those who stop wait for what did not end in the time that was given to it."""
UNDONE = (GatewayBusy, LogConflict, StoreFull, StoreLocked)
"""Failures after which nothing was done, so that the same request may be done when it comes again. Others may have left it half done, or
done: they are answered again, as a success is.
"""
PROBLEM = "application/problem+json"
EMPTY: Mapping[Form, bytes] = MappingProxyType({"json": b"{}", "msgpack": b"\x80"})
OPEN_PATHS = frozenset(("/healthz", "/readyz"))
LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?", re.IGNORECASE)


class Gateway:
    """Serves one database over HTTP. An ASGI 3 application, for servers that give `raw_path`."""

    def __init__(self, database: Transport, *, keys: Sequence[str] = (), threads: int = THREADS, waiting_max: int = WAITING_MAX) -> None:
        """keys: those that may ask; none = every program of this machine, but no web page."""
        self._database = database
        self._place_of_files = str((database.send(DescribeDatabase()) or {}).get("path", ""))
        self._keys = tuple(key.encode() for key in keys)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="paradox-gateway")
        self._running: set[Future[Any]] = set()
        self._joining = Joining(database, self._pool)
        self._bulk_pool = ThreadPoolExecutor(BULKS_MAX, thread_name_prefix="paradox-bulk")
        self._incoming: set[Incoming] = set()
        self._bytes = 0
        self._taken: dict[Place, int] = {"request": 0, "stream": 0, "bulk": 0}
        self._places: Mapping[Place, int] = {"request": waiting_max, "stream": STREAMS_MAX, "bulk": BULKS_MAX}
        self._stopping = False
        self._routes = {(route.path, route.method): route for route in ROUTES}
        self._done: OrderedDict[bytes, tuple[float, asyncio.Future[bytes]]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begun = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._answer(scope, receive, sending)
        except ParadoxError as error:
            await _complain(send, self._problem(error))
        except Exception:
            traceback.print_exc(file=sys.stderr)  # the operator's; the caller learns only that it was our fault
            if not begun:
                failure = InternalError("the server failed on this request", hint="its log says more; please report it")
                await _complain(send, self._problem(failure))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = dict(scope["headers"])
        path: str = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        if path in OPEN_PATHS:
            await _reply(send, 200, b'{"status":"ok"}', MEDIA["json"])
            return
        self._admit(headers)
        if path == "/openapi.json":
            await _reply(send, 200, document(), MEDIA["json"])
            return
        route, name = self._find(scope["method"], path)
        form = _form(headers.get(b"accept", b""))
        with self._place(route) as hold:
            if route.bulk:
                await _deliver(send, await self._bulk(route, name, headers, receive), form)
                return
            content = await _body(receive, headers, hold)
            call = Call(self._database, name, None, _form(headers.get(b"content-type", b"")), form, self._place_of_files)
            work = _Work(route, call, content, arrow=route.arrow is not None and ARROW.encode() in headers.get(b"accept", b"").lower())
            if route.streams:
                await self._stream(work, receive, send)
            elif route.joins and len(content) <= JOINED_BYTES_MAX and self._may_join(work):
                await _deliver(send, await self._joining.reply(work.call), form)
            else:
                await _deliver(send, await self._once(work, headers), form)

    def _may_join(self, work: _Work) -> bool:
        """Tell whether a search can wait for others, and is answered the sooner for it. Raises RequestUnreadable."""
        work.read()
        return is_joinable(work.call.body) and isinstance(self._database, Joins) and self._database.joins(work.call.name)

    @contextmanager
    def _place(self, route: Route) -> Iterator[Callable[[int], None]]:
        """Hold a place among those that wait; gives what takes bytes from those that all bodies may have. Raises GatewayBusy."""
        kind: Place = "bulk" if route.bulk else "stream" if route.streams else "request"
        if self._stopping:
            raise GatewayBusy("the server is stopping", hint="try again when it is back")
        if self._taken[kind] >= self._places[kind]:
            raise GatewayBusy(f"{self._taken[kind]} {kind}s are waiting already", hint=f"come back in {RETRY_AFTER_S} s")
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if held + size > BODY_BYTES_MAX:
                what = f"the body has more than {BODY_BYTES_MAX >> 20} MiB"
                raise RequestTooLarge(what, hint="send the points in several requests, or use import_")
            if self._bytes + size > BODIES_BYTES_MAX:
                raise GatewayBusy("other requests fill the memory that is set aside for bodies", hint=f"come back in {RETRY_AFTER_S} s")
            held += size
            self._bytes += size

        self._taken[kind] += 1
        try:
            yield hold
        finally:
            self._taken[kind] -= 1
            self._bytes -= held

    async def _bulk(self, route: Route, name: str, headers: Headers, receive: Receive) -> bytes:
        """Let a thread of its own read a body and add it; return the reply. It goes on when the caller goes, until it misses something."""
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if media not in BULK_FORMS:
            raise RequestUnreadable(
                f"a stream has the content type {media!r:.80}; expected {' or '.join(BULK_FORMS)}", hint="send one of them"
            )
        incoming = Incoming(BULK_FORMS[media], receive, _patience_s)
        call = Call(self._database, name, incoming, "json", "json", self._place_of_files)
        self._incoming.add(incoming)

        def work() -> bytes:
            try:
                return pack(route.run(call), _form(headers.get(b"accept", b"")))
            finally:
                self._incoming.discard(incoming)

        return await self._run(work, pool=self._bulk_pool)

    async def _once(self, work: _Work, headers: Headers) -> bytes:
        """Return the reply; to a write that was sent before under the same name, the reply it had."""
        name, now = headers.get(b"idempotency-key", b""), time.monotonic()
        if not work.route.writes or not name:
            return await self._run(work.reply)
        while self._done and (next(iter(self._done.values()))[0] < now - REMEMBERED_S or len(self._done) >= REMEMBERED_MAX):
            self._done.popitem(last=False)
        if name not in self._done:
            self._done[name] = (now, asyncio.ensure_future(self._run(work.reply)))
        try:
            return await asyncio.shield(self._done[name][1])
        except ParadoxError as error:
            if isinstance(error, UNDONE):
                self._done.pop(name, None)
            raise

    async def _run(self, work: Callable[..., bytes], *given: Any, pool: ThreadPoolExecutor | None = None) -> bytes:
        running = (pool or self._pool).submit(work, *given)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(running)

    async def _stream(self, work: _Work, receive: Receive, send: Send) -> None:
        frames = work.frames()
        frame = await self._run(next, frames, b"")  # what is wrong is told before the reply begins
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", work.media.encode())]})
        gone = asyncio.ensure_future(receive())  # completes when the reader goes
        try:
            while frame and not gone.done():
                await asyncio.wait_for(send({"type": "http.response.body", "body": frame, "more_body": True}), READ_S)
                try:
                    frame = await self._run(next, frames, b"")
                except ParadoxError as error:
                    if work.arrow:
                        return  # there is no other way to say so: the connection is closed before the reply ends
                    frame, frames = work.framed(ScrollPage(hits=[], problem=self._problem(error))), iter(())
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return  # it does not read
        finally:
            gone.cancel()

    def _admit(self, headers: Headers) -> None:
        """Raise AuthDenied unless the caller has a key, or where none is asked for, is a program and no web page."""
        if not self._keys:
            if b"origin" in headers or not LOOPBACK.fullmatch(headers.get(b"host", b"localhost").decode("latin-1")):
                raise AuthDenied(
                    "without a key this server answers no web pages, and only on its own machine", hint="set PARADOX_KEY there"
                )
            return
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise AuthDenied(
                "this server asks for a key", hint="give connect(url, key=…), set PARADOX_KEY, or send 'Authorization: Bearer …'"
            )
        same = [hmac.compare_digest(key.strip(), known) for known in self._keys]  # all are compared: time tells nothing
        if not any(same):
            raise AuthDenied("the key is not one of this server's", hint="ask its operator for a key")

    def _find(self, method: str, path: str) -> tuple[Route, str]:
        """Return the route of a request and the name in its path. Raises RouteMissing."""
        parts, name = path.split("/"), ""
        if len(parts) > 3 and parts[:3] == ["", "v1", "collections"] and parts[3]:
            name, parts[3] = unquote(parts[3]), "{name}"
        template = "/".join(parts)
        route = self._routes.get((template, method))
        if route is not None:
            return route, name
        if taken := [known for there, known in self._routes if there == template]:
            raise RouteMissing(f"{path} does not take {method}", hint=f"it takes {', '.join(taken)}")
        raise RouteMissing(f"there is nothing at {path}", hint="/openapi.json lists every path")

    def _problem(self, error: ParadoxError) -> Problem:
        """Return what callers learn of an error: not where this machine keeps its files."""
        return Problem(
            type=f"urn:paradox:{error.code}",
            title=error.code,
            status=error.status,
            detail=without(error.message, self._place_of_files),
            code=error.code,
            hint=error.hint,
            retryable=error.retryable,
        )

    def stop(self) -> None:
        """Take no more requests; those that run go on, but streams of points end with what came."""
        self._stopping = True
        for incoming in list(self._incoming):
            incoming.stop()

    def close(self) -> None:
        """Let the threads go, waiting LINGER_S for what is running; what waits is not begun, what takes longer ends with its database."""
        self.stop()
        for pool in (self._pool, self._bulk_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        wait(list(self._running), timeout=LINGER_S)


class _Work:
    """One admitted request, to be done by a thread."""

    def __init__(self, route: Route, call: Call, content: bytes, *, arrow: bool) -> None:
        """call: without its body, which `content` holds. arrow: whether the reply is an Arrow stream."""
        self.route = route
        self.arrow = arrow
        self.form = call.form
        self.call, self._content = call, content

    @property
    def media(self) -> str:
        """The content type of a stream."""
        return ARROW if self.arrow else STREAM[self.form]

    def read(self) -> None:
        """Read the body, if there is one and it was not read. Raises RequestUnreadable."""
        if self.route.body is not None and self.call.body is None:
            body = unpack(self._content or EMPTY[self.call.given], self.call.given, self.route.body)
            self.call = msgspec.structs.replace(self.call, body=body)

    def _run(self) -> Any:
        self.read()
        return self.route.run(self.call)

    def reply(self) -> bytes:
        """Return the bytes of the reply."""
        return pack(self._run(), self.form)

    def frames(self) -> Iterator[bytes]:
        """Yield the bytes of a stream's frames."""
        if self.arrow and self.route.arrow is not None:
            self.read()
            yield from self.route.arrow(self.call)
            return
        for part in self._run():
            yield self.framed(part)

    def framed(self, part: Any) -> bytes:
        """Return a part of a stream as a frame: JSON on a line, MessagePack behind its length."""
        packed = pack(part, self.form)
        return packed + b"\n" if self.form == "json" else len(packed).to_bytes(4, "little") + packed


def _form(header: bytes) -> Form:
    """Return the first form of a Content-Type or Accept that is known; JSON when none is."""
    for part in header.lower().split(b","):
        media, *parameters = (word.strip() for word in part.split(b";"))
        if b"q=0" not in parameters and media in (b"application/msgpack", b"application/json"):
            return "msgpack" if media == b"application/msgpack" else "json"
    return "json"


async def _body(receive: Receive, headers: Headers, hold: Callable[[int], None]) -> bytes:
    """Return the body of a request. hold: takes bytes before they are read. Raises what that raises, RequestUnreadable when it was cut."""
    begun = time.monotonic()
    said = headers.get(b"content-length", b"")
    expected = int(said) if said.isdigit() else 0
    hold(expected)
    parts, size, more = [], 0, True
    while more:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, begun + _patience_s(size) - time.monotonic()))
        except TimeoutError:
            what = f"{size:,} bytes of the body came in {time.monotonic() - begun:.0f} s; the rest was not waited for"
            raise RequestUnreadable(what, hint="send it faster, or in smaller parts") from None
        if message["type"] == "http.disconnect":
            raise RequestUnreadable("the request was cut off", hint="send it again")
        part = message.get("body", b"")
        hold(max(0, size + len(part) - max(size, expected)))
        parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _patience_s(size: int) -> float:
    """Return how long a caller may take to send or read so many bytes."""
    return READ_S + size / SLOWEST_BYTES_S


async def _complain(send: Send, problem: Problem) -> None:
    more = [(b"retry-after", str(RETRY_AFTER_S).encode())] if problem.retryable else []
    more += [(b"www-authenticate", b"Bearer")] if problem.status == AuthDenied.status else []
    await _reply(send, problem.status, msgspec.json.encode(problem), PROBLEM, more)


async def _deliver(send: Send, content: bytes, form: Form) -> None:
    with suppress(TimeoutError):  # it does not read; the connection is closed
        await asyncio.wait_for(_reply(send, 200, content, MEDIA[form]), _patience_s(len(content)))


async def _reply(send: Send, status: int, content: bytes, media: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    headers = [(b"content-type", media.encode()), (b"content-length", str(len(content)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
