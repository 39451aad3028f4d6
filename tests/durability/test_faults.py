"""Disks that are full or fail: what was refused left no trace, what was acknowledged stays, and life goes on."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disks import FaultyDisk
from durability.deaths import program
from durability.grown import LIMITS
from durability.lives import NAME, Shape, World, after, expect_agreement, next_deed, perform, settled_with, world_in
from durability.mirror import HastyDisk, StillWorker, still_database
from paradox.client.sync import Collection, Database
from paradox.errors import LogUnavailable, ParadoxError, StoreFull
from worlds import TestEnv

SHAPE = Shape(limits=LIMITS, batch_max=20, shards=2, copies=2)
PLAIN = Shape(limits=LIMITS, batch_max=20)
OPERATIONS = ("append", "sync", "create", "extend", "publish", "sync_folder", "make_folder", "remove")


def faulty(folder: Path, operation: str, error: int, *, nth: int = 1, times: int = 1, written: int = 0, shape: Shape = PLAIN) -> Any:
    """Open a database whose disk will fail. Returns it and its disk, which counts from when `arm` is called."""
    disk = Armed(operation, error, nth=nth, times=times, written=written)
    folder.mkdir(exist_ok=True)
    return still_database(folder, disk=disk, env=TestEnv(7), limits=shape.limits), disk


class Armed(FaultyDisk):
    """A FaultyDisk whose counting begins when it is told to."""

    def __init__(self, operation: str, error: int, **options: int) -> None:
        super().__init__(HastyDisk(), operation, error, **options)
        self.armed = False

    def meet(self, operation: str, *arguments: Any) -> None:
        if self.armed:
            super().meet(operation, *arguments)


def points_of(collection: Collection) -> dict[Any, Any]:
    return {hit.id: hit.payload for hit in collection.scroll()}


@pytest.mark.parametrize("written", [0, 1, 100, 5000])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_refuses_a_write_wholly_and_takes_the_next(tmp_path: Path, error: int, written: int) -> None:
    embedded, disk = faulty(tmp_path / "db", "append", error, times=3, written=written)
    database = Database(embedded)
    collection = PLAIN.collection(database)
    collection.add(ids=[1, 2], vectors=np.ones((2, 8)), payload={"n": 1})
    disk.armed = True
    for refused in (
        lambda: collection.add(ids=[2, 3], vectors=np.ones((2, 8)), payload={"n": 2}),
        lambda: collection.update(1, {"n": 3}),
        lambda: collection.delete([1, 2]),
    ):
        with pytest.raises(StoreFull) as raised:
            refused()
        assert raised.value.message == "the disk is full: the log could not be written, and nothing was changed"
        assert raised.value.hint == "free some space and try again"
        assert raised.value.retryable
        assert points_of(collection) == {1: {"n": 1}, 2: {"n": 1}}
        assert collection.count() == 2
    collection.add(ids=[3], vectors=np.ones((1, 8)), payload={"n": 4})
    expected = {1: {"n": 1}, 2: {"n": 1}, 3: {"n": 4}}
    assert points_of(collection) == expected
    database.close()
    again = Database(still_database(tmp_path / "db", disk=HastyDisk()))
    assert points_of(again[NAME]) == expected
    assert again.verify()["healthy"]
    again.close()


def test_after_a_failed_sync_nothing_is_written_until_the_database_is_opened_anew(tmp_path: Path) -> None:
    embedded, disk = faulty(tmp_path / "db", "sync", errno.EIO)
    database = Database(embedded)
    collection = PLAIN.collection(database)
    collection.add(ids=[1], vectors=np.ones((1, 8)))
    disk.armed = True
    with pytest.raises(LogUnavailable, match=r"could not be brought to disk \(Input/output error\); nothing was acknowledged"):
        collection.add(ids=[2], vectors=np.ones((1, 8)))
    for refused in (
        lambda: collection.add(ids=[3], vectors=np.ones((1, 8))),
        lambda: collection.update(1, {"n": 1}),
        lambda: collection.delete([1]),
    ):
        with pytest.raises(LogUnavailable, match="takes no entries since a write could not be brought to disk") as raised:
            refused()
        assert raised.value.hint == "close the database and open it again; if that fails too, check the disk"
    assert points_of(collection) == {1: {}}
    assert len(collection.search(np.ones(8))) == 1
    database.close()
    again = Database(still_database(tmp_path / "db", disk=HastyDisk()))
    assert points_of(again[NAME]) == {1: {}}
    again[NAME].add(ids=[3], vectors=np.ones((1, 8)))
    assert again[NAME].count() == 2
    again.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_fails_once_costs_nothing_that_was_acknowledged(tmp_path: Path, operation: str, error: int) -> None:
    failed = 0
    for nth in (1, 4, 12, 30):
        failed += live_with_a_fault(tmp_path / f"{nth}", operation, error, nth)
    assert failed >= (2 if operation != "make_folder" else 1)


def live_with_a_fault(folder: Path, operation: str, error: int, nth: int) -> bool:
    """Do some deeds on a disk whose n-th such operation fails, trying each again; tell whether it did fail."""
    embedded, disk = faulty(folder, operation, error, nth=nth, shape=SHAPE)
    database = Database(embedded)
    collection = SHAPE.collection(database)
    disk.armed = True
    dice = random.Random(nth)
    world, failed = World({}), False
    for _ in range(45):
        deed = next_deed(dice, sorted(world.points, key=str), SHAPE, alone=False)
        for again in (True, False):
            try:
                perform(database, collection, SHAPE, deed)
                world = after(world, SHAPE, deed)
                break
            except ParadoxError as refusal:
                assert again, refusal
                failed = True
                if isinstance(refusal, LogUnavailable):
                    database.close()
                    embedded = still_database(folder, disk=disk, env=TestEnv(8), limits=SHAPE.limits)
                    database = Database(embedded)
                    collection = database[NAME]
                assert settled_with(SHAPE, world, world_in(SHAPE, database), []) == world
        failed |= not worked(embedded.worker)
    for _ in range(200):
        failed |= not worked(embedded.worker)
    settled_with(SHAPE, world, world_in(SHAPE, database), [])
    expect_agreement(SHAPE, database, world, dice)
    database.close()
    database = Database(still_database(folder, disk=HastyDisk(), env=TestEnv(9), limits=SHAPE.limits))
    settled_with(SHAPE, world, world_in(SHAPE, database), [])
    expect_agreement(SHAPE, database, world, dice)
    database.close()
    return failed or disk._times == 0


def worked(worker: StillWorker) -> bool:
    """Do a step of background work, and tell whether it went well."""
    try:
        worker.work()
    except (ParadoxError, OSError):
        return False
    return True


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from durability.lives import Shape
from paradox.errors import StoreFull
from paradox.model.schema import Limits

shape = Shape(dimensions=64, limits=Limits(growing_points_max=400, log_file_bytes_max=1 << 30))
database = shape.open(Path(sys.argv[1]))
collection = shape.collection(database)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, most))
added, refused = 0, 0
while refused < 3:
    try:
        collection.add(ids=range(added, added + 10), vectors=np.random.default_rng(added).normal(size=(10, 64)))
        added += 10
    except StoreFull:
        refused += 1
        assert collection.count() == added
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
for _ in range(60):
    collection.add(ids=range(added, added + 10), vectors=np.random.default_rng(added).normal(size=(10, 64)))
    added += 10
assert database._transport.worker.wait_until_settled(30), database.status()
assert database.status()["healthy"], database.status()
assert any(segment["sealed"] for shard in collection.info()["shards"] for segment in shard["segments"])
assert collection.count() == added
database.close()
print(added)
"""


def test_a_file_that_cannot_grow_is_a_full_disk_also_to_native_code(tmp_path: Path) -> None:
    output = program(FULL, str(tmp_path))
    added = int(output)
    database = Shape(dimensions=64).open(tmp_path)
    assert {hit.id for hit in database[NAME].scroll()} == set(range(added))
    assert database.verify()["healthy"]
    database.close()
