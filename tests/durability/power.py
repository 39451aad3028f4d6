"""A life on a disk whose power is cut after each operation; each wreck is looked at at once, in another folder."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from disks import LOSSES, Loss
from durability.lives import NAME, Deed, Shape, World, after, expect_agreement, next_deed, perform, settled_with, world_in
from durability.mirror import HastyDisk, MirroredDisk, StillWorker, still_database
from paradox.client.sync import Database
from paradox.model.schema import Limits
from paradox.router import patience
from worlds import TestEnv

SMALL = Limits(growing_points_max=120, region_points_max=60, region_points_min=12, segment_points_max=2000, log_file_bytes_max=6_000)
SHAPES = {
    "plain": Shape(limits=SMALL, batch_max=20),
    "copies": Shape(limits=SMALL, batch_max=20, shards=3, copies=2),
    "text": Shape(limits=SMALL, batch_max=20, text=True),
}
Files = dict[Path, bytes]


class Wreck:
    """What a power cut left, and what had been acknowledged by then."""

    def __init__(self, left: Files, world: World, in_flight: list[Deed], place: str) -> None:
        self.left = left
        self.world = world
        self.in_flight = in_flight
        self.place = place


class Life:
    """Deeds and the upkeep between them.

    losses: what is lost after each operation; after every third one, instead, something random. begin: the wreck to begin with.
    keep_every: of so many wrecks one is kept in `kept`.
    """

    def __init__(
        self, home: Path, shape: Shape, seed: int, *, losses: tuple[Loss, ...], begin: Wreck | None = None, keep_every: int = 0
    ) -> None:
        self.shape = shape
        self.dice, self.dice_of_losses = random.Random(seed), random.Random(f"losses {seed}")
        self.losses = losses
        self.root, self.wreck = home / "life", home / "wreck"
        self.env = TestEnv(seed)
        self.world = begin.world if begin else World({})
        self.in_flight = begin.in_flight if begin else []
        self.operations = self.wrecks = 0
        self.kept: list[Wreck] = []
        self._keep_every = keep_every
        self._seen: set[int] = set()
        write_files(self.root, begin.left if begin else {})
        self.disk = MirroredDisk(self.root, self.cut)

    def open(self) -> Database:
        embedded = still_database(self.root, disk=self.disk, env=self.env, limits=self.shape.limits)
        assert isinstance(embedded.worker, StillWorker)
        self.worker = embedded.worker
        return Database(embedded)

    @patch.object(patience, "SAMPLES", (((1, 10), 8),))  # how far searches go is measured anew in most wrecks
    def live(self, deeds: int, *, first: Sequence[Deed] = ()) -> None:
        """Do so many deeds, beginning with `first`."""
        database = self.open()
        self.world, self.in_flight = settled_with(self.shape, self.world, world_in(self.shape, database), self.in_flight), []
        collection = self.shape.collection(database)
        for number in range(deeds):
            deed = first[number] if number < len(first) else next_deed(self.dice, sorted(self.world.points, key=str), self.shape)
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
            left = self.disk.after_power_cut(loss, self.dice_of_losses)
            mark = hash((tuple(left.items()), id(self.world), tuple(deed.tag for deed in self.in_flight)))
            if mark in self._seen:
                continue
            self._seen.add(mark)
            self.wrecks += 1
            wreck = Wreck(left, self.world, list(self.in_flight), f"after operation {self.operations} ({operation}), losing {loss}")
            if self._keep_every and self.wrecks % self._keep_every == 0:
                self.kept.append(wreck)
            write_files(self.wreck, left)
            try:
                expect_whole(self.wreck, self.shape, wreck)
            except BaseException as error:
                error.add_note(wreck.place)
                raise


def write_files(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def expect_whole(root: Path, shape: Shape, wreck: Wreck) -> None:
    """All that was acknowledged is there; and sometimes, that life goes on."""
    dice = random.Random(wreck.place)
    env = TestEnv(dice.randrange(1 << 30), now_us=1_800_000_000_000_000)
    database = Database(still_database(root, disk=HastyDisk(), env=env, limits=shape.limits))
    world = settled_with(shape, wreck.world, world_in(shape, database), wreck.in_flight)
    report = database.verify()
    assert report["healthy"], report["damaged"]
    if NAME in database.collections() and dice.random() < 0.2:
        expect_agreement(shape, database, world, dice)
        deed = next_deed(dice, sorted(world.points, key=str), shape)
        perform(database, database[NAME], shape, deed)
        world = after(world, shape, deed)
        worker = database._transport.worker  # type: ignore[attr-defined]
        while worker.work():
            pass
        expect_agreement(shape, database, world, dice)
        database.close()
        database = Database(still_database(root, disk=HastyDisk(), env=env, limits=shape.limits))
        settled_with(shape, world, world_in(shape, database), [])
    database.close()
