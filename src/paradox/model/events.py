"""Events: what happened, as values; never prose."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class TailRepaired(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An unfinished record at the end of the log was cut off: it was never acknowledged."""

    log: str
    position: int
    bytes_cut: int


class SegmentSealed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A growing segment became immutable."""

    segment: str
    points: int
    elapsed_s: float


class SegmentsMerged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Several segments became one."""

    segments: tuple[str, ...]
    into: str
    points: int
    elapsed_s: float


class SegmentQuarantined(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A damaged segment was set aside; the rest serves."""

    segment: str
    reason: str


class MapChanged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Regions were split or merged."""

    collection: str
    epoch: int
    regions: int


class LeaderSteppedAway(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The server that led a log had not what was written; another was made to lead."""

    log: str
    reason: str


Event: TypeAlias = TailRepaired | SegmentSealed | SegmentsMerged | SegmentQuarantined | MapChanged | LeaderSteppedAway
