"""Worlds for tests: a clock that stands still until it is told, dice from a seed, and a memory of what was recorded."""

from __future__ import annotations

import random

from paradox.node.env import RealEnv
from paradox.ports.env import Card


class TestEnv(RealEnv):
    """An Env without surprises."""

    __test__ = False

    def __init__(self, seed: int = 42, *, now_us: int = 1_700_000_000_000_000) -> None:
        super().__init__()
        self._dice = random.Random(seed)
        self._start_us = self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def elapsed_s(self) -> float:
        return (self._now_us - self._start_us) / 1e6

    def advance(self, seconds: float) -> None:
        self._now_us += round(seconds * 1e6)

    def shuffle(self, cards: list[Card]) -> None:
        self._dice.shuffle(cards)

    def random_bytes(self, count: int) -> bytes:
        return self._dice.randbytes(count)
