"""Times: from what people write to microseconds since 1970, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.errors import QueryInvalid, TimeInvalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_A_SECOND = 1_000_000
TIME_US_MIN = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
TIME_US_MAX = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
HINT = "give a datetime, a date, an ISO 8601 string such as '2024-05-17T12:00:00Z', or seconds since 1970, in the years 1 to 9999"
SECONDS_A_UNIT: Mapping[str, float] = {
    "Y": 31_556_952.0,
    "M": 2_629_746.0,
    "W": 604_800.0,
    "D": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
}
"""Units of datetime64 that are coarser than a microsecond, so that a conversion could overflow."""


def datetime_of(time_us: int) -> datetime:
    """Return microseconds since 1970 as a datetime in UTC."""
    return EPOCH + timedelta(microseconds=time_us)


def is_one_time(given: object) -> bool:
    """Whether `given` is one time, not a column of them."""
    return isinstance(given, (str, int, float, date, np.generic)) or (isinstance(given, np.ndarray) and given.ndim == 0)


def time_us(given: object, *, where: str = "at") -> int:
    """Return one time in microseconds since 1970. A naive datetime is UTC; a date is its midnight in UTC.

    Raises TimeInvalid, whose message begins with `where`.
    """
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given[()]
    if isinstance(given, np.datetime64):
        return int(_of_datetime64(given.reshape(1), where)[0])
    if isinstance(given, str):
        return _of_datetime(_parsed(given, where), where)
    if isinstance(given, datetime):
        return _of_datetime(given, where)
    if isinstance(given, date):
        return _of_datetime(datetime(given.year, given.month, given.day, tzinfo=UTC), where)
    if isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool):
        if isinstance(given, (float, np.floating)) and not math.isfinite(given):
            raise TimeInvalid(f"{where} is {given}; expected a time", hint=HINT)
        return _in_range(round(given * MICROSECONDS_A_SECOND), where, given)
    raise TimeInvalid(f"{where} is of type {type(given).__name__}; expected a time", hint=HINT)


def times_us(given: Any) -> NDArray[np.int64]:
    """Return a column of times as (n,) int64 microseconds since 1970. Raises TimeInvalid naming the first point that is wrong."""
    column = given if isinstance(given, np.ndarray) else _as_array(given)
    if column is not None and column.ndim == 1:
        if column.dtype.kind == "M":
            return _of_datetime64(column, "at")
        if column.dtype.kind in "iuf":
            return _of_seconds(column)
    return np.array([time_us(value, where=f"at of point {number}") for number, value in enumerate(given)], dtype=np.int64)


def span_us(between: object) -> tuple[int, int]:
    """Return (start, end) of event times, both included; None leaves a side open. Raises QueryInvalid, TimeInvalid."""
    if not isinstance(between, (tuple, list)) or len(between) != 2:
        raise QueryInvalid(f"between={between!r:.80} is not a pair of times", hint="give between=(start, end), both included")
    start = TIME_US_MIN if between[0] is None else time_us(between[0], where="the start of between")
    end = TIME_US_MAX if between[1] is None else time_us(between[1], where="the end of between")
    if start > end:
        raise QueryInvalid(f"between starts at {between[0]} and ends before, at {between[1]}", hint="give the earlier time first")
    return start, end


def _as_array(given: Any) -> NDArray[Any] | None:
    """Return numbers and datetime64 as an array; None for all else, so that no time is read through a lossy conversion."""
    if isinstance(given, (list, tuple)) and not {type(value) for value in given} <= {int, float}:
        return None
    try:
        return np.asarray(given)
    except (ValueError, TypeError, OverflowError):
        return None


def _parsed(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise TimeInvalid(f"{where} is {text!r:.80}, which is not an ISO 8601 time", hint=HINT) from None


def _of_datetime(given: datetime, where: str) -> int:
    if given != given:
        raise TimeInvalid(f"{where} is NaT; expected a time", hint=HINT)
    aware = given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    try:
        return _in_range((aware - EPOCH) // MICROSECOND, where, given)
    except OverflowError:
        raise TimeInvalid(f"{where} is {given}, which is out of range", hint=HINT) from None


def _in_range(value_us: int, where: str, given: object) -> int:
    if TIME_US_MIN <= value_us <= TIME_US_MAX:
        return int(value_us)
    raise TimeInvalid(f"{where} is {given}, which is out of range", hint=HINT)


def _of_seconds(column: NDArray[Any]) -> NDArray[np.int64]:
    """Return seconds as microseconds. Bounds are compared before the multiplication, which could overflow."""
    with np.errstate(invalid="ignore"):
        good = (column >= TIME_US_MIN // MICROSECONDS_A_SECOND) & (column <= TIME_US_MAX // MICROSECONDS_A_SECOND)
    if not good.all():
        number = int(np.argmin(good))
        raise TimeInvalid(f"at of point {number} is {column[number]}, which is out of range", hint=HINT)
    if column.dtype.kind == "f":
        return np.rint(column.astype(np.float64) * MICROSECONDS_A_SECOND).astype(np.int64)
    return column.astype(np.int64) * MICROSECONDS_A_SECOND


def _of_datetime64(column: NDArray[Any], where: str) -> NDArray[np.int64]:
    unit, count = np.datetime_data(column.dtype)
    absent = np.isnat(column)
    if absent.any():
        raise TimeInvalid(f"{where} of point {int(np.argmax(absent))} is NaT; expected a time", hint=HINT)
    if unit in SECONDS_A_UNIT:
        seconds = np.abs(column.astype(np.int64).astype(np.float64)) * count * SECONDS_A_UNIT[unit]
        far = seconds > 2 * TIME_US_MAX / MICROSECONDS_A_SECOND
        if far.any():
            raise TimeInvalid(f"{where} of point {int(np.argmax(far))} is out of range", hint=HINT)
    values = column.astype("datetime64[us]").astype(np.int64)
    good = (values >= TIME_US_MIN) & (values <= TIME_US_MAX)
    if not good.all():
        raise TimeInvalid(f"{where} of point {int(np.argmin(good))} is out of range", hint=HINT)
    return values
