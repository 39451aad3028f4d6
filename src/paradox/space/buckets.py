"""Time buckets: the second part of a partition's name (modality, time bucket, region)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALL_TIME = 0
MICROSECONDS_A_DAY = 86_400_000_000


def bucket_of(at_us: NDArray[np.int64], time_bucket: str | None) -> NDArray[np.int32]:
    """Return the bucket number of each event time: days since 1970, or calendar months, years or decades. One bucket when None."""
    if time_bucket is None:
        return np.full(len(at_us), ALL_TIME, dtype=np.int32)
    if time_bucket == "day":
        return np.floor_divide(at_us, MICROSECONDS_A_DAY).astype(np.int32)
    months = at_us.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) + 1970 * 12
    if time_bucket == "month":
        return months.astype(np.int32)
    years = np.floor_divide(months, 12)
    return (years if time_bucket == "year" else np.floor_divide(years, 10)).astype(np.int32)


def bucket_name(bucket: int, time_bucket: str | None) -> str:
    """Return a bucket as people write it: 2024-05-17, 2024-05, 2024 or 2020s."""
    match time_bucket:
        case None:
            return "all"
        case "day":
            return str(np.datetime64(bucket, "D"))
        case "month":
            return f"{bucket // 12:04d}-{bucket % 12 + 1:02d}"
        case "year":
            return f"{bucket:04d}"
        case _:
            return f"{bucket * 10:04d}s"
