"""A reader beside a writer: it sees what was appended since, in new files too, changes nothing, and asks the disk little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.log import entries
from disks import SimulatedDisk
from paradox.errors import LogCorrupt, LogUnavailable, StoreReadOnly
from paradox.log.file import FileLog
from paradox.model.schema import Limits
from paradox.objects.disk import RealDisk
from paradox.ports.disk import Disk
from worlds import TestEnv

FOLDER = Path("/database/log")


def open_log(disk: Disk, folder: Path = FOLDER, *, read_only: bool = False, file_bytes_max: int = 1000) -> FileLog:
    return FileLog.open(folder, disk=disk, env=TestEnv(), limits=Limits(log_file_bytes_max=file_bytes_max), read_only=read_only)


class CountingDisk:
    """Counts operations by name, those of the files it opens included."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            return getattr(self._disk, name)(*arguments)

        return call


def test_a_reader_sees_what_was_appended_since_in_new_files_too(tmp_path: Path) -> None:
    writer = open_log(RealDisk(), tmp_path)
    reader = open_log(RealDisk(), tmp_path, read_only=True)
    seen: list[tuple[int, bytes]] = []
    appended: list[bytes] = []
    for number in range(60):
        bodies = [b"%d" % number * (number % 50 + 1)] * (number % 3 + 1)
        writer.append([[body] for body in bodies])
        appended += bodies
        if number % 4 == 3:
            seen += entries(reader, reader.last)
            assert reader.last == writer.last
    assert len(list(tmp_path.iterdir())) > 3
    assert seen == list(enumerate(appended, start=1))
    assert entries(reader) == entries(writer)


def test_a_reader_opened_before_the_first_entry_follows() -> None:
    disk = SimulatedDisk()
    disk.make_folder(FOLDER)
    reader = open_log(disk, read_only=True)
    assert (reader.first, reader.last, reader.incarnation) == (1, 0, 1)
    writer = FileLog.open(FOLDER, disk=disk, env=TestEnv(), limits=Limits(), incarnation=9)
    assert reader.refresh() == 0
    assert reader.incarnation == 9
    writer.append([[b"one"]])
    assert entries(reader) == [(1, b"one")]
    assert reader.last == 1


def test_last_of_a_reader_moves_only_when_it_looks() -> None:
    disk = SimulatedDisk()
    writer = open_log(disk)
    reader = open_log(disk, read_only=True)
    writer.append([[b"one"]])
    assert reader.last == 0
    assert reader.refresh() == 1 == reader.last


def test_a_poll_that_finds_nothing_new_costs_two_looks_at_the_disk() -> None:
    disk = SimulatedDisk()
    writer = open_log(disk)
    writer.append([[bytes(100)]] * 20)
    counting = CountingDisk(disk)
    reader = open_log(counting, read_only=True)
    counting.calls.clear()
    assert entries(reader, reader.last) == []
    assert counting.calls == ["state", "state"]


def test_a_reader_waits_for_the_whole_append() -> None:
    disk = SimulatedDisk()
    writer = open_log(disk)
    writer.append([[b"one"]])
    before = len(disk.contents()[FOLDER / "00000000000000000001.log"])
    writer.append([[b"two"], [b"three" * 20], [b"four"]])
    [(path, content)] = disk.contents().items()
    growing = SimulatedDisk({path: content[:before]})
    reader = open_log(growing, read_only=True)
    for at in range(before, len(content)):
        assert entries(reader, 1) == [], f"at byte {at}"
        file = growing.extend(path)
        file.append([content[at : at + 1]])
    assert [position for position, _ in reader.read(1)] == [2, 3, 4]


def test_a_reader_stands_through_the_repair_of_the_tail() -> None:
    disk = SimulatedDisk()
    open_log(disk).append([[b"one"], [b"two"]])
    path = FOLDER / "00000000000000000001.log"
    disk.extend(path).append([b"half an entry"])
    reader = open_log(disk, read_only=True)
    assert len(entries(reader)) == 2
    writer = open_log(disk)
    writer.append([[b"three"]])
    assert entries(reader, 2) == [(3, b"three")]


def test_a_reader_learns_that_what_it_needs_was_trimmed() -> None:
    disk = SimulatedDisk()
    writer = open_log(disk, file_bytes_max=100)
    writer.append([[b"one"]])
    reader = open_log(disk, read_only=True)
    assert reader.last == 1
    for number in range(2, 20):
        writer.append([[b"%d" % number]])
    writer.trim(15)
    with pytest.raises(LogCorrupt, match=r"entries before 16 were trimmed .* entry 2 was asked for"):
        list(reader.read(reader.last))
    assert (reader.first, reader.last) == (16, 19)
    assert entries(reader, 15) == entries(writer, 15)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_trimmed_while_it_is_read_is_read_to_its_end(read_only: bool) -> None:
    disk = SimulatedDisk()
    writer = open_log(disk, file_bytes_max=300)
    for number in range(1, 20):
        writer.append([[b"%d" % number]])
    second, third = [int(path.stem) for path in disk.contents()][1:3]
    reading = (open_log(disk, read_only=True) if read_only else writer).read(0)
    found = [next(reading)[0]]
    writer.trim(third - 1)
    with pytest.raises(LogCorrupt, match=f"entries before {third} were trimmed .* entry {second} was asked for"):  # noqa: PT012
        for position, _ in reading:
            found.append(position)
    assert found == list(range(1, second))


def test_a_reader_is_told_when_what_it_saw_was_taken_back() -> None:
    disk = SimulatedDisk()
    writer = open_log(disk)
    writer.append([[b"one"]])
    path = FOLDER / "00000000000000000001.log"
    size = len(disk.contents()[path])
    writer.append([[b"two"]])
    reader = open_log(disk, read_only=True)
    disk.extend(path).truncate(size)
    with pytest.raises(LogUnavailable, match=r"0001\.log became shorter") as caught:
        reader.refresh()
    assert "open it again" in caught.value.hint
    assert open_log(disk, read_only=True).last == 1


def test_a_reader_finds_damage_that_newer_files_prove() -> None:
    disk = SimulatedDisk()
    writer = open_log(disk, file_bytes_max=150)
    writer.append([[b"one"]])
    reader = open_log(disk, read_only=True)
    writer.append([[b"two"]])
    first = FOLDER / "00000000000000000001.log"
    content = bytearray(disk.contents()[first])
    content[-9] ^= 1
    disk.extend(first).truncate(0)
    disk.extend(first).append([content])
    assert entries(reader, 1) == []  # it could be an unfinished tail
    writer.append([[b"three"]])
    with pytest.raises(LogCorrupt, match=r"0001\.log is damaged at byte 112: entry 2 is damaged, and newer files follow"):
        list(reader.read(1))


def test_a_reader_takes_no_writes() -> None:
    disk = SimulatedDisk()
    open_log(disk).append([[b"one"]])
    reader = open_log(disk, read_only=True)
    for call in (lambda: reader.append([[b"x"]]), lambda: reader.trim(1)):
        with pytest.raises(StoreReadOnly, match="was opened read-only"):
            call()
    before = disk.contents()
    reader.close()
    assert disk.contents() == before


def test_a_log_keeps_its_incarnation() -> None:
    disk = SimulatedDisk()
    log = FileLog.open(FOLDER, disk=disk, env=TestEnv(), limits=Limits(log_file_bytes_max=100), incarnation=7)
    log.append([[b"one"]])
    log.append([[b"two"]])
    log.close()
    again = FileLog.open(FOLDER, disk=disk, env=TestEnv(), limits=Limits(), incarnation=8)
    assert again.incarnation == 7
    assert open_log(disk, read_only=True).incarnation == 7
    assert len(entries(again)) == 2


def test_opening_and_closing_writes_nothing_new_but_says_once_that_it_was_closed() -> None:
    disk = SimulatedDisk()
    log = open_log(disk)
    log.append([[b"one"]])
    log.close()
    before = disk.contents()
    for _ in range(3):
        open_log(disk).close()
    assert disk.contents() == before
    log = open_log(disk)
    log.append([[b"two"]])
    log.close()
    assert entries(open_log(disk)) == [(1, b"one"), (2, b"two")]


def test_reading_on_from_the_middle_does_not_begin_with_the_file() -> None:
    class Reads(SimulatedDisk):
        def open(self, path: Path) -> Any:
            file = super().open(path)
            read = file.read

            def counted(offset: int, size: int) -> bytes:
                offsets.append(offset)
                return read(offset, size)

            file.read = counted
            return file

    disk, offsets = Reads(), []
    writer = open_log(disk, file_bytes_max=1 << 24)
    writer.append([[bytes(1000)]] * 2000)
    reader = open_log(disk, read_only=True)
    reading = reader.read(0)
    for _ in range(1500):
        next(reading)
    reading.close()
    writer.append([[b"new"]])
    for log, after in ((reader, 1500), (writer, 2000)):
        offsets.clear()
        assert next(log.read(after))[0] == after + 1
        assert sorted(offsets)[1] > 1_400_000  # the file's header, then what was asked for
