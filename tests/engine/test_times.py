"""Event times and modalities: what a span or a word leaves out is left out exactly, and the plan says how much that was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clusters import Clusters
from engine.oracle import EPOCH
from engine.small import opened, settle, small_samples
from paradox.model.schema import TIME_BUCKETS
from paradox.space.buckets import ALL_TIME, bucket_name, bucket_of

MICROSECOND = timedelta(microseconds=1)
DIMENSIONS = 8

EDGES = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1899, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1900, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    EPOCH,
    EPOCH + MICROSECOND,
    datetime(1979, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1980, 1, 1, tzinfo=UTC),
    datetime(2000, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2000, 2, 29, tzinfo=UTC),
    datetime(2000, 3, 1, tzinfo=UTC),
    datetime(2023, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=UTC) + MICROSECOND,
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
"""Last and first moments of days, months, years and decades, before and after 1970."""


def us_of(time: datetime) -> int:
    return (time - EPOCH) // MICROSECOND


times = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(EDGES)


@given(times)
@settings(max_examples=200)
def test_buckets_are_calendar_days_months_years_and_decades(time: datetime) -> None:
    at_us = np.array([us_of(time)])
    assert bucket_of(at_us, None).tolist() == [ALL_TIME]
    assert bucket_of(at_us, "day").tolist() == [(time - EPOCH).days]
    assert bucket_of(at_us, "month").tolist() == [12 * time.year + time.month - 1]
    assert bucket_of(at_us, "year").tolist() == [time.year]
    assert bucket_of(at_us, "decade").tolist() == [time.year // 10]
    assert bucket_name(int(bucket_of(at_us, "day")[0]), "day") == f"{time:%Y-%m-%d}".zfill(10)
    assert bucket_name(12 * time.year + time.month - 1, "month") == f"{time.year:04d}-{time.month:02d}"
    assert bucket_name(time.year, "year") == f"{time.year:04d}"
    assert bucket_name(time.year // 10, "decade") == f"{time.year // 10 * 10:04d}s"
    assert bucket_name(0, None) == "all"


@given(st.lists(times, min_size=2, max_size=20), st.sampled_from(TIME_BUCKETS))
def test_buckets_never_run_backwards(given_times: list[datetime], time_bucket: str) -> None:
    ordered = sorted(us_of(time) for time in given_times)
    buckets = bucket_of(np.array(ordered), time_bucket).tolist()
    assert buckets == sorted(buckets)


class Dated:
    """Points at the edges of buckets, three of each, and at random moments between, of three modalities."""

    def __init__(self, folder: Path, time_bucket: str | None, *, shards: int) -> None:
        clusters = Clusters("cosine", seed=31, dimensions=DIMENSIONS)
        dice = np.random.default_rng(6)
        self.at = EDGES * 3 + [EPOCH + timedelta(days=float(days)) for days in dice.uniform(-30_000, 20_000, size=355)]
        self.modality = [("text", "image", "sound")[code] for code in dice.integers(3, size=400).tolist()]
        self.db, self.embedded = opened(folder)
        self.points = self.db.collection("dated", dimensions=DIMENSIONS, time_bucket=time_bucket, shards=shards)
        self.query = clusters.draw(1)[0]
        self.points.add(ids=list(range(400)), vectors=clusters.draw(400), at=self.at, modality=self.modality, payload={"n": 1})

    def within(self, low: datetime | None, high: datetime | None, modality: str | None = None) -> list[int]:
        return [
            number
            for number, at in enumerate(self.at)
            if (low is None or low <= at) and (high is None or at <= high) and modality in (None, self.modality[number])
        ]

    def found(self, between: Any, modality: str | None = None, *, exact: bool = True) -> list[int]:
        return sorted(hit.id for hit in self.points.search(self.query, 400, between=between, modality=modality, exact=exact))


@pytest.fixture(autouse=True)
def quick_settling() -> Iterator[None]:
    with small_samples():
        yield


@pytest.fixture(params=[(None, 1), ("day", 1), ("month", 4), ("year", 1), ("decade", 4)], ids=str)
def dated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dated]:
    time_bucket, shards = request.param
    made = Dated(tmp_path, time_bucket, shards=shards)
    yield made
    made.db.close()


def test_a_span_holds_both_its_ends_at_every_edge(dated: Dated) -> None:
    spans = [(low, high) for number, low in enumerate(EDGES) for high in EDGES[number : number + 3]]
    for state in ("growing", "sealed"):
        if state == "sealed":
            settle(dated.embedded)
        for low, high in spans:
            assert dated.found((low, high)) == dated.within(low, high)
            assert dated.found((low, high), exact=False) == dated.within(low, high)
            inside = (low + MICROSECOND, high) if low < high else (low, high)
            assert dated.found(inside) == dated.within(*inside)
        assert dated.found((None, EPOCH)) == dated.within(None, EPOCH)
        assert dated.found((EPOCH, None)) == dated.within(EPOCH, None)
        assert dated.found((None, None)) == list(range(400))


def test_a_modality_leaves_out_all_others(dated: Dated) -> None:
    for state in ("growing", "sealed"):
        if state == "sealed":
            settle(dated.embedded)
        for word in ("text", "image", "sound", "smell"):
            assert dated.found(None, word) == dated.within(None, None, word)
            assert dated.found((EDGES[4], EDGES[9]), word, exact=False) == dated.within(EDGES[4], EDGES[9], word)


def test_times_may_be_asked_for_in_filters_too(dated: Dated) -> None:
    settle(dated.embedded)
    low, high = EDGES[6], EDGES[11]
    assert dated.points.count(f"at between '{low.isoformat()}' and '{high.isoformat()}'") == len(dated.within(low, high))
    assert dated.points.count(f"at > '{low.isoformat()}' and at <= '{high.isoformat()}'") == len(dated.within(low + MICROSECOND, high))
    assert dated.points.count("at = '1970-01-01T00:00:00Z'") == 3
    assert dated.points.count("at = 0") == 3
    assert dated.points.count("modality = 'image' or modality = 'sound'") == 400 - len(dated.within(None, None, "text"))


def test_the_plan_says_how_many_partitions_were_left_out(dated: Dated) -> None:
    settle(dated.embedded)
    whole = dated.points.search(dated.query).plan
    assert whole is not None
    assert whole.partitions_total > 1
    assert whole.partitions_skipped == 0
    span = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 31, tzinfo=UTC))
    timed = dated.points.search(dated.query, between=span).plan
    spoken = dated.points.search(dated.query, modality="text").plan
    both = dated.points.search(dated.query, between=span, modality="text").plan
    assert timed is not None
    assert spoken is not None
    assert both is not None
    bucketed = dated.points.spec.time_bucket is not None
    assert (timed.partitions_skipped > 0) == bucketed
    assert 0 < spoken.partitions_skipped < spoken.partitions_total
    assert both.partitions_skipped >= max(timed.partitions_skipped, spoken.partitions_skipped)
    assert timed.partitions_total == whole.partitions_total


def test_a_point_whose_time_changes_is_found_at_its_new_time_only(dated: Dated) -> None:
    settle(dated.embedded)
    moved = datetime(2031, 5, 5, tzinfo=UTC)
    dated.points.add(ids=[0], vectors=[dated.query], at=moved, modality="text")
    dated.at[0], dated.modality[0] = moved, "text"
    for _ in range(2):
        assert dated.found((moved, moved)) == [0]
        assert dated.found((EDGES[0], EDGES[0])) == dated.within(EDGES[0], EDGES[0])
        settle(dated.embedded)


def test_times_are_read_alike_however_they_are_written(tmp_path: Path) -> None:
    db, _ = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    noon = datetime(2024, 5, 17, 12, tzinfo=UTC)
    written: list[Any] = [
        noon,
        noon.astimezone(timezone(timedelta(hours=5, minutes=30))),
        noon.replace(tzinfo=None),
        "2024-05-17T12:00:00Z",
        "2024-05-17T14:00:00+02:00",
        noon.timestamp(),
        int(noon.timestamp()),
        np.datetime64("2024-05-17T12:00:00"),
    ]
    for number, at in enumerate(written):
        points.add(ids=[number], vectors=[[1, 2]], at=at)
    points.add(ids=["day"], vectors=[[1, 2]], at=date(2024, 5, 17))
    for low in written:
        assert sorted(hit.id for hit in points.search([1, 2], 20, between=(low, low))) == list(range(len(written)))
    assert [hit.at for hit in points.get(list(range(len(written))))] == [noon] * len(written)
    assert points.get("day")[0].at == datetime(2024, 5, 17, tzinfo=UTC)
    now = points.add(ids=["now"], vectors=[[1, 2]])
    assert abs(points.get(now.ids)[0].at - datetime.now(tz=UTC)) < timedelta(minutes=1)
    db.close()
