"""Cut the power after every single disk operation of a database's life, lose what a disk may lose, and look what is left."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from disks import LOSSES, Loss
from durability.lives import NAME, Deed, Shape, World, after, expect_agreement, next_deed, perform, settled_with, world_in
from durability.mirror import MirroredDisk, StillWorker, still_database
from paradox.client.sync import Database
from paradox.model.events import MapChanged, SegmentSealed, SegmentsMerged
from paradox.model.schema import Limits
from worlds import TestEnv

DEEDS = 200
SMALL = Limits(growing_points_max=120, region_points_max=60, region_points_min=12, segment_points_max=2000, log_file_bytes_max=6_000)
SHAPES = {
    "plain": Shape(limits=SMALL, batch_max=20),
    "copies": Shape(limits=SMALL, batch_max=20, shards=3, copies=2),
    "text": Shape(limits=SMALL, batch_max=20, text=True),
}


class Life:
    """Two hundred deeds and the upkeep between them, on a disk whose power is cut after each operation.

    Each wreck is looked at at once, in another folder. losses: what is lost, for each wreck.
    """

    def __init__(self, home: Path, shape: Shape, seed: int, *, losses: tuple[Loss, ...]) -> None:
        self.shape = shape
        self.dice = random.Random(seed)
        self.losses = losses
        self.root, self.wreck = home / "life", home / "wreck"
        self.root.mkdir()
        self.env = TestEnv(seed)
        self.world = World({})
        self.in_flight: list[Deed] = []
        self.operations = self.wrecks = 0
        self.seen: set[int] = set()
        self.disk = MirroredDisk(self.root, self.cut)

    def open(self) -> Database:
        self.worker: StillWorker
        embedded = still_database(self.root, disk=self.disk, env=self.env, limits=self.shape.limits)
        self.worker = embedded.worker  # type: ignore[assignment]
        return Database(embedded)

    def live(self, deeds: int) -> None:
        database = self.open()
        collection = self.shape.collection(database)
        for number in range(deeds):
            deed = next_deed(self.dice, sorted(self.world.points, key=str), self.shape)
            self.in_flight = [deed]
            perform(database, collection, self.shape, deed)
            self.world, self.in_flight = after(self.world, self.shape, deed), []
            for _ in range(self.dice.choice((0, 1, 1, 3))):
                self.worker.work()
            self.env.advance(0.01)
            if number % 60 == 59:
                database.close()
            if number % 60 == 29:  # killed: what it wrote is in the system's memory still, to be lost later
                database._transport.lock.release()  # type: ignore[attr-defined]
            if number % 30 == 29:
                database = self.open()
                collection = database[NAME]
        while self.worker.work():
            pass
        database.close()

    def cut(self, operation: str) -> None:
        self.operations += 1
        for loss in self.losses if self.operations % 3 else LOSSES[-1:]:
            left = self.disk.after_power_cut(loss, self.dice)
            mark = hash((tuple(left.items()), id(self.world), tuple(deed.tag for deed in self.in_flight)))
            if mark not in self.seen:
                self.seen.add(mark)
                self.wrecks += 1
                self.look(left, f"after operation {self.operations} ({operation}), losing {loss}")

    def look(self, left: dict[Path, bytes], place: str) -> None:
        shutil.rmtree(self.wreck, ignore_errors=True)
        self.wreck.mkdir()
        for path, content in left.items():
            (self.wreck / path).parent.mkdir(parents=True, exist_ok=True)
            (self.wreck / path).write_bytes(content)
        try:
            expect_whole(self.wreck, self.shape, self.world, self.in_flight, random.Random(place))
        except BaseException as error:
            error.add_note(place)
            raise


def expect_whole(root: Path, shape: Shape, world: World, in_flight: list[Deed], dice: random.Random) -> None:
    """All that was acknowledged is there, and life goes on."""
    env = TestEnv(dice.randrange(1 << 30), now_us=1_800_000_000_000_000)
    database = Database(still_database(root, env=env, limits=shape.limits))
    if NAME not in database.collections():
        assert not world.points
        database.close()
        return
    world = settled_with(shape, world, world_in(shape, database), in_flight)
    if dice.random() < 0.2:
        expect_agreement(shape, database, world, dice)
    report = database.verify()
    assert report["healthy"], report["damaged"]
    if dice.random() < 0.1:
        deed = next_deed(dice, sorted(world.points, key=str), shape)
        perform(database, database[NAME], shape, deed)
        world = after(world, shape, deed)
        while database._transport.worker.work():  # type: ignore[attr-defined]
            pass
        expect_agreement(shape, database, world, dice)
        database.close()
        database = Database(still_database(root, env=env, limits=shape.limits))
        settled_with(shape, world, world_in(shape, database), [])
    database.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in SHAPES if name != "plain")])
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(home: Path, name: str) -> None:
    life = Life(home, SHAPES[name], 1, losses=("everything",))
    life.live(DEEDS)
    assert life.operations > 800, life.operations
    assert life.wrecks > 500, life.wrecks
    happened = Counter(type(event) for event in life.env.events)
    assert min(happened[SegmentSealed], happened[SegmentsMerged], happened[MapChanged]) >= 3, happened
