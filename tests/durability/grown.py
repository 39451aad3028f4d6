"""A small database that has everything: sealed segments with dead rows and all indexes, a log of several files, growing points."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np

from durability.lives import NAME, Deed, Shape, World, after, id_of, perform
from durability.mirror import HastyDisk, StillWorker, still_database
from paradox.client.sync import Database
from paradox.model.schema import Limits
from paradox.node.embedded import EmbeddedDatabase
from worlds import TestEnv

LIMITS = Limits(growing_points_max=100, region_points_max=30, region_points_min=4, segment_points_max=110, log_file_bytes_max=4_000)
SHAPE = Shape(limits=LIMITS, text=True)
SEEDS = itertools.count(2)
"""No two openings may give a segment the same random name."""


class Grown:
    """The database in `folder`, closed. worlds: what it held at each log position.

    segments: the ids that live in each segment. rows: all ids in it, dead ones too; what was updated later needs them to be replayed.
    """

    def __init__(self, folder: Path, shape: Shape = SHAPE) -> None:
        self.folder = folder
        self.shape = shape
        self.worlds: dict[int, World] = {0: World({})}
        self.segments: dict[str, set[int | str]] = {}
        self.rows: dict[str, set[int | str]] = {}
        self._grow()

    @property
    def world(self) -> World:
        return self.worlds[max(self.worlds)]

    @property
    def home(self) -> Path:
        return self.folder / "collections" / NAME

    def files(self) -> list[Path]:
        """Return every file, sorted by path; not the lock."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name != "LOCK")

    def copy(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        return folder

    def _grow(self) -> None:
        env = TestEnv(1)
        embedded = opened(self.folder, self.shape, env=env)
        database = Database(embedded)
        collection = self.shape.collection(database)

        def do(verb: str, numbers: range, tag: int) -> None:
            deed = Deed(verb, [id_of(number) for number in numbers], tag)  # type: ignore[arg-type]
            perform(database, collection, self.shape, deed)
            self.worlds[embedded.opened(NAME).held.log.last] = after(self.world, self.shape, deed)
            env.advance(1)

        do("add", range(100), 1)
        work(embedded)
        do("delete", range(0, 100, 11), 0)
        do("update", range(1, 50, 9), 8)
        do("add", range(90, 190), 2)
        work(embedded)
        do("delete", range(95, 190, 10), 0)
        for number in range(5):
            do("add", range(200 + 9 * number, 210 + 9 * number), 10 + number)
        do("update", range(100, 104), 3)
        for segment in embedded.opened(NAME).held.engine.segments():
            keys = segment.keys_at(np.arange(segment.rows))
            self.rows[segment.name] = set(keys)  # type: ignore[arg-type]
            self.segments[segment.name] = {key for key, alive in zip(keys, segment.alive(), strict=True) if alive}  # type: ignore[misc]
        database.close()


def opened(folder: Path, shape: Shape = SHAPE, *, read_only: bool = False, env: TestEnv | None = None) -> EmbeddedDatabase:
    """Open a database without background work, and without waiting for the disk."""
    folder.mkdir(exist_ok=True)
    env = env or TestEnv(next(SEEDS), now_us=1_800_000_000_000_000)
    return still_database(folder, disk=HastyDisk(), env=env, read_only=read_only, limits=shape.limits)


def work(embedded: EmbeddedDatabase) -> None:
    """Do all background work there is, probe indexes of small segments included."""
    worker = embedded.worker
    assert isinstance(worker, StillWorker)
    with patch("paradox.shard.probing.PROBE_POINTS_MIN", 50), patch("paradox.node.upkeep.MEASURED_POINTS_MIN", 50):
        for _ in range(100):
            if not worker.work():
                return
    raise AssertionError("background work does not end")
