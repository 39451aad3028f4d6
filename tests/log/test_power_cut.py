"""Cut the power after every single disk operation of a long script, lose what a disk may lose, and look what is left."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.log import entries
from disks import LOSSES, FaultyDisk, Loss, SimulatedDisk
from paradox.errors import LogUnavailable, StoreFull
from paradox.log.file import FileLog
from paradox.model.events import TailRepaired
from paradox.model.schema import Limits
from worlds import TestEnv

FOLDER = Path("/database/log")
LIMITS = Limits(log_file_bytes_max=3000)


@dataclass
class Wreck:
    """What a power cut left, and what had been promised by then. in_flight: bodies whose append had not returned."""

    disk: SimulatedDisk
    promised: dict[int, bytes]
    in_flight: list[bytes]
    trimmed: int
    place: str


class Story:
    """A writer's life on a disk that is photographed after each operation, as it would be after a power cut then."""

    def __init__(self, seed: int, losses: tuple[Loss, ...] = LOSSES) -> None:
        self.dice = random.Random(seed)
        self.disk = SimulatedDisk(after=self._photograph)
        self.losses = losses
        self.promised: dict[int, bytes] = {}
        self.in_flight: list[bytes] = []
        self.trimmed = 0
        self.operations = 0
        self.wrecks: list[Wreck] = []

    def _photograph(self, operation: str) -> None:
        self.operations += 1
        for loss in self.losses:
            left = SimulatedDisk(self.disk.after_power_cut(loss, self.dice))
            left.make_folder(FOLDER)
            place = f"after operation {self.operations} ({operation}), losing {loss}"
            self.wrecks.append(Wreck(left, dict(self.promised), self.in_flight, self.trimmed, place))

    def open(self, disk: SimulatedDisk | FaultyDisk | None = None) -> FileLog:
        return FileLog.open(FOLDER, disk=disk or self.disk, env=TestEnv(self.operations), limits=LIMITS)

    def append(self, log: FileLog, *sizes: int) -> None:
        self.in_flight = [self.dice.randbytes(size) for size in sizes]
        log.append([[body[: len(body) // 3], body[len(body) // 3 :]] for body in self.in_flight])
        self.keep(self.in_flight)

    def keep(self, bodies: list[bytes]) -> None:
        position = max(self.promised, default=0)
        self.promised |= {position + number: body for number, body in enumerate(bodies, start=1)}
        self.in_flight = []

    def trim(self, log: FileLog, through: int) -> None:
        self.trimmed = max(self.trimmed, through)
        log.trim(through)


def long_story(seed: int) -> Story:
    story = Story(seed)
    dice = story.dice
    log = story.open()
    for step in range(64):
        story.append(log, *(dice.choice((0, 7, 40, 300, 512, 900, 2000)) for _ in range(dice.choice((1, 1, 2, 3, 5)))))
        if step % 15 == 14:
            story.trim(log, dice.randrange(log.first, log.last))
        if step % 20 == 19:
            log.close()
            log = story.open()
        if step in (30, 50):  # the writer is killed: what it wrote stays in the system's memory, what it did not sync may be lost later
            log = story.open()
    log.close()
    return story


def check(wreck: Wreck) -> None:
    """Everything promised is there, byte for byte; what was in flight is there whole or not at all; and life goes on."""
    before = wreck.disk.contents()
    seen = entries_from_first(open_reader(wreck.disk))
    assert wreck.disk.contents() == before, f"a reader changed something {wreck.place}"
    env = TestEnv(7)
    log = FileLog.open(FOLDER, disk=wreck.disk, env=env, limits=LIMITS)
    found = entries_from_first(log)
    assert found == seen, f"reader and writer disagree {wreck.place}"
    assert list(found) == list(range(log.first, log.last + 1)), f"positions have gaps {wreck.place}"
    assert log.first <= wreck.trimmed + 1, f"more was trimmed than allowed {wreck.place}"
    last = max(wreck.promised, default=0)
    assert log.last >= last, f"acknowledged entries are gone {wreck.place}"
    assert all(found[position] == body for position, body in wreck.promised.items() if position >= log.first), wreck.place
    extra = [body for position, body in found.items() if position > last]
    assert extra in ([], wreck.in_flight), f"an append is there in part {wreck.place}"
    for event in env.events:
        assert isinstance(event, TailRepaired)
        assert (event.log, event.position) == (str(FOLDER), log.last + 1)
        assert event.bytes_cut > 0
    log.append([[b"life"], [b"goes on"]])
    log.close()
    assert entries_from_first(open_reader(wreck.disk)) == found | {log.last - 1: b"life", log.last: b"goes on"}, wreck.place


def open_reader(disk: SimulatedDisk) -> FileLog:
    return FileLog.open(FOLDER, disk=disk, env=TestEnv(), limits=LIMITS, read_only=True)


def entries_from_first(log: FileLog) -> dict[int, bytes]:
    return dict(entries(log, log.first - 1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_a_hundred_other_lives_lose_nothing_acknowledged(seed: int) -> None:
    for wreck in long_story(seed).wrecks:
        check(wreck)


@pytest.mark.parametrize("seed", [1])
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(seed: int) -> None:
    story = long_story(seed)
    assert story.operations > 180
    assert any(len(wreck.disk.contents()) > 3 for wreck in story.wrecks)
    repaired = 0
    for wreck in story.wrecks:
        repaired += len(wreck.in_flight) > 0
        check(wreck)
    assert repaired > 100


def test_a_second_power_cut_during_the_repair_loses_nothing_either() -> None:
    story = Story(5)
    log = story.open()
    for sizes in ([500], [40, 900, 900], [300, 2000, 300]):
        story.append(log, *sizes)
    first = [wreck for wreck in story.wrecks if wreck.in_flight]
    wrecks = 0
    for wreck in first:
        second = Story(len(wreck.place))
        second.disk = wreck.disk
        second.disk.after = second._photograph
        second.promised, second.in_flight = wreck.promised, wreck.in_flight
        log = second.open()
        if log.last > max(wreck.promised, default=0):
            second.keep(wreck.in_flight)  # found whole, so it is part of the log from now on
        second.append(log, 100, 600)
        for again in second.wrecks:
            check(again)
        wrecks += len(second.wrecks)
    assert wrecks > 150


@pytest.mark.parametrize("written", [0, 1, 40, 64, 500, 1500])
def test_a_power_cut_around_a_write_that_failed_loses_nothing(written: int) -> None:
    story = Story(written)
    log = story.open()
    story.append(log, 300)
    log = story.open(FaultyDisk(story.disk, "append", errno.ENOSPC, nth=2, written=written))
    story.append(log, 500, 20)
    with pytest.raises(StoreFull):
        story.append(log, 700, 800)
    story.in_flight = []
    story.append(log, 900)
    for wreck in story.wrecks:
        check(wreck)


def test_a_failed_sync_does_not_undermine_what_is_acknowledged_after_reopening() -> None:
    story = Story(3)
    log = story.open()
    story.append(log, 300)
    story.disk.sync_fails = True
    with pytest.raises(LogUnavailable):
        story.append(log, 700, 800)
    story.disk.sync_fails = False
    assert log.last == 1
    log.close()
    story.wrecks.clear()
    log = story.open()
    assert log.last == 1
    story.append(log, 900)
    story.append(log, 10, 10)
    for wreck in story.wrecks:
        check(wreck)


@pytest.mark.parametrize("forgotten", ["file", "folder"])
def test_these_tests_notice_a_sync_that_is_forgotten(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if forgotten == "file":
        monkeypatch.setattr("disks._SimulatedAppendFile.sync", lambda self: None)
    else:
        monkeypatch.setattr("disks.SimulatedDisk.sync_folder", lambda self, folder: None)
    story = Story(1, losses=("everything",))
    log = story.open()
    story.append(log, 100)
    story.append(log, 100)
    with pytest.raises(AssertionError, match="gone"):
        check(story.wrecks[-1])
