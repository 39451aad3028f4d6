"""Env: the clock, the dice and the recorder, so that a simulator can hold them all."""

from __future__ import annotations

from typing import Protocol

from paradox.model.events import Event


class Env(Protocol):
    """The only source of time, randomness, background work and records below `node`."""

    def now_us(self) -> int:
        """Microseconds since 1970."""
        ...

    def elapsed_s(self) -> float:
        """Seconds of a clock that never goes back, from any start."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Return `count` random bytes."""
        ...

    def record(self, event: Event) -> None:
        """Tell what happened."""
        ...
