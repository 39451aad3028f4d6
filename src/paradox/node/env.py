"""The real world: clock, dice, threads, and a recorder that keeps the last events."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from paradox.model.events import Event
from paradox.ports.env import Card

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

    def shuffle(self, cards: list[Card]) -> None:
        """Put cards, whatever they are, in any order."""
        random.shuffle(cards)

    def record(self, event: Event) -> None:
        """Keep the event among the last ones."""
        self.events.append(event)

    def report_bug(self) -> None:
        """Print the trace of the exception that is being handled."""
        traceback.print_exc(file=sys.stderr)

    def lock(self) -> threading.Lock:
        """Return a lock."""
        return threading.Lock()

    def rlock(self) -> threading.RLock:
        """Return a lock that its holder may take again."""
        return threading.RLock()

    def condition(self) -> threading.Condition:
        """Return a condition with a lock of its own."""
        return threading.Condition()

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Do some work in a thread of its own, which does not keep the program from ending."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread
