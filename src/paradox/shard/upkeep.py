"""Upkeep: which segments to merge. Pure decisions; `node` carries them out."""

from __future__ import annotations

from collections.abc import Sequence

from paradox.model.schema import Limits

MERGE_FACTOR = 2.0
"""Smaller segments are merged into the next larger when together they weigh this many times as much: each point is rewritten
about log₃ n times."""
IDLE_SHARE = 0.1
"""When nothing else is to be done, they are merged when together they weigh this share of it."""
DEAD_SHARE_MAX = 0.25


def merge_run(live: Sequence[int], rows: Sequence[int], *, idle: bool, limits: Limits) -> list[int]:
    """Return the numbers of the segments to merge now, or none.

    live, rows: live points and all rows of each sealed segment of one shard. A segment with many dead rows is rewritten alone.
    """
    for number, (alive, total) in enumerate(zip(live, rows, strict=True)):
        if total and (total - alive) / total > DEAD_SHARE_MAX:
            return [number]
    order = sorted(range(len(live)), key=lambda number: (-live[number], number))
    factor = IDLE_SHARE if idle else MERGE_FACTOR
    for start in range(len(order) - 1):
        rest = order[start + 1 :]
        together = sum(live[number] for number in order[start:])
        if together <= limits.segment_points_max and sum(live[number] for number in rest) >= factor * live[order[start]]:
            return order[start:]
    return []
