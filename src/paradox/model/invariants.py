"""What must always hold, named. `ensure` is never switched off."""

from __future__ import annotations

from enum import StrEnum

from paradox.errors import InternalError


class Invariant(StrEnum):
    """The promises whose breach is our bug, never the caller's."""

    LOG_ORDER = "entries are applied in log order, each exactly once"
    ONE_LIVE_VERSION = "at most one live version of a point per holder"
    ROWS_ALIGNED = "every column of a batch has one value a row"
    ACKNOWLEDGED_IS_DURABLE = "nothing is acknowledged before it is on disk"
    REGION_PLACED = "every region has a shard"


def ensure(invariant: Invariant, holds: bool, detail: str = "") -> None:
    """Raise InternalError naming `invariant` unless `holds`."""
    if not holds:
        raise InternalError(f"invariant broken: {invariant.value}" + (f" ({detail})" if detail else ""))
