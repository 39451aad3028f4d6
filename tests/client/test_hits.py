"""Hits: what an answer looks like to the one who asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from client.fake import NOW_US, FakeTransport, plan
from paradox.client.hits import Hit, Hits, hits_of
from paradox.client.sync import Collection, Database
from paradox.errors import SegmentCorrupt
from paradox.model.queries import Answer, Answers, Coverage, Plan


def answers(
    payloads: list[dict[str, Any]], *, keys: list[Any] | None = None, vectors: Any = None, trace: Any = None, share: float = 1.0
) -> Answers:
    count = len(payloads)
    answer = Answer(
        keys=keys if keys is not None else [f"p{number}" for number in range(count)],
        score=np.linspace(1, 0, count, dtype=np.float32),
        distance=np.linspace(0, 1, count, dtype=np.float32),
        payloads=[msgspec.msgpack.encode(payload) for payload in payloads],
        vectors=vectors,
        modality=["text"] * count,
        at_us=[NOW_US] * count,
        origin=["here"] * count,
    )
    return Answers(of=[answer], position=7, coverage=Coverage(share=share, holders={"s0": "answered"}), trace=trace)


def test_a_hit_tells_all_of_a_point() -> None:
    [hit] = hits_of(answers([{"topic": "sea"}], keys=[UUID(int=5).bytes], vectors=np.ones((1, 3), dtype=np.float32)))
    assert hit.id == UUID(int=5)
    assert (hit.score, hit.distance, hit.payload, hit.modality, hit.origin) == (1.0, 0.0, {"topic": "sea"}, "text", "here")
    assert hit.at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert hit.vector is not None
    assert hit.vector.tolist() == [1, 1, 1]
    assert isinstance(hit.score, float)
    assert not isinstance(hit.score, np.floating)


def test_a_payload_is_decoded_once_when_it_is_looked_at() -> None:
    hit = Hit("a", 1.0, 0.0, b"\xc1 not MessagePack", None, "text", 0, "")
    with pytest.raises(SegmentCorrupt):
        _ = hit.payload
    [hit] = hits_of(answers([{"topic": "sea"}]))
    assert hit.payload is hit.payload


def test_without_payloads_a_payload_is_empty() -> None:
    bare = answers([{}])
    bare.of[0].payloads = None
    assert hits_of(bare)[0].payload == {}


def test_a_plan_is_made_when_first_asked_for() -> None:
    made: list[Plan] = []

    def trace() -> Plan:
        made.append(plan())
        return made[-1]

    hits = hits_of(answers([{}], trace=trace))
    assert not made
    assert hits.plan is hits.plan
    assert len(made) == 1
    assert hits_of(answers([{}], trace=plan())).plan == plan()
    assert hits_of(answers([{}])).plan is None


def test_hits_are_a_list_with_what_they_stand_for() -> None:
    hits = hits_of(answers([{}, {}], share=0.5))
    assert isinstance(hits, list)
    assert (len(hits), hits.position, hits.coverage.share) == (2, 7, 0.5)


def test_hits_print_as_a_table() -> None:
    shown = repr(hits_of(answers([{"topic": "sea"}, {"text": "x" * 200}], share=0.5))).splitlines()
    assert shown[0] == " score  id  payload"
    assert shown[1] == '1.0000  p0  {"topic":"sea"}'
    assert shown[2].endswith("xx…")
    assert max(map(len, shown)) < 100
    assert shown[3] == "(covers 50% of the collection)"
    assert repr(Hits([])) == "no hits"
    assert repr(hits_of(answers([{}] * 30))).splitlines()[-1] == "… 10 more"
    assert repr(hits_of(answers([{"topic": "sea"}]))[0]) == 'Hit(id=\'p0\', score=1.0000, payload={"topic":"sea"})'


def rows_of_pandas(hits: Hits) -> list[dict[str, Any]]:
    frame = hits.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def rows_of_arrow(hits: Hits) -> list[dict[str, Any]]:
    table = hits.to_arrow()
    assert isinstance(table, pa.Table)
    return list(table.to_pylist())


def rows_of_polars(hits: Hits) -> list[dict[str, Any]]:
    frame = hits.to_polars()
    assert isinstance(frame, pl.DataFrame)
    return frame.to_dicts()


FRAMES = pytest.mark.parametrize("rows_of", [rows_of_pandas, rows_of_arrow, rows_of_polars])


@FRAMES
def test_hits_become_a_frame_with_a_column_a_payload_field(rows_of: Callable[[Hits], list[dict[str, Any]]]) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    first, second = rows_of(hits_of(answers([{"topic": "sea", "id": 5}, {"topic": "sky", "tags": ["a"]}], vectors=vectors)))
    assert (first["id"], first["score"], first["topic"], first["payload.id"], first["origin"]) == ("p0", 1.0, "sea", 5, "here")
    assert first["at"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert list(second["vector"]) == [3, 4, 5]
    assert list(second["tags"]) == ["a"]


@FRAMES
def test_no_hits_become_a_frame_without_rows(rows_of: Callable[[Hits], list[dict[str, Any]]]) -> None:
    assert rows_of(hits_of(answers([]))) == []


@pytest.mark.parametrize("rows_of", [rows_of_arrow, rows_of_polars])
def test_fields_and_ids_of_mixed_types_become_text(rows_of: Callable[[Hits], list[dict[str, Any]]]) -> None:
    first, second = rows_of(
        hits_of(answers([{"mixed": 1, "nested": {"a": 1}}, {"mixed": "x", "nested": [1]}], keys=[7, UUID(int=5).bytes]))
    )
    assert (first["id"], second["id"]) == ("7", str(UUID(int=5)))
    assert (first["mixed"], second["mixed"]) == ("1", '"x"')
    assert (first["nested"], second["nested"]) == ('{"a":1}', "[1]")


def test_a_search_gives_hits_with_a_plan() -> None:
    notes: Collection = Database(FakeTransport()).collection("notes", dimensions=3)
    notes.add(vectors=np.eye(3), ids=["x", "y", "z"])
    hits = notes.search([0, 0, 1], k=2)
    assert [hit.id for hit in hits] == ["z", "x"]
    assert hits.plan is not None
    assert hits.plan.expected_recall == 0.97
    assert hits.coverage.holders == {"s0": "answered"}
