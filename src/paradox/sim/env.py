"""SimEnv: the Env of one program in a world of virtual time."""

from __future__ import annotations

import random
import traceback
from collections import deque
from collections.abc import Callable

from paradox.model.events import Event
from paradox.ports.env import Card
from paradox.sim.loop import Loop, SimCondition, SimLock, Task

BEGINNING_US = 1_700_000_000_000_000
EVENTS_KEPT = 256


class SimEnv:
    """See `ports.env.Env`. Everything of it happens in the loop's time, and by dice of its seed."""

    def __init__(self, loop: Loop, owner: str, *, skew_s: float = 0.0) -> None:
        """owner: who the threads started here die with. skew_s: how wrong its clock is."""
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.bugs: list[str] = []
        self._loop = loop
        self._owner = owner
        self._skew_s = skew_s
        self._dice = random.Random(loop.dice.random())

    def now_us(self) -> int:
        """Microseconds since 1970, by a clock that may be wrong."""
        return BEGINNING_US + round((self._loop.now + self._skew_s) * 1e6)

    def elapsed_s(self) -> float:
        """Seconds since the world began."""
        return self._loop.now

    def random_bytes(self, count: int) -> bytes:
        """Bytes of the seed."""
        return self._dice.randbytes(count)

    def shuffle(self, cards: list[Card]) -> None:
        """Put cards, whatever they are, in any order."""
        self._dice.shuffle(cards)

    def record(self, event: Event) -> None:
        """Keep the event among the last ones."""
        self.events.append(event)

    def report_bug(self) -> None:
        """Keep the trace of the exception that is being handled."""
        self.bugs.append(traceback.format_exc())

    def lock(self) -> SimLock:
        """Return a lock."""
        return SimLock(self._loop, again=False)

    def rlock(self) -> SimLock:
        """Return a lock that its holder may take again."""
        return SimLock(self._loop, again=True)

    def condition(self) -> SimCondition:
        """Return a condition with a lock of its own."""
        return SimCondition(self._loop)

    def start(self, work: Callable[[], None], name: str) -> Task:
        """Do some work in a thread of the loop."""
        return self._loop.start(work, name, self._owner)
