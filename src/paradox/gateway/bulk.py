"""Bulk: bodies of any length, read and added a part at a time, so that no more of one is in memory; and views as Arrow streams."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import CancelledError, Future
from typing import Any

import msgspec

from paradox.client import intake
from paradox.client.bulk import BulkForm, columns_in, emptiness, is_empty, parts_of_written
from paradox.client.formats import Page
from paradox.errors import GatewayBusy, InvalidRequest, ParadoxError, RequestTooLarge, RequestUnreadable
from paradox.gateway.calls import Call
from paradox.model.queries import Answer
from paradox.model.schema import CollectionSpec
from paradox.wire.bodies import BulkReply

PART_BYTES_MAX = 64 << 20
"""Of one record batch or one line: as much of a body as may be in memory."""
BLOCK_BYTES = 1 << 20
READ_S = 30.0
"""How long a caller may bring nothing."""


class Incoming(io.RawIOBase):
    """A body as a file, for a thread that reads it while it comes: the caller sends no faster than it is read."""

    def __init__(
        self, form: BulkForm, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], patience_s: Callable[[int], float]
    ) -> None:
        """For the event loop. patience_s: how long a caller may take for so many bytes."""
        self.form = form
        self._receive = receive
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._held = memoryview(b"")
        self._size = self._size_of_part = 0
        self._waited_s = 0.0
        self._ended = self._stopped = False
        self._asked: Future[MutableMapping[str, Any]] | None = None

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there is something. Raises RequestUnreadable when the rest does not come, RequestTooLarge."""
        while not self._held and not self._ended:
            self._held = self._next()
        taken = min(len(buffer), len(self._held))
        buffer[:taken] = self._held[:taken]
        self._held = self._held[taken:]
        self._size_of_part += taken
        if self._size_of_part > PART_BYTES_MAX + BLOCK_BYTES:
            raise self._too_large()
        return taken

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end. Raises RequestTooLarge before it makes room for more than a part may have."""
        if not 0 <= size <= PART_BYTES_MAX:
            raise self._too_large()
        parts, left = [], size
        while left and (part := bytearray(min(left, BLOCK_BYTES))) and (taken := self.readinto(part)):
            parts.append(bytes(part[:taken]))
            left -= taken
        return b"".join(parts)

    @staticmethod
    def _too_large() -> RequestTooLarge:
        return RequestTooLarge(
            f"a part of the stream has more than {PART_BYTES_MAX >> 20} MiB", hint="write smaller record batches, or shorter lines"
        )

    def begin_part(self) -> None:
        """Count the bytes of the next part."""
        self._size_of_part = 0

    def stop(self) -> None:
        """Let the reader go with what it has. From any thread."""
        self._stopped = True
        if self._asked is not None:
            self._asked.cancel()

    def _next(self) -> memoryview:
        begun, asked = time.monotonic(), _awaited(self._receive)
        left_s = max(0.0, min(READ_S, self._patience_s(self._size) - self._waited_s))  # what it had too much once is no credit for later
        try:
            if self._stopped:
                raise CancelledError
            self._asked = coming = asyncio.run_coroutine_threadsafe(asked, self._loop)
            message = coming.result(left_s)
        except (CancelledError, RuntimeError):  # the loop is closed
            asked.close()
            raise GatewayBusy("the server is stopping", hint="send the rest again when it is back") from None
        except TimeoutError:
            coming.cancel()
            what = f"{self._size:,} bytes of the body came in {self._waited_s + left_s:.0f} s; the rest was not waited for"
            raise RequestUnreadable(what, hint="send it faster") from None
        self._waited_s += time.monotonic() - begun
        if message["type"] == "http.disconnect":
            raise RequestUnreadable("the request was cut off", hint="send the rest again")
        self._ended = not message.get("more_body", False)
        content = memoryview(message.get("body", b""))
        self._size += len(content)
        return content


async def _awaited(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> MutableMapping[str, Any]:
    return await receive()


def add(call: Call) -> BulkReply:
    """Add the points of a stream, part by part. Raises what is wrong with one, and says how many points before it are added."""
    view = call.view()
    incoming: Incoming = call.body
    points = position = 0
    try:
        stream: Any = incoming if incoming.form == "arrow" else io.BufferedReader(incoming, BLOCK_BYTES)
        for columns in columns_in(stream, incoming.form):
            parts = parts_of_written(columns, view)
            if is_empty(parts):
                raise emptiness("the stream", columns, view)
            for addition in intake.additions(view, None, parts):
                receipt = call.database.send(addition)
                points, position = points + len(receipt.ids), receipt.position
            incoming.begin_part()
    except ParadoxError as error:
        before = f"after {points:,} points, which are added" if points else "no point was added"
        raise type(error)(f"{error.message} ({before})", hint=error.hint) from None
    if not points:
        raise InvalidRequest("the stream holds no points", hint="one JSON object a line, or Arrow record batches")
    return BulkReply(points=points, position=position)


def written(answers: Iterable[Answer], spec: CollectionSpec, using: str | None) -> Iterator[bytes]:
    """Yield answers as an Arrow IPC stream, with the vectors of this name. Raises ExtraMissing."""
    from paradox.client.frames import stream_pages

    shown = msgspec.structs.replace(spec, vectors={using: spec.vectors[using]} if using is not None else {})
    return stream_pages((_page(answer, using) for answer in answers), shown)


def _page(answer: Answer, using: str | None) -> Page:
    return Page(
        keys=answer.keys,
        vectors={} if using is None or answer.vectors is None else {using: answer.vectors},
        present={},
        payloads=answer.payloads or [],
        modality=answer.modality,
        at_us=list(answer.at_us),
    )
