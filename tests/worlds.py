"""Worlds for tests: a clock that stands still until it is told, dice from a seed, and a memory of what was recorded."""

from __future__ import annotations

import random
from collections.abc import Callable

from paradox.model.events import Event


class TestEnv:
    """An Env without surprises. Background work runs at once."""

    __test__ = False

    def __init__(self, seed: int = 42, *, now_us: int = 1_700_000_000_000_000) -> None:
        self.events: list[Event] = []
        self._random = random.Random(seed)
        self._start_us = self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def elapsed_s(self) -> float:
        return (self._now_us - self._start_us) / 1e6

    def advance(self, seconds: float) -> None:
        self._now_us += round(seconds * 1e6)

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def offload(self, work: Callable[[], None]) -> None:
        work()

    def record(self, event: Event) -> None:
        self.events.append(event)
