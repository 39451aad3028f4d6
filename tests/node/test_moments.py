"""How a collection stood at a position of its log: as it was, whatever came later, and for a moment only."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.small import SMALL, opened, settle
from paradox.node.moments import KEPT_MAX, KEPT_S, Moment
from paradox.node.reads import rows_of

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
        notes.add(ids=range(1_000, 1_800), vectors=np.repeat(vectors[:400], 2, axis=0), payload={"version": 5})
        settle(embedded)  # what grew then is sealed now
        assert versions(moment) == {3: 1, 450: 1, 455: 1, 459: 1}
        assert held.moments.at(held.commit_barrier()) is None  # nobody asked for that one to be kept
    database, embedded = opened(tmp_path, limits=LIMITS)
    with database:
        assert embedded.opened("notes").held.moments.at(position) is None


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
