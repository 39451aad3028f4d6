"""Joining: searches that wait at the same time go on as one question, so that they share the way, the threads and the look at the codes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import msgspec
import numpy as np

from paradox.errors import GatewayBusy, ParadoxError
from paradox.gateway.calls import Call
from paradox.gateway.routes import asked_of, found_reply
from paradox.model import operations as ops
from paradox.model.operations import CollectionView
from paradox.model.queries import Answers, alike
from paradox.ports.transport import Transport
from paradox.wire.bodies import FoundReply
from paradox.wire.pack import pack

TOGETHER_MAX = 64
RUNS_MAX = 1
"""At a time: two would share Python's lock, and each would take fewer along."""
SLOW_S = 0.1
"""A run that takes longer does not hold up who comes later."""

Result: TypeAlias = bytes | Exception


class Joining:
    """Who comes while few runs are under way begins one; who comes later waits for the next, with all who do. In one event loop."""

    def __init__(self, database: Transport, pool: ThreadPoolExecutor) -> None:
        self._database = database
        self._pool = pool
        self._waiting: deque[tuple[Call, asyncio.Future[bytes]]] = deque()
        self._running = 0

    async def reply(self, call: Call) -> bytes:
        """Return the reply to a search that is joinable. Raises what the search raises."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        self._begin()
        return await future

    def _begin(self) -> None:
        while self._waiting and self._running < RUNS_MAX:
            self._running += 1
            _Run(self, [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER_MAX))])

    def start(self, calls: Sequence[Call]) -> asyncio.Future[list[Result]]:
        """Answer calls in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._pool, answer_together, self._database, calls)

    def end(self) -> None:
        """Note that one run fewer is under way."""
        self._running -= 1
        self._begin()


class _Run:
    """Calls that are answered together."""

    def __init__(self, joining: Joining, waiting: list[tuple[Call, asyncio.Future[bytes]]]) -> None:
        self._joining = joining
        self._futures = [future for _, future in waiting]
        self._counts = True
        self._slow = asyncio.get_running_loop().call_later(SLOW_S, self._let_others)
        joining.start([call for call, _ in waiting]).add_done_callback(self._done)

    def _let_others(self) -> None:
        if self._counts:
            self._counts = False
            self._joining.end()

    def _done(self, done: asyncio.Future[list[Result]]) -> None:
        self._slow.cancel()
        self._let_others()
        stopping = GatewayBusy("the server is stopping", hint="try again when it is back")
        results: Sequence[Result] = [stopping] * len(self._futures) if done.cancelled() else done.result()
        for future, result in zip(self._futures, results, strict=True):
            if future.done():  # who asked has gone
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def answer_together(database: Transport, calls: Sequence[Call]) -> list[Result]:
    """Return the reply to each call, or what it raised: those that ask alike as one question."""
    results: list[Result] = [b""] * len(calls)
    asked: list[tuple[int, ops.Ask]] = []
    views: dict[str, CollectionView] = {}
    for place, call in enumerate(calls):
        try:
            views[call.name] = view = views.get(call.name) or call.view()
            asked.append((place, asked_of(call, view)))
        except Exception as error:
            results[place] = error
    for name in views:
        mine = [(place, one) for place, one in asked if one.collection == name]
        for places in alike([one.question for _, one in mine]):
            group = [mine[number] for number in places]
            found = _answer(database, [calls[place] for place, _ in group], [one for _, one in group])
            for (place, _), result in zip(group, found, strict=True):
                results[place] = result
    return results


def _answer(database: Transport, calls: list[Call], asked: list[ops.Ask]) -> list[Result]:
    """Answer searches that differ in nothing but their vectors. One by one where not all of it could be answered: each hears of its own."""
    if len(calls) > 1:
        vectors = np.concatenate([one.question.vectors for one in asked if one.question.vectors is not None])
        joint = msgspec.structs.replace(asked[0], question=msgspec.structs.replace(asked[0].question, vectors=vectors))
        try:
            answers: Answers = database.send(joint)
            if answers.coverage.share == 1.0:
                return [_packed(call, found_reply(call, answer, answers)) for call, answer in zip(calls, answers.of, strict=True)]
        except ParadoxError:
            pass
    return [_alone(database, call, one) for call, one in zip(calls, asked, strict=True)]


def _alone(database: Transport, call: Call, asked: ops.Ask) -> Result:
    try:
        answers: Answers = database.send(asked)
        return _packed(call, found_reply(call, answers.of[0], answers))
    except Exception as error:
        return error


def _packed(call: Call, reply: FoundReply) -> bytes:
    return pack(reply, call.form)
