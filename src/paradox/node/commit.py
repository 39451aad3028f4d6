"""Group commit: writers that arrive while the disk is busy share the next sync.

Where several programs append to one log, a group that was not first is drafted anew once what came before it is applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from paradox.errors import LogConflict, LogUnavailable
from paradox.model.entries import Barrier, Entry, Once
from paradox.model.points import Key, Points, joined
from paradox.ports.env import Lock
from paradox.ports.log import Body, Log
from paradox.wire.codec import encode

GROUP_MAX = 64
"""Writes that one sync may cover."""
JOINED_POINTS_MAX = 4_096
"""Points that small writes are joined up to: one log entry and one application for all of them."""

CONFLICTS_MAX = 100
"""How often in a row another program may be first."""

Draft = Callable[[], Entry]
"""Makes an entry against the state as of now. May raise; then only its own writer hears of it."""


class Applier(Protocol):
    """What entries are drafted against and applied to."""

    @property
    def applied(self) -> int:
        """The position of the last entry that was applied."""
        ...

    def draft_write(self, points: Points) -> Entry:
        """Return the entry that adds points, against the state as of now."""
        ...

    def find_done(self, once: Once) -> int | None:
        """Return the position of the entry that does a request already. Raises LogUnavailable when that is not known."""
        ...

    def apply(self, position: int, entry: Entry, body: Body) -> None:
        """Apply the entry at the next position; body: as the log has it."""
        ...

    def catch_up(self) -> None:
        """Apply what other programs appended."""
        ...


class Ticket:
    """One writer's place in the queue: points to write, a draft of something else, or neither: a barrier; and the request it is for."""

    __slots__ = ("draft", "error", "kept", "once", "points", "position", "settled")

    def __init__(self, draft: Draft | None = None, points: Points | None = None, once: Once | None = None, *, kept: bool = False) -> None:
        """kept: of a barrier, see `entries.Barrier`."""
        self.draft = draft
        self.points = points
        self.once = once
        self.kept = kept
        self.position = 0
        self.error: BaseException | None = None
        self.settled = False

    @property
    def is_barrier(self) -> bool:
        """Whether it asks for nothing but a place at the end of the log."""
        return self.draft is None and self.points is None


class Committer:
    """Orders writes: draft, append to the log, sync, apply. Whoever holds `turn` does it for all who wait."""

    def __init__(self, log: Log, applier: Applier, turn: Lock) -> None:
        """turn: held by who drafts, appends and applies."""
        self._log = log
        self._applier = applier
        self._waiting: deque[Ticket] = deque()
        self._torn = False
        self.turn = turn

    def commit_points(self, points: Points, once: Once | None = None) -> int:
        """Return the position of the entry that holds these points, once durable and applied. Raises what the log raises.

        once: of a request that another node may have been asked for too; then nothing is written again.
        """
        return self._commit(Ticket(points=points, once=once))

    def commit(self, draft: Draft, once: Once | None = None) -> int:
        """Return the position of the drafted entry, once durable and applied. Raises what the draft or the log raises. once: as above."""
        return self._commit(Ticket(draft, once=once))

    def commit_barrier(self, *, kept: bool = False) -> int:
        """Return a position that no entry acknowledged so far is beyond, once applied: those who ask at the same time share an entry."""
        return self._commit(Ticket(kept=kept))

    def commit_alone(self, draft: Draft) -> int:
        """The same, but no other entry is drafted before this one is applied: for entries that change what drafts depend on."""
        ticket = Ticket(draft)
        with self.turn:
            while self._waiting:
                self._commit_group(GROUP_MAX)
            self._waiting.appendleft(ticket)
            self._commit_group(1)
        return _position(ticket)

    def _commit(self, ticket: Ticket) -> int:
        self._waiting.append(ticket)
        with self.turn:
            while not ticket.settled:
                self._commit_group(GROUP_MAX)
        return _position(ticket)

    def _commit_group(self, most: int) -> None:
        """Settle up to `most` waiting tickets, oldest first."""
        group = self._next_group(most)
        try:
            last, drafted, bodies = self._append(_runs(group))
            if drafted:
                self._torn = True  # until all of it is applied
                for position, ((run, entry), body) in enumerate(zip(drafted, bodies, strict=True), last - len(drafted) + 1):
                    for ticket in run:
                        ticket.position = position
                    self._applier.apply(position, entry, body)
                self._torn = False
        except BaseException as error:
            own = isinstance(error, Exception)  # an interrupt is the leader's; the others hear that nothing is known of theirs
            told = error if own else LogUnavailable("the write was interrupted", hint="look whether it is there, and try again")
            for ticket in group:
                ticket.error = ticket.error or told
            if not own:
                raise
        finally:
            for ticket in group:
                ticket.settled = True

    def _next_group(self, most: int) -> list[Ticket]:
        """Take up to `most` waiting tickets, oldest first, no two for one request."""
        group: list[Ticket] = []
        names: set[bytes] = set()
        while self._waiting and len(group) < most:
            once = self._waiting[0].once
            if once is not None and once.name in names:
                break
            names |= {once.name} if once is not None else set()
            group.append(self._waiting.popleft())
        return group

    def _append(self, runs: list[list[Ticket]]) -> tuple[int, list[tuple[list[Ticket], Entry]], list[Body]]:
        """Append an entry for each run; return the last position, the entries, their bytes. Who cannot be drafted hears of it alone."""
        for again in reversed(range(CONFLICTS_MAX)):
            runs = self._undone(runs)
            drafted: list[tuple[list[Ticket], Entry]] = []
            for run in runs:
                try:
                    drafted.append((run, self._draft(run)))
                except Exception as error:
                    for ticket in run:
                        ticket.error = error
            if not drafted:
                break
            if self._torn:
                raise LogUnavailable("a write was interrupted before it was applied", hint="close the database and open it again")
            try:
                bodies = [encode(entry) for _, entry in drafted]
                return self._log.append(bodies, after=self._applier.applied), drafted, bodies
            except LogConflict:
                if not again:
                    raise
            self._applier.catch_up()
            runs = [run for run, _ in drafted]
        return 0, [], []

    def _undone(self, runs: list[list[Ticket]]) -> list[list[Ticket]]:
        """Return the runs without the tickets whose requests the log holds already."""
        left = []
        for run in runs:
            waiting = []
            for ticket in run:
                try:
                    ticket.position = (ticket.once and self._applier.find_done(ticket.once)) or 0
                except LogUnavailable as error:
                    ticket.error = error
                if not ticket.position and ticket.error is None:
                    waiting.append(ticket)
            if waiting:
                left.append(waiting)
        return left

    def _draft(self, run: list[Ticket]) -> Entry:
        if run[0].draft is not None:
            entry = run[0].draft()
        elif run[0].is_barrier:
            entry = Barrier(kept=any(ticket.kept for ticket in run))
        else:
            entry = self._applier.draft_write(joined([ticket.points for ticket in run if ticket.points is not None]))
        names = tuple(ticket.once.name for ticket in run if ticket.once is not None)
        return msgspec.structs.replace(entry, names=names) if names else entry


def _position(ticket: Ticket) -> int:
    if ticket.error is not None:
        raise ticket.error
    return ticket.position


def _runs(group: list[Ticket]) -> list[list[Ticket]]:
    """Return the tickets in order, neighbours together that can be written as one: small, alike, and naming no point twice.

    All barriers are one, and the last.
    """
    runs: list[list[Ticket]] = []
    keys: set[Key] = set()
    count = 0
    barriers = [ticket for ticket in group if ticket.is_barrier]
    for ticket in group:
        if ticket.is_barrier:
            continue
        points = ticket.points
        last = runs[-1][0].points if runs else None
        count += len(points) if points is not None else 0
        if (
            points is not None
            and last is not None
            and count <= JOINED_POINTS_MAX
            and points.origin == last.origin
            and points.present.keys() == last.present.keys()
            and keys.isdisjoint(points.keys)
        ):
            runs[-1].append(ticket)
            keys.update(points.keys)
        else:
            runs.append([ticket])
            count = len(points) if points is not None else 0
            keys = set(points.keys) if points is not None and len(group) > 1 else set()
    return [*runs, barriers] if barriers else runs
