"""When nothing else is to be done: what came lately gets an index of its own, and what was deleted gives its room back."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.small import IDLE_AFTER_S, SETTLED_WITHIN_S, SMALL, opened, settle
from paradox.model.schema import Limits
from paradox.node.embedded import EmbeddedDatabase
from paradox.planner.choose import Costs
from paradox.shard.sealed import Sealed, SealedVectors

LIMITS = msgspec.structs.replace(SMALL, growing_points_max=400)


def rows_of(embedded: EmbeddedDatabase) -> tuple[list[int], int]:
    """Return the rows of each sealed segment, and how many points grow."""
    [shard] = embedded.opened("notes").held.engine.shards
    return [segment.rows for segment in shard.segments if isinstance(segment, Sealed)], shard.growing.rows


def test_deletes_give_their_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.shard.upkeep.WORTH_SEALING_MIN", 100)
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:
        notes = database.collection("notes", dimensions=4)
        notes.add(ids=range(800), vectors=np.random.default_rng(1).normal(size=(800, 4)))
        settle(embedded)
        assert sum(rows_of(embedded)[0]) == 800
        notes.delete(list(range(90)))  # too few to be worth it
        settle(embedded)
        assert sum(rows_of(embedded)[0]) == 800
        notes.delete(list(range(90, 500)))
        settle(embedded)
        assert rows_of(embedded) == ([300], 0)
        assert notes.count() == 300
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:
        assert {hit.id for hit in database["notes"].scroll()} == set(range(500, 800))


def test_points_that_came_beside_sealed_ones_are_sealed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.shard.upkeep.WORTH_SEALING_MIN", 100)
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:
        notes = database.collection("notes", dimensions=4)
        vectors = np.random.default_rng(2).normal(size=(700, 4))
        notes.add(ids=range(500), vectors=vectors[:500])
        settle(embedded)
        assert rows_of(embedded) == ([500], 0)
        notes.add(ids=range(500, 590), vectors=vectors[500:590])
        settle(embedded)
        assert rows_of(embedded) == ([500], 90)
        notes.add(ids=range(590, 700), vectors=vectors[590:])
        settle(embedded)
        assert rows_of(embedded) == ([700], 0)


def test_what_a_row_takes_is_timed_once_a_search_has_opened_the_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.shard.probing.PACKED_POINTS_MIN", 16_000)
    monkeypatch.setattr("paradox.shard.probing.SLOW_ROW_US", 0.0)  # as if this processor were slow
    monkeypatch.setattr("paradox.shard.probing.Costs", partial(Costs, call_us=0.0, probe_call_us=0.0))  # these rows may take less
    limits, vectors = Limits(growing_points_max=16_000), np.random.default_rng(3).normal(size=(16_000, 128))
    database, embedded = opened(tmp_path, limits=limits)
    with database:
        database.collection("notes", dimensions=128).add(ids=range(16_000), vectors=vectors)
        settle(embedded)
        column = column_of(embedded)
        assert column.has_probe
        assert not column.probed  # one list, of all rows
        assert min(column.scan_row_us, column.list_row_us) > 0
    database, embedded = opened(tmp_path, limits=limits)
    with database:
        notes, column = database["notes"], column_of(embedded)
        settle(embedded)
        assert column.scan_row_us == 0, "codes are opened for the time they take alone"
        assert notes.search(vectors[7], k=1)[0].id == 7
        until = time.monotonic() + SETTLED_WITHIN_S
        while not column.list_row_us:
            assert time.monotonic() < until, "it is never timed"
            time.sleep(IDLE_AFTER_S)  # nobody tells that it was
        assert column.scan_row_us > 0
        assert notes.search(vectors[7], k=1)[0].id == 7


def column_of(embedded: EmbeddedDatabase) -> SealedVectors:
    """Return the vectors of the only sealed segment."""
    [segment] = [one for one in embedded.opened("notes").held.engine.segments() if isinstance(one, Sealed)]
    return segment.vectors["vector"]
