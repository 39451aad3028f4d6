"""The real world: clock, dice and a recorder that keeps the last events."""

from __future__ import annotations

import os
import time
from collections import deque

from paradox.model.events import Event

EVENTS_KEPT = 256


class RealEnv:
    """See `ports.env.Env`."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1000

    def elapsed_s(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        """Bytes from the operating system."""
        return os.urandom(count)

    def record(self, event: Event) -> None:
        """Keep the event among the last ones."""
        self.events.append(event)
