"""Rearranging: where one engine has all shards, a new map moves points at once; on a cluster they travel in the log (`moving.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Rows
from paradox.model.topology import RegionMap
from paradox.router.moving import LOOK_ROWS
from paradox.shard.build import Segment
from paradox.shard.engine import Held, by_origin, holders_at, take

if TYPE_CHECKING:
    from paradox.router.scatter import Scatter

NO_LISTS = np.empty((0, 0), dtype=np.int32)


class Rearranging:
    """The points of one engine that stand elsewhere by the next map. Finding them is most of the work, and needs no writer to wait."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter
        self._foreseen: _Foreseen | None = None

    def foresee(self, new: RegionMap) -> None:
        """Find where a map that is about to come puts the points of now. Beside writers: they wait for less when it comes."""
        lists = {}
        for segment, rows, _ in self._to_place():
            lists[segment] = np.full((int(rows[-1]) + 1 if len(rows) else 0, self._scatter.spec.copies), -1, dtype=np.int32)
            for part in pieces(rows):
                lists[segment][part] = self._regions_of(segment, part, new)
        self._foreseen = _Foreseen(new, lists)

    def change(self, new: RegionMap, position: int) -> None:
        """Take a new map. Points whose shards change are written anew where they belong now."""
        scatter = self._scatter
        foreseen = self._foreseen.lists if self._foreseen is not None and self._foreseen.regions is new else {}
        scatter.regions, self._foreseen = new, None
        for segment, every, shard in self._to_place():
            known = foreseen.get(segment, NO_LISTS)
            for rows in pieces(every):
                came = rows[np.searchsorted(rows, len(known)) :]
                late = self._regions_of(segment, came, new)
                lists = np.concatenate((known[rows[: len(rows) - len(came)]], late)) if len(known) else late
                elsewhere = scatter.are_elsewhere(lists, holders_at(segment, rows, scatter.spec, shard))
                for part in by_origin(Held(segment, rows[elsewhere])):
                    points, _ = take(part, scatter.spec, shard)
                    victims = scatter.find_live(points.keys)
                    scatter.spread(points, lists[np.searchsorted(rows, part.rows)])
                    scatter.moves += 1
                    scatter.kill(victims, position)

    def _to_place(self) -> list[tuple[Segment, Rows, int]]:
        """Return each segment, the live rows that it answers for, and its shard; none where a map moves nothing by itself."""
        if len(self._scatter.shards) == 1 or not self._scatter.alone:
            return []
        return [
            (segment, np.flatnonzero((alive := segment.alive()) & segment.owned()[: len(alive)]), shard.number)
            for shard in self._scatter.shards
            for segment in shard.segments
            if segment.rows
        ]

    def _regions_of(self, segment: Segment, rows: Rows, regions: RegionMap) -> NDArray[np.int32]:
        return self._scatter.regions_of(segment.vectors[self._scatter.spec.main].matrix()[rows], regions)


class _Foreseen(msgspec.Struct, frozen=True):
    """A map that may come, and the regions (rows, copies) that it gives the rows of segments."""

    regions: RegionMap
    lists: dict[Segment, NDArray[np.int32]]


def pieces(rows: Rows) -> list[Rows]:
    """Return rows as parts to be looked at together."""
    return [rows[start : start + LOOK_ROWS] for start in range(0, len(rows), LOOK_ROWS)]
