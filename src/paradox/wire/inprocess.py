"""The way to a database in this very process, for callers that await.

`asyncio` is imported where it is used: a program without an event loop never loads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import msgspec

from paradox.errors import QueryInvalid
from paradox.model.operations import Ask, Operation, Scroll
from paradox.model.queries import Answer, Answers
from paradox.ports.transport import Transport

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def aside(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run blocking work in a thread, so that the event loop goes on."""
    from asyncio import to_thread

    return await to_thread(work, *args, **kwargs)


def inline(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run blocking work here and now: what `aside` is to callers that block."""
    return work(*args, **kwargs)


class Offloaded:
    """An AsyncTransport over a Transport: each operation runs in a thread."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, operation: Operation) -> Any:
        """Return the reply, or raise a ParadoxError. A Scroll's pages are read in threads too."""
        reply = await aside(self._transport.send, operation)
        match reply:
            case Scroll():
                return msgspec.structs.replace(reply, answers=_Pages(reply.answers))
            case Answers() if isinstance(operation, Ask) and operation.question.explain and callable(reply.trace):
                reply.trace = await aside(reply.trace)
            case Answers() if reply.asks_again and callable(reply.trace):
                reply.trace = Awaited(reply.trace)
        return reply

    async def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        await aside(self._transport.close)


class Awaited:
    """A trace that asks the database again, of a caller who awaits: `work` is for a thread."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work = work

    def __call__(self, number: int = 0) -> Any:
        """Raise QueryInvalid rather than hold up an event loop."""
        raise QueryInvalid(
            "the plan of this search must be asked for, and that would hold up the event loop",
            hint="await hits.fetch_plan(), or search with explain=True",
        )


class _Pages:
    """The pages of a scroll, for `async for`."""

    def __init__(self, pages: Iterator[Answer]) -> None:
        self._pages = pages

    def __aiter__(self) -> AsyncIterator[Answer]:
        return self

    async def __anext__(self) -> Answer:
        page = await aside(next, self._pages, None)
        if page is None:
            raise StopAsyncIteration
        return page
