"""What nodes that died or never come back leave in the store goes, and nothing that is needed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from cluster.members import LOOK_S, WAIT_S, members
from log_servers import LogServers
from paradox.model.schema import Limits
from paradox.node.snapshots import reached, segments_in

SHARDS = 4


def test_what_a_node_that_is_gone_left_is_deleted(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 1.0)
    monkeypatch.setattr("paradox.node.member.SWEEP_S", 0.1)
    monkeypatch.setattr("paradox.node.sweep.SAFE_S", 3.0)
    with members(servers, tmp_path, 3, limits=Limits(growing_points_max=50, region_points_max=10_000)) as nodes:
        points = nodes.connect().collection("points", dimensions=4, shards=SHARDS, copies=2)
        dice, count = np.random.default_rng(1), 0
        folder = nodes.transport(0).opened("points").held.folder
        assert folder is not None
        gone = folder / "manifests" / "n2"
        orphan = folder / "segments" / "0123456789abcdef"
        until = time.monotonic() + 2 * WAIT_S
        while not (gone.exists() and any(gone.iterdir())):
            points.add(ids=range(count, count + 40), vectors=dice.normal(size=(40, 4)))
            count += 40
            assert time.monotonic() < until
        nodes.stop(2)
        orphan.mkdir()
        (orphan / "points").write_bytes(b"what a crash left")
        while orphan.exists() or any(gone.iterdir()):
            points.add(ids=range(count, count + 40), vectors=dice.normal(size=(40, 4)))
            count += 40
            assert time.monotonic() < until, (orphan.exists(), list(gone.iterdir()))
            time.sleep(LOOK_S)
        for member in nodes.running.values():
            held = member.database.opened("points").held
            for manifest in held.snapshots.of_all():
                assert reached(manifest) <= segments_in(held.store)
        assert points.count() == count
        nodes.stop(0, 1)
        nodes.start(0, 1)
        assert points.count(consistency="strong") == count
        assert {hit.id for hit in points.scroll()} == set(range(count))
