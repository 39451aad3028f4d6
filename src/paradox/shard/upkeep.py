"""Upkeep: when to seal what came lately, and which segments to merge. Pure decisions; `node` carries them out."""

from __future__ import annotations

from collections.abc import Sequence

from paradox.model.schema import Limits

MERGE_FACTOR = 2.0
"""Smaller segments are merged into the next larger when together they weigh this many times as much: each point is rewritten
about log₃ n times."""
IDLE_SHARE = 0.1
"""When nothing else is to be done, they are merged when together they weigh this share of it."""
DEAD_SHARE_MAX = 0.25
WORTH_SEALING_MIN = 5_000
"""Points that must have come or died beside sealed ones before it is worth a manifest, when nothing else is to be done."""


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


def worth_sealing(*, rows: int, came: int, died: int, points_min: int) -> bool:
    """Tell whether an idle shard answers faster, or takes less room, once a manifest knows what came and died since the last one.

    rows: sealed. came: growing. died: sealed rows that the last manifest has as alive. points_min: that are worth an index of their own.
    """
    much = max(WORTH_SEALING_MIN, rows * IDLE_SHARE)
    return came >= points_min or died >= max(much, rows * DEAD_SHARE_MAX) or (rows > 0 and came >= much)
