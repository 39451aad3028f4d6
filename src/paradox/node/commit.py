"""Group commit: writers that arrive while the disk is busy share the next sync."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

from paradox.model.entries import Entry
from paradox.ports.log import Log
from paradox.wire.codec import encode

GROUP_MAX = 64
"""Entries that one sync may cover."""

Draft = Callable[[], Entry]
"""Makes an entry against the state as of now. May raise; then only its own writer hears of it."""


class Ticket:
    """One writer's place in the queue."""

    __slots__ = ("draft", "entry", "error", "position", "settled")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.entry: Entry | None = None
        self.position = 0
        self.error: BaseException | None = None
        self.settled = False


class Committer:
    """Orders writes: draft, append to the log, sync, apply. Whoever holds `turn` does it for all who wait."""

    def __init__(self, log: Log, apply: Callable[[int, Entry], Any]) -> None:
        self._log = log
        self._apply = apply
        self._waiting: deque[Ticket] = deque()
        self.turn = Lock()

    def commit(self, draft: Draft) -> int:
        """Return the position of the entry once it is durable and applied. Raises what the draft or the log raises."""
        ticket = Ticket(draft)
        self._waiting.append(ticket)
        with self.turn:
            while not ticket.settled:
                self._commit_group(GROUP_MAX)
        if ticket.error is not None:
            raise ticket.error
        return ticket.position

    def commit_alone(self, draft: Draft) -> int:
        """The same, but no other entry is drafted before this one is applied: for entries that change what drafts depend on."""
        with self.turn:
            while self._waiting:
                self._commit_group(GROUP_MAX)
            ticket = Ticket(draft)
            self._waiting.appendleft(ticket)
            self._commit_group(1)
        if ticket.error is not None:
            raise ticket.error
        return ticket.position

    def _commit_group(self, most: int) -> None:
        """Settle up to `most` waiting tickets, oldest first."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
        for ticket in group:
            try:
                ticket.entry = ticket.draft()
            except Exception as error:
                ticket.error = error
        drafted = [(ticket, entry) for ticket in group if (entry := ticket.entry) is not None]
        try:
            if drafted:
                last = self._log.append([encode(entry) for _, entry in drafted])
                for position, (ticket, entry) in enumerate(drafted, last - len(drafted) + 1):
                    ticket.position = position
                    self._apply(position, entry)
        except Exception as error:
            for ticket, _ in drafted:
                ticket.error = ticket.error or error
        finally:
            for ticket in group:
                ticket.settled = True
                ticket.entry = None
