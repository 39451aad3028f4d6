"""MemoryLog: a Log that is gone with its program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paradox.errors import LogCorrupt, StoreClosed
from paradox.log.frame import refuse_if_beyond
from paradox.ports.log import Body


class MemoryLog:
    """Entries in a list, for `:memory:` and for tests."""

    def __init__(self, *, incarnation: int = 1) -> None:
        self._incarnation = incarnation
        self._first = 1
        self._bodies: list[bytes] = []
        self._closed = False

    @property
    def incarnation(self) -> int:
        """The number given at the beginning."""
        return self._incarnation

    @property
    def first(self) -> int:
        """The first position that can be read; `last + 1` when there is none."""
        return self._first

    @property
    def last(self) -> int:
        """The last position; 0 at the beginning."""
        return self._first + len(self._bodies) - 1

    def append(self, bodies: Sequence[Body], *, after: int | None = None) -> int:
        """Keep a copy of all bodies, in order, and return the position of the last. Raises LogConflict, StoreClosed."""
        self._refuse_if_closed()
        refuse_if_beyond(self.last, after)
        self._bodies += [b"".join(body) for body in bodies]
        return self.last

    def read(self, after: int) -> Iterator[tuple[int, memoryview]]:
        """Yield (position, body) for every entry after `after`, in order. Raises LogCorrupt when `after + 1` was trimmed, StoreClosed."""
        self._refuse_if_closed()
        if after + 1 < self._first:
            raise LogCorrupt(
                f"entries up to {self._first - 1} were trimmed; entry {after + 1} was asked for", hint="start from a snapshot that is newer"
            )
        bodies = self._bodies[after + 1 - self._first :]
        return ((after + 1 + number, memoryview(body)) for number, body in enumerate(bodies))

    def trim(self, through: int) -> None:
        """Forget the entries up to `through`. Raises StoreClosed."""
        self._refuse_if_closed()
        count = min(through, self.last) + 1 - self._first
        if count > 0:
            self._bodies = self._bodies[count:]
            self._first += count

    def close(self) -> None:
        """Take no more calls. Safe to call twice."""
        self._closed = True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreClosed("the log was closed", hint="open the database again")
