"""Filter times: what a filter compares `at` with, in microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from paradox.errors import FilterType
from paradox.model.filters import Scalar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_A_SECOND = 1_000_000
SECONDS_MAX = 1e15
"""Far beyond the year 9999, and its microseconds are still exact enough to be on the right side of every point."""


def at_us_of(value: Scalar) -> int | None:
    """Return an ISO 8601 date or datetime (naive = UTC), or seconds since 1970 to the nearest microsecond; None for a bool or null.

    The result may lie beyond 64 bits. Raises FilterType for text that is no time.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value * MICROSECONDS_A_SECOND
    if isinstance(value, float):
        return round(max(-SECONDS_MAX, min(SECONDS_MAX, value)) * MICROSECONDS_A_SECOND)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise FilterType(
            f"the filter compares 'at' with the text {value!r:.80}; expected a time",
            hint="write ISO 8601, such as '2024-05-17' or '2024-05-17T12:00:00Z', or seconds since 1970",
        ) from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND
