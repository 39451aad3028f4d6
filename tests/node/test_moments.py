"""How a collection stood at a position of its log: as it was, whatever came later, and for a moment only."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.small import SMALL, opened, settle
from paradox.model.filter_syntax import as_filter
from paradox.node.moments import KEPT_MAX, KEPT_S, Moment
from paradox.node.reads import rows_of
from paradox.shard.search import matching_of

LIMITS = msgspec.structs.replace(SMALL, growing_points_max=400)
KEYS = [3, 450, 455, 459, 900]


def versions(moment: Moment) -> dict[object, int]:
    answer = rows_of(list(moment.find(KEYS).values()), using=None)
    return {key: msgspec.msgpack.decode(payload)["version"] for key, payload in zip(answer.keys, answer.payloads or [], strict=True)}


def test_a_moment_stays_as_it_was(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(460, 4))
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:
        notes = database.collection("notes", dimensions=4)
        notes.add(ids=range(450), vectors=vectors[:450], payload={"version": 1})
        settle(embedded)  # point 3 is sealed, the others below grow
        notes.add(ids=range(450, 460), vectors=vectors[450:], payload={"version": 1})
        held = embedded.opened("notes").held
        position = held.commit_barrier(kept=True)
        notes.add(ids=[3, 450], vectors=vectors[:2], payload={"version": 2})
        notes.update(455, {"version": 3})
        notes.delete([459])
        notes.add(ids=[900], vectors=vectors[:1], payload={"version": 4})
        moment = held.moments.at(position)
        assert moment is not None
        assert moment.position == position
        assert versions(moment) == {3: 1, 450: 1, 455: 1, 459: 1}
        assert sum(np.count_nonzero(there) for _, there in moment.shards[0]) == 460
        at_once = held.commit_barrier(kept=True)
        assert held.moments.at(at_once) is not None
        assert held.moments.at(held.commit_barrier()) is None  # nobody asked for that one to be kept
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:  # the barriers are read again, and nobody asks for them any more
        held = embedded.opened("notes").held
        assert held.manifest is None or held.manifest.position < position
        assert held.moments.at(position) is None
        assert held.moments.at(at_once) is None


def test_a_moment_stays_as_it_was_when_what_grew_is_sealed(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(800, 4))
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:
        notes = database.collection("notes", dimensions=4)
        notes.add(ids=KEYS[:4], vectors=vectors[:4], payload={"version": 1})
        held = embedded.opened("notes").held
        moment = held.moments.at(held.commit_barrier(kept=True))
        notes.add(ids=range(1_000, 1_800), vectors=vectors, payload={"version": 2})
        notes.update(450, {"version": 3})
        settle(embedded)
        assert held.engine.shards[0].segments[0].name != "growing"
        assert moment is not None
        assert versions(moment) == {3: 1, 450: 1, 455: 1, 459: 1}


def test_a_filter_by_id_finds_the_version_that_was_there(tmp_path: Path) -> None:
    database, embedded = opened(tmp_path)
    with database:
        notes = database.collection("notes", dimensions=4)
        notes.add(ids=[1, 2, 3], vectors=np.eye(4)[:3], payload={"version": 1})
        held = embedded.opened("notes").held
        moment = held.moments.at(held.commit_barrier(kept=True))
        notes.add(ids=[2], vectors=np.eye(4)[3:], payload={"version": 2})
        assert moment is not None
        [(segment, there)] = moment.shards[0]
        for where, rows in {"id = 2": [1], "id in (2, 3)": [1, 2], "id != 2": [0, 2], "not id = 2": [0, 2]}.items():
            assert np.flatnonzero(matching_of(segment, there, as_filter(where, LIMITS))).tolist() == rows, where


def test_moments_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, embedded = opened(tmp_path)
    with database:
        notes = database.collection("notes", dimensions=4)
        notes.add(ids=[1], vectors=np.ones((1, 4)))
        held = embedded.opened("notes").held
        positions = [held.commit_barrier(kept=True) for _ in range(KEPT_MAX + 2)]
        assert held.moments.at(positions[0]) is None
        assert held.moments.at(positions[-1]) is not None
        now = held.env.elapsed_s()
        monkeypatch.setattr(held.env, "elapsed_s", lambda: now + KEPT_S + 1)
        notes.add(ids=[2], vectors=np.ones((1, 4)))
        assert held.moments.at(positions[-1]) is None
