"""Small databases: limits so low that a few hundred points are sealed, merged, split into regions and given probe indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from paradox.client.sync import Database
from paradox.model.schema import Limits
from paradox.node.embedded import EmbeddedDatabase
from paradox.router import patience
from paradox.shard import probing

SMALL = Limits(growing_points_max=120, region_points_max=16, region_points_min=4)
SETTLED_WITHIN_S = 60.0
IDLE_AFTER_S = 0.02
NEVER_S = 3_600.0


def opened(
    folder: Path, *, limits: Limits = SMALL, read_only: bool = False, origin: str = "", idle_after_s: float = IDLE_AFTER_S
) -> tuple[Database, EmbeddedDatabase]:
    """Return a database in `folder`, for users and for tests that look behind it."""
    embedded = EmbeddedDatabase(folder, read_only=read_only, origin=origin, limits=limits, idle_after_s=idle_after_s)
    return Database(embedded), embedded


def settle(embedded: EmbeddedDatabase) -> None:
    """Return when the background work is done, that of idle times included."""
    assert embedded.worker is not None
    assert embedded.worker.wait_until_settled(SETTLED_WITHIN_S), embedded.worker.failure or embedded.worker.working


@contextmanager
def small_samples(*, probes_from: int = 100) -> Iterator[None]:
    """Let segments of so few points have a probe index, and measure recall on few of them, so that settling is quick."""
    with (
        patch.object(probing, "PROBE_POINTS_MIN", probes_from),
        patch.object(probing, "SAMPLE", 16),
        patch.object(probing, "SAMPLE_OF_LISTS", 16),
        patch.object(patience, "SAMPLES", (((1, 10), 8),)),
    ):
        yield
