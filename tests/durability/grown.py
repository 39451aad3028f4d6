"""A small database that has everything: sealed segments with dead rows and all indexes, a log of several files, growing points."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

from durability.lives import NAME, Deed, Shape, World, after, id_of, perform
from durability.mirror import HastyDisk, StillWorker, still_database
from paradox.client.sync import Database
from paradox.model.schema import Limits
from paradox.node.embedded import EmbeddedDatabase
from worlds import TestEnv

LIMITS = Limits(growing_points_max=100, region_points_max=30, region_points_min=4, segment_points_max=110, log_file_bytes_max=9_000)
SHAPE = Shape(limits=LIMITS, text=True)


class Grown:
    """The database in `folder`, closed. worlds: what it held at each log position. segments: the ids in each segment."""

    def __init__(self, folder: Path, shape: Shape = SHAPE) -> None:
        self.folder = folder
        self.shape = shape
        self.worlds: dict[int, World] = {0: World({})}
        self.segments: dict[str, set[int | str]] = {}
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
            self.segments[segment.name] = set(segment.keys_at(segment.alive().nonzero()[0]))  # type: ignore[arg-type]
        database.close()


def opened(folder: Path, shape: Shape = SHAPE, *, read_only: bool = False, env: TestEnv | None = None) -> EmbeddedDatabase:
    """Open a database without background work, and without waiting for the disk."""
    folder.mkdir(exist_ok=True)
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
