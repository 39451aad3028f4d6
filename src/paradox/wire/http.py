"""The way to a database behind a gateway: operations over HTTP, with MessagePack bodies.

Connections are kept and requests.shared among threads. A request that may not have been answered is sent again under the same name, and the
gateway does what it has done already only once.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from paradox.errors import (
    AuthDenied,
    GatewayBusy,
    GatewayUnreachable,
    InvalidRequest,
    ParadoxError,
    RequestUnreadable,
    error_of,
)
from paradox.model import operations as ops
from paradox.model.points import id_of, made_keys
from paradox.model.queries import Answer, Answers, Plan, Question
from paradox.wire import bodies, requests
from paradox.wire.guard import Guard
from paradox.wire.line import Line
from paradox.wire.line import Reply as HttpReply
from paradox.wire.pack import MEDIA, pack, unpack

Reply = TypeVar("Reply")
AGENT = "paradox"
FRAME = 4
"""Bytes of the length before each frame of a stream, little endian."""
WAIT_MIN_S, WAIT_MAX_S = 0.05, 2.0
IDLE_CONNECTIONS_MAX = 32
REPLY_S, GRACE_S = 60.0, 2.0
"""How long a reply may take; a question with a deadline has that, and a grace for the way."""


class HttpTransport:
    """A Transport to a gateway. Thread-safe."""

    def __init__(self, url: str, *, key: str | None, timeout_s: float, read_only: bool = False) -> None:
        """timeout_s: how long to go on trying while nobody answers. Raises InvalidRequest, GatewayUnreachable, AuthDenied."""
        parts = urlsplit(url)
        try:
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise InvalidRequest(f"{url!r:.200} is no address of a gateway", hint="give 'http://host:6500'")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        self._host, self._secure, self._path = parts.hostname, parts.scheme == "https", quote(parts.path.rstrip("/"), safe="/%")
        self._port = port or (443 if self._secure else 6500)
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": MEDIA["msgpack"], "Accept": MEDIA["msgpack"], "User-Agent": AGENT}
        if key:
            if not (isinstance(key, str) and key.isascii() and key.isprintable()):
                raise InvalidRequest("the key holds signs that no key has", hint="keys are of printable ASCII signs, without line breaks")
            self._headers["Authorization"] = f"Bearer {key}"
        self._context = ssl.create_default_context() if self._secure else None
        self._idle: list[Line] = []
        self._lock = Lock()
        self._guard = Guard(read_only=read_only)
        self.send(ops.ListCollections())  # says at once whether somebody answers, and takes the key

    # -- the Transport

    def send(self, operation: ops.Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        self._guard.check(operation)
        match operation:
            case ops.Ask():
                return self._ask(operation)
            case ops.AddPoints():
                return self._add(operation)
            case ops.GetPoints(collection=name, keys=keys, with_vectors=with_vectors, using=using):
                body = bodies.GetBody(ids=keys, with_vectors=with_vectors, using=using or None, **requests.seeing(operation))
                return requests.answer_of(self._post(name, "points/get", body, requests.Points).hits)
            case ops.UpdatePoints(collection=name, keys=keys, payloads=payloads, after=after):
                update = bodies.UpdateBody(ids=keys, payload=[msgspec.Raw(payload) for payload in payloads], after=after or None)
                return requests.receipt_of(self._request("PATCH", requests.points_path(name), update, bodies.ReceiptReply))
            case ops.DeletePoints(collection=name, keys=keys, where=where, after=after):
                gone = bodies.DeleteBody(ids=keys, where=requests.text_of(where), after=after or None)
                return requests.receipt_of(self._post(name, "points/delete", gone, bodies.ReceiptReply))
            case ops.CountPoints(collection=name, where=where):
                counted = bodies.CountBody(where=requests.text_of(where), **requests.seeing(operation))
                return self._post(name, "count", counted, dict[str, int])["count"]
            case ops.ScrollPoints():
                return self._scroll(operation)
            case ops.ExplainPlan(collection=name, question=question, like=like):
                return self._post(name, "explain", requests.search_body(question, like), Plan, reply_s=None)
            case ops.OpenCollection():
                return self._guard.open(operation, self._open)
            case ops.ListCollections():
                return self._request("GET", "/v1/collections", None, dict[str, list[str]])["collections"]
            case ops.DropCollection(name=name):
                self._request("DELETE", requests.collection_path(name), None, dict[str, Any])
                return None
            case ops.DescribeCollection(collection=name):
                return self._request("GET", requests.collection_path(name), None, dict[str, Any])
            case ops.DescribeDatabase():
                return self._request("GET", "/v1/status", None, dict[str, Any]) | {"path": self.url}
            case ops.SplitRegion(collection=name, region=region):
                return self._request("POST", "/v1/cluster/split", bodies.SplitBody(collection=name, region=region), dict[str, Any])
            case ops.MoveShard(collection=name, shard=shard, node=node):
                moved = bodies.MoveBody(collection=name, shard=shard, node=node)
                return self._request("POST", "/v1/cluster/move", moved, dict[str, Any])
            case ops.VerifyDatabase():
                return self._request("POST", "/v1/verify", None, dict[str, Any], reply_s=None)

    def close(self) -> None:
        """Let go of the connections. Safe to call twice."""
        self._guard.closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # -- operations that are more than one request and one reply

    def _open(self, operation: ops.OpenCollection) -> ops.CollectionView:
        path = requests.collection_path(operation.name)
        try:
            body = bodies.CollectionBody(**operation.wanted)
        except TypeError as error:
            raise InvalidRequest(str(error), hint="see the arguments of collection()") from None
        method, path = ("PUT", path) if operation.create else ("POST", f"{path}/open")
        return self._request(method, path, body, ops.CollectionView)

    def _add(self, operation: ops.AddPoints) -> ops.Receipt:
        keys = (
            operation.keys
            if operation.keys is not None
            else made_keys(operation.rows, time.time_ns() // 1_000_000, os.urandom(10 * operation.rows))
        )  # so that sending it twice adds them once
        body = bodies.AddBody(
            texts=operation.texts,
            ids=keys,
            vectors=operation.vectors or None,
            payload=None if operation.payloads is None else [msgspec.Raw(payload) for payload in operation.payloads],
            modality=requests.shared(operation.modality),
            at=None if operation.at_us is None else operation.at_us.astype("<M8[us]"),
            present=operation.present or None,
        )
        receipt = self._request("POST", requests.points_path(operation.collection), body, bodies.ReceiptReply)
        return ops.Receipt(ids=[id_of(key) for key in keys], position=receipt.position)

    def _ask(self, operation: ops.Ask) -> Answers:
        question = operation.question
        many = (len(question.vectors) if question.vectors is not None else len(question.texts)) > 1
        if many:
            body: Any = requests.search_many_body(question)
            reply: Any = self._post(operation.collection, "search/batch", body, requests.FoundMany, reply_s=_patience(question))
            found = reply.hits
        else:
            body = requests.search_body(question, operation.like)
            reply = self._post(operation.collection, "search", body, requests.Found, reply_s=_patience(question))
            found = [reply.hits]
        plan = reply.plan if reply.plan is not None else partial(self._plan, operation)
        return Answers(
            of=[requests.answer_of(rows) for rows in found],
            position=reply.position,
            coverage=reply.coverage,
            trace=plan,
            asks_again=reply.plan is None,
        )

    def _plan(self, operation: ops.Ask, number: int = 0) -> Plan | None:
        """Ask again, for the plan of one query: most who search never look at it."""
        question = operation.question
        one = msgspec.structs.replace(
            question,
            vectors=None if question.vectors is None else question.vectors[number : number + 1],
            texts=question.texts[number : number + 1],
        )
        body = msgspec.structs.replace(requests.search_body(one, operation.like), plan=True)
        return self._post(operation.collection, "search", body, requests.Found).plan

    def _scroll(self, operation: ops.ScrollPoints) -> ops.Scroll:
        body = bodies.ScrollBody(
            where=requests.text_of(operation.where),
            batch=operation.batch,
            with_vectors=operation.with_vectors,
            using=operation.using or None,
            **requests.seeing(operation),
        )
        path = f"{requests.collection_path(operation.collection)}/scroll"
        connection, response = self._exchange("POST", path, pack(body, "msgpack"), REPLY_S)
        frames = _frames(response)
        head = _unpacked(next(frames, b""), bodies.ScrollReply)
        return ops.Scroll(answers=self._pages(connection, response, frames), total=head.total, position=head.position)

    def _pages(self, connection: Line, response: HttpReply, frames: Iterator[bytes]) -> Iterator[Answer]:
        try:
            for frame in frames:
                page = _unpacked(frame, requests.Page)
                if page.problem is not None:
                    raise error_of(page.problem.code, page.problem.detail, hint=page.problem.hint)
                if page.last:
                    response.read()  # what ends the reply
                    return
                yield requests.answer_of(page.hits)
            raise GatewayUnreachable("the connection ended before the last page of a scroll", hint="scroll again")
        except (HTTPException, OSError) as reason:
            raise GatewayUnreachable(f"the connection ended within a scroll: {_reason(reason)}", hint="scroll again") from None
        finally:
            self._put_back(connection, response)

    # -- requests

    def _post(self, name: str, verb: str, body: Any, kind: type[Reply], *, reply_s: float | None = REPLY_S) -> Reply:
        return self._request("POST", f"{requests.collection_path(name)}/{verb}", body, kind, reply_s=reply_s)

    def _request(self, method: str, path: str, body: Any, kind: type[Reply], *, reply_s: float | None = REPLY_S) -> Reply:
        content = pack(body, "msgpack") if body is not None else b""
        until, wait_s = time.monotonic() + self._timeout_s, WAIT_MIN_S
        name = os.urandom(12).hex()
        while True:
            try:
                connection, response = self._exchange(method, path, content, reply_s, name=name, until=until)
                try:
                    raw = response.read()
                finally:
                    self._put_back(connection, response)
                return _unpacked(raw, kind)
            except TimeoutError as reason:
                raise self._unreachable(reason) from None  # it is still at it: not to be asked twice
            except (HTTPException, OSError) as reason:
                if time.monotonic() + wait_s > until:
                    raise self._unreachable(reason) from None
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, WAIT_MAX_S)

    def _exchange(
        self, method: str, path: str, content: bytes, reply_s: float | None, *, name: str = "", until: float | None = None
    ) -> tuple[Line, HttpReply]:
        """Send a request until somebody answers it, timeout_s at most. Raises what the answer says, GatewayUnreachable.

        name: of the request, the same at each attempt, by which the gateway knows it again.
        """
        until, wait_s = time.monotonic() + self._timeout_s if until is None else until, WAIT_MIN_S
        headers = {**self._headers, "Idempotency-Key": name} if name else self._headers
        while True:
            error: ParadoxError
            connection = self._take()
            try:
                if connection.sock is None:
                    connection.connect()
                assert connection.sock is not None, "connected"
                connection.sock.settimeout(reply_s)
                connection.request(method, self._path + path, content, headers)
                response = connection.response()
                if response.status < 300:
                    return connection, response
                raw = response.read()
                error = _error_of(response, raw)
                self._put_back(connection, response)
                wait_s = max(wait_s, _seconds(response.headers.get("retry-after")))
            except TimeoutError as reason:
                connection.close()
                raise self._unreachable(reason) from None  # it may still be at it: not to be asked twice
            except (HTTPException, OSError) as reason:
                connection.close()
                error = self._unreachable(reason)
            if not isinstance(error, GatewayBusy | GatewayUnreachable) or time.monotonic() + wait_s > until:
                raise error
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, WAIT_MAX_S)

    def _unreachable(self, reason: Exception) -> GatewayUnreachable:
        what, hint = _reason(reason), "is it running? `paradox serve` prints its address"
        if self._secure and type(reason).__name__.startswith("SSL"):
            what, hint = "it does not speak https as we know it", f"if it serves without TLS, give http://{self._host}:{self._port}"
        return GatewayUnreachable(f"{self.url} does not answer: {what}", hint=hint)

    def _take(self) -> Line:
        """Return an idle connection that the server has not let go of, or a new one that is not connected yet."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return Line(self._host, self._port, timeout_s=max(1.0, self._timeout_s), context=self._context)
            if connection.is_quiet():
                return connection
            connection.close()

    def _put_back(self, connection: Line, response: HttpReply) -> None:
        """Keep a connection whose reply was read to its end; close any other."""
        with self._lock:
            if response.is_read and not self._guard.closed and len(self._idle) < IDLE_CONNECTIONS_MAX:
                self._idle.append(connection)
                return
        connection.close()


def _patience(question: Question) -> float:
    """Return how long the reply to a question may take."""
    return REPLY_S if question.deadline_s is None else question.deadline_s + GRACE_S


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdigit() else 0.0


def _unpacked(raw: bytes, kind: type[Reply]) -> Reply:
    try:
        return unpack(raw, "msgpack", kind)
    except RequestUnreadable:
        raise GatewayUnreachable("the answer is not one of Paradox", hint="is this the address of a Paradox gateway?") from None


def _frames(response: HttpReply) -> Iterator[bytes]:
    """Yield the frames of a stream, each behind its length; a last one that was cut off is left out."""
    while lead := response.read(FRAME):
        size = int.from_bytes(lead, "little")
        frame = response.read(size)
        if len(frame) < size:
            return
        yield frame


def _error_of(response: HttpReply, raw: bytes) -> ParadoxError:
    """Return the error that a reply tells of; one that is not ours comes from something in between."""
    try:
        problem = msgspec.json.decode(raw, type=bodies.Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        if response.status in (401, 403):
            return AuthDenied(f"the server refused the key ({response.status})", hint="give key=…")
        return GatewayUnreachable(
            f"the server answered {response.status} {response.reason}", hint="is this the address of a Paradox gateway?"
        )
    return error_of(problem.code, problem.detail, hint=problem.hint)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
