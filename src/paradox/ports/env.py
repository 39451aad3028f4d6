"""Env: the clock, the dice, the threads and the recorder, so that a simulator can hold them all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import TracebackType
from typing import Protocol, TypeVar

from paradox.model.events import Event

Card = TypeVar("Card")


class Lock(Protocol):
    """As `threading.Lock`, or `threading.RLock`."""

    def acquire(self) -> bool:
        """Wait until nobody else has it, and take it."""
        ...

    def release(self) -> None:
        """Let another have it."""
        ...

    def __enter__(self) -> bool: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Condition(Protocol):
    """As `threading.Condition`."""

    def __enter__(self) -> bool: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def wait(self, timeout: float | None = None) -> bool:
        """Let go, wait to be notified, at most so many seconds, and take it again. False when the time was up."""
        ...

    def notify_all(self) -> None:
        """Wake all who wait."""
        ...


class Running(Protocol):
    """A thread that was started."""

    def join(self) -> None:
        """Return when it has ended."""
        ...


class Env(Protocol):
    """The only source of time, randomness, threads that wait for one another, and records below `node`.

    Locks that are held for a moment, by who waits for nothing meanwhile, may be `threading`'s own.
    """

    @property
    def events(self) -> Collection[Event]:
        """The last ones recorded, oldest first."""
        ...

    def now_us(self) -> int:
        """Microseconds since 1970."""
        ...

    def elapsed_s(self) -> float:
        """Seconds of a clock that never goes back, from any start."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Return `count` random bytes."""
        ...

    def shuffle(self, cards: list[Card]) -> None:
        """Put cards, whatever they are, in any order."""
        ...

    def record(self, event: Event) -> None:
        """Tell what happened."""
        ...

    def report_bug(self) -> None:
        """Tell the operator, with its trace, of the exception that is being handled: one that should never be."""
        ...

    def lock(self) -> Lock:
        """Return a lock."""
        ...

    def rlock(self) -> Lock:
        """Return a lock that its holder may take again."""
        ...

    def condition(self) -> Condition:
        """Return a condition with a lock of its own."""
        ...

    def start(self, work: Callable[[], None], name: str) -> Running:
        """Do some work in a thread of its own, which does not keep the program from ending."""
        ...
