"""When nothing else is to be done: what came lately gets an index of its own, and what was deleted gives its room back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.small import SMALL, opened, settle
from paradox.node.embedded import EmbeddedDatabase
from paradox.shard.sealed import Sealed

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
