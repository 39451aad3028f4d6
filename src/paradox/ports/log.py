"""Log: the replicated truth of a collection, as seen by one holder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Body: TypeAlias = Sequence[Buffer]
"""One entry's bytes, in pieces that are written one after the other, so that a big matrix is never copied."""


class Log(Protocol):
    """Entries in order. Positions are 1, 2, 3, … and are never used twice.

    Every adapter passes `tests/conformance/log.py`.
    """

    @property
    def incarnation(self) -> int:
        """Raised when positions start anew (restore, loss): positions of another incarnation mean nothing here."""
        ...

    @property
    def first(self) -> int:
        """The first position that can be read; `last + 1` when there is none."""
        ...

    @property
    def last(self) -> int:
        """The last durable position; 0 at the beginning."""
        ...

    def append(self, bodies: Sequence[Body], *, after: int | None = None) -> int:
        """Make all bodies durable, in order, and return the position of the last.

        All or none: on an error nothing was added. One write and one sync whatever the number of bodies. after: the last position that the
        caller knows, for which the bodies were made.
        Raises LogConflict when the log is beyond `after`, StoreFull (rolled back), StoreReadOnly, LogUnavailable (durability can no longer
        be promised; reopen).
        """
        ...

    def read(self, after: int) -> Iterator[tuple[int, memoryview]]:
        """Yield (position, body) for every entry after `after`, in order, up to the last complete one.

        Raises LogCorrupt when an entry before the tail is damaged, or when `after + 1` was trimmed.
        """
        ...

    def trim(self, through: int) -> None:
        """Allow entries up to `through` to be forgotten. Whole files only, so some may stay readable."""
        ...

    def close(self) -> None:
        """Release files. Safe to call twice."""
        ...
