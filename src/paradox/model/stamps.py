"""Stamps: hybrid logical clock times that order versions of one point that come from different origins.

48 bits of milliseconds since 1970, then 16 bits of counter. Source: Kulkarni, Demirbas et al., "Logical Physical Clocks", 2014.
"""

from __future__ import annotations

COUNTER_BITS = 16


def next_stamp(last: int, now_ms: int) -> int:
    """Return the smallest stamp after `last` that is not behind the clock."""
    return max(last + 1, now_ms << COUNTER_BITS)


def milliseconds(stamp: int) -> int:
    """Return a stamp's time, in milliseconds since 1970."""
    return stamp >> COUNTER_BITS
