"""Moving: which stored points stand elsewhere than the map of now puts them. Each row is looked at once a map."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Points, Rows
from paradox.model.topology import RegionMap
from paradox.shard.build import Segment
from paradox.shard.engine import Held, ShardEngine, by_origin, holders_at, take

if TYPE_CHECKING:
    from paradox.router.scatter import Scatter

LOOK_ROWS = 8_192
"""Looked at together."""


class Overtaken(Exception):
    """What was found to be moved was moved already, or changed by others."""


class Moving:
    """The points of one engine that are to be written anew. One thread looks; what it found is checked again when it is written."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._regions: RegionMap | None = None
        self._seen: WeakKeyDictionary[Segment, int] = WeakKeyDictionary()  # how many rows of a segment were looked at
        self._found: tuple[ShardEngine, Segment, Rows] | None = None

    def look(self) -> bool:
        """Look for points to move, unless some were found that are not moved yet, and tell whether there are any. Beside writers.

        Rows that come after a map have places by it, so all that are there when none is found stay where they are until the next one.
        """
        if self._regions is not self._scatter.regions:
            self._regions, self._found = self._scatter.regions, None
            self._seen.clear()
        while self._found is None and (piece := self._unseen()) is not None:
            shard, segment, start = piece
            stop = min(segment.rows, start + LOOK_ROWS)
            rows = self._elsewhere(shard, segment, np.arange(start, stop))
            self._seen[segment] = stop
            self._found = (shard, segment, rows) if len(rows) else None
        return self._found is not None

    def _unseen(self) -> tuple[ShardEngine, Segment, int] | None:
        for shard in self._scatter.shards:
            for segment in shard.segments:
                if self._seen.get(segment, 0) < segment.rows:
                    return shard, segment, self._seen.get(segment, 0)
        return None

    def next(self, limit: int) -> tuple[Points, NDArray[np.int32]]:
        """Return up to `limit` points that were found, of one origin, and their regions. The caller holds the commit turn.

        Raises Overtaken when there are no more: look again.
        """
        while self._found is not None and self._regions is self._scatter.regions:
            shard, segment, rows = self._found
            there = any(segment is one for one in shard.segments)  # else it is in another one by now, which nobody has looked at
            still = self._elsewhere(shard, segment, rows[:limit]) if there else rows[:0]
            if len(still):
                points, _ = take(by_origin(Held(segment, still))[0], self._scatter.spec, shard.number)
                return points, self._scatter.assign_regions(points)
            self._found = (shard, segment, rows[limit:]) if there and len(rows) > limit else None
        self._found = None
        raise Overtaken

    def _elsewhere(self, shard: ShardEngine, segment: Segment, rows: Rows) -> Rows:
        """Return those of some rows that this engine answers for and whose places are others by the map."""
        alive, spec = segment.alive(), self._scatter.spec
        rows = rows[alive[rows] & segment.owned()[rows]]
        holders = holders_at(segment, rows, spec, shard.number)
        return rows[self._scatter.stand_elsewhere(segment.vectors[spec.main].matrix()[rows], holders)]
