"""Calls from outside into a world, one after the other, for tests that know nothing of virtual time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from paradox.sim.loop import Loop

LONG_S = 10_000.0


def within(loop: Loop, call: Callable[[], Any]) -> Any:
    """Return what a call returns that is made by a thread of the world, or raise what it raises."""
    if threading.current_thread().name.startswith("sim-"):  # it is within already
        return call()
    found: list[Any] = []
    loop.run(lambda: found.append(call()), until=loop.now + LONG_S)
    return found[0]


class Within:
    """Something of a world whose methods and properties are used within it."""

    def __init__(self, loop: Loop, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = within(self._loop, lambda: getattr(self._inner, name))
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            result = within(self._loop, lambda: found(*arguments, **named))
            return self._each(result) if isinstance(result, Iterator) else result

        return call

    def _each(self, found: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while (one := within(self._loop, lambda: next(found, end))) is not end:
            yield one
