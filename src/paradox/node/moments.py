"""Moments: how a collection stood at positions of its log, for who reads several nodes as if they were one.

Nodes apply the log one by one, so that a point which is being replaced may be on two of them for a moment, or on none. Who must not see
that appends a barrier that says "keep", and asks each node for what was there at its position.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from paradox.model.entries import Barrier, Entry
from paradox.model.points import Key, Mask, hash_keys
from paradox.ports.env import Env
from paradox.router.scatter import Scatter
from paradox.shard.build import Segment

KEPT_S, KEPT_MAX = 10.0, 32
"""How long a moment is kept, and how many of a collection are. A scroll that has begun has what it needs."""


class Moment(msgspec.Struct, frozen=True):
    """The segments of each shard that was held, and which of their rows were there. moved: where points last moved from shard to shard."""

    position: int
    moved: int
    shards: dict[int, list[tuple[Segment, Mask]]]

    def find(self, keys: Sequence[Key]) -> dict[Key, tuple[Segment, int]]:
        """Return where each key was; keys that were nowhere are left out."""
        hashes = hash_keys(keys)
        found: dict[Key, tuple[Segment, int]] = {}
        for segment, there in (part for parts in self.shards.values() for part in parts):
            rows = segment.find(keys, hashes)
            later = {key for key, row in zip(keys, rows.tolist(), strict=True) if row >= len(there)}
            rows = rows[(rows >= 0) & (rows < len(there))]
            rows = rows[there[rows]]
            if later:  # a growing segment looks up the newest row of a key, behind which there may be one that was there
                before = np.flatnonzero(there)
                rows = np.concatenate((rows, before[[key in later for key in segment.keys_at(before)]]))
            found |= {key: (segment, row) for key, row in zip(segment.keys_at(rows), rows.tolist(), strict=True)}
        return found


def moment_of(engine: Scatter) -> Moment:
    """Return how an engine stands. The caller holds the commit turn."""
    held = [shard for shard in engine.shards if shard.number in engine.held]
    shards = {shard.number: [(one, one.alive().copy()) for one in shard.segments if one.rows] for shard in held}
    return Moment(engine.applied, engine.moved, shards)


class Moments:
    """The moments that are kept. Thread-safe."""

    def __init__(self, env: Env, *, since: int) -> None:
        """since: where the log ended when it was opened; nobody asks for what was before any more."""
        self._env = env
        self._since = since
        self._kept: dict[int, tuple[float, Moment]] = {}  # by position, oldest first: until when
        self._guard = env.lock()

    def note(self, entry: Entry, engine: Scatter) -> None:
        """Keep how an engine stands where the entry that was just applied wants that. In the commit turn."""
        if isinstance(entry, Barrier) and entry.kept and engine.applied > self._since:
            moment = moment_of(engine)
            self.forget(most=KEPT_MAX - 1)
            with self._guard:
                self._kept[engine.applied] = self._env.elapsed_s() + KEPT_S, moment

    def forget(self, *, most: int = KEPT_MAX) -> None:
        """Let go what is old, and the oldest of more than so many."""
        now = self._env.elapsed_s()
        with self._guard:
            while self._kept and (len(self._kept) > most or next(iter(self._kept.values()))[0] < now):
                self._kept.pop(next(iter(self._kept)))

    def at(self, position: int) -> Moment | None:
        """Return how all stood at a position; None when that is not kept (any more)."""
        self.forget()
        with self._guard:
            return self._kept[position][1] if position in self._kept else None
