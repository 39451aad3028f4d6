"""A disk that is full, read-only or broken at the n-th call: the user hears what happened, and nothing is lost or half done."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from conformance.log import entries
from disks import FaultyDisk, SimulatedDisk
from paradox.errors import LogUnavailable, ParadoxError, StoreFull, StoreReadOnly, StoreUnreadable
from paradox.log.file import FileLog
from paradox.log.frame import FILE_HEADER_BYTES
from paradox.model.schema import Limits
from worlds import TestEnv

FOLDER = Path("/database/log")
FIRST = FOLDER / "00000000000000000001.log"


def open_log(disk: SimulatedDisk | FaultyDisk, *, file_bytes_max: int = 1 << 20) -> FileLog:
    return FileLog.open(FOLDER, disk=disk, env=TestEnv(), limits=Limits(log_file_bytes_max=file_bytes_max))


def begun() -> SimulatedDisk:
    """Return a disk with a log of one entry, not closed."""
    disk = SimulatedDisk()
    open_log(disk).append([[b"one"]])
    return disk


@pytest.mark.parametrize("written", [0, 1, 39, 40, 41, 60, 200])
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (errno.ENOSPC, StoreFull, "the disk is full: the log could not be written, and nothing was changed"),
        (errno.EDQUOT, StoreFull, "the disk is full: the log could not be written, and nothing was changed"),
        (errno.EROFS, StoreReadOnly, "the log could not be written: read-only file system"),
        (errno.EACCES, StoreReadOnly, "the log could not be written: permission denied"),
        (errno.EIO, LogUnavailable, "the log could not be written (Input/output error); nothing was changed"),
    ],
)
def test_a_failed_write_is_taken_back_and_the_log_goes_on(error: int, expected: type[ParadoxError], message: str, written: int) -> None:
    disk = begun()
    before = disk.contents()
    log = open_log(FaultyDisk(disk, "append", error, written=written))
    with pytest.raises(expected) as caught:
        log.append([[b"two" * 30], [b"three" * 30]])
    assert caught.value.message == message
    assert caught.value.hint
    assert disk.contents() == before
    assert log.last == 1
    assert log.append([[b"2"]]) == 2
    log.close()
    assert entries(open_log(disk)) == [(1, b"one"), (2, b"2")]


def test_codes_are_the_documented_ones() -> None:
    codes = {}
    for error in (errno.ENOSPC, errno.EROFS, errno.EIO):
        log = open_log(FaultyDisk(begun(), "append", error))
        with pytest.raises(ParadoxError) as caught:
            log.append([[b"two"]])
        codes[error] = (caught.value.code, caught.value.retryable)
    assert codes == {
        errno.ENOSPC: ("store.full", True),
        errno.EROFS: ("store.read_only", False),
        errno.EIO: ("log.unavailable", True),
    }


@pytest.mark.parametrize(("error", "expected"), [(errno.ENOSPC, LogUnavailable), (errno.EIO, LogUnavailable), (errno.EROFS, StoreReadOnly)])
def test_a_write_that_cannot_be_taken_back_closes_the_log_to_writes(error: int, expected: type[ParadoxError]) -> None:
    disk = begun()
    log = open_log(FaultyDisk(FaultyDisk(disk, "truncate", errno.EIO), "append", error, written=50))
    with pytest.raises(expected):
        log.append([[b"two" * 30]])
    with pytest.raises(LogUnavailable, match="takes no entries since a failed write could not be taken back") as caught:
        log.append([[b"2"]])
    assert "open it again" in caught.value.hint
    assert entries(log) == [(1, b"one")]
    log.close()
    log = open_log(disk)
    assert log.append([[b"2"]]) == 2
    assert entries(log) == [(1, b"one"), (2, b"2")]


def test_a_failed_sync_is_never_tried_again_until_the_log_is_opened_anew() -> None:
    disk = begun()
    log = open_log(FaultyDisk(disk, "sync", errno.EIO, nth=2))
    with pytest.raises(LogUnavailable, match=r"could not be brought to disk \(Input/output error\); nothing was acknowledged"):
        log.append([[b"two"]])
    done: list[str] = []
    disk.after = done.append
    with pytest.raises(LogUnavailable, match="takes no entries since a write could not be brought to disk") as caught:
        log.append([[b"2"]])
    assert "open it again" in caught.value.hint
    log.close()
    assert done == []  # no second sync, and no word that all was well
    log = open_log(disk)
    assert log.append([[b"2"]]) == 2
    assert entries(log) == [(1, b"one"), (2, b"2")]


@pytest.mark.parametrize(
    ("operation", "nth", "error", "expected"),
    [
        ("create", 1, errno.ENOSPC, StoreFull),
        ("create", 1, errno.EMFILE, LogUnavailable),
        ("append", 3, errno.ENOSPC, StoreFull),
        ("append", 3, errno.EROFS, StoreReadOnly),
    ],
)
def test_a_new_file_that_cannot_be_begun_leaves_the_log_usable(operation: str, nth: int, error: int, expected: type[ParadoxError]) -> None:
    disk = begun()
    log = open_log(FaultyDisk(disk, operation, error, nth=nth, written=20), file_bytes_max=300)
    for number in range(2):
        log.append([[bytes([number]) * 60]])
    with pytest.raises(expected):
        log.append([[b"four"]])
    assert list(disk.contents()) == [FIRST]
    assert log.append([[b"four"]]) == 4
    assert len(disk.contents()) == 2
    assert [position for position, _ in entries(open_log(disk))] == [1, 2, 3, 4]


def test_a_new_file_that_cannot_even_be_removed_does_no_harm() -> None:
    disk = begun()
    stuck = FaultyDisk(FaultyDisk(disk, "remove", errno.EIO, nth=2), "append", errno.ENOSPC, written=20)
    log = open_log(stuck, file_bytes_max=100)
    with pytest.raises(StoreFull):
        log.append([[b"two"]])
    assert len(disk.contents()) == 2
    log.close()
    assert entries(open_log(disk)) == [(1, b"one")]
    assert len(disk.contents()) == 1


@pytest.mark.parametrize(("operation", "nth"), [("sync", 2), ("sync_folder", 2)])
def test_a_new_file_that_cannot_be_synced_poisons_the_log(operation: str, nth: int) -> None:
    disk = begun()
    log = open_log(FaultyDisk(disk, operation, errno.EIO, nth=nth), file_bytes_max=100)
    with pytest.raises(LogUnavailable, match="could not be brought to disk"):
        log.append([[b"two"]])
    with pytest.raises(LogUnavailable, match="takes no entries"):
        log.append([[b"two"]])
    assert entries(open_log(disk)) == [(1, b"one")]


@pytest.mark.parametrize("interrupted", ["append", "sync"])
def test_an_interrupted_append_is_taken_back(interrupted: str) -> None:
    disk = begun()
    before = disk.contents()
    log = open_log(disk)

    def interrupt(operation: str) -> None:
        if operation == interrupted:
            disk.after = lambda _: None
            raise KeyboardInterrupt

    disk.after = interrupt
    with pytest.raises(KeyboardInterrupt):
        log.append([[b"two"]])
    assert disk.contents() == before
    assert log.append([[b"2"]]) == 2
    assert entries(open_log(disk)) == [(1, b"one"), (2, b"2")]


@pytest.mark.parametrize("operation", ["make_folder", "create", "append", "sync", "sync_folder"])
@pytest.mark.parametrize(("error", "expected"), [(errno.ENOSPC, StoreFull), (errno.EROFS, StoreReadOnly), (errno.EIO, StoreUnreadable)])
def test_a_log_that_cannot_be_begun_says_why_and_can_be_begun_later(operation: str, error: int, expected: type[ParadoxError]) -> None:
    disk = SimulatedDisk()
    with pytest.raises(expected, match="the log in /database/log could not be written"):
        open_log(FaultyDisk(disk, operation, error, written=FILE_HEADER_BYTES // 2))
    assert open_log(disk).append([[b"one"]]) == 1


@pytest.mark.parametrize("operation", ["make_folder", "extend", "truncate", "sync", "sync_folder"])
def test_a_log_that_cannot_be_repaired_says_why_and_loses_nothing(operation: str) -> None:
    disk = begun()
    disk.extend(FIRST).append([b"half an entry"])
    env = TestEnv()
    with pytest.raises(StoreReadOnly):
        FileLog.open(FOLDER, disk=FaultyDisk(disk, operation, errno.EROFS), env=env, limits=Limits())
    assert list(env.events) == []
    assert entries(open_log(disk)) == [(1, b"one")]


@pytest.mark.parametrize("operation", ["names", "state", "open"])
def test_a_log_that_cannot_be_read_says_why(operation: str) -> None:
    with pytest.raises(StoreUnreadable, match=r"the log in /database/log|/database/log could not be read: input/output error"):
        open_log(FaultyDisk(begun(), operation, errno.EIO))


def test_a_trim_that_fails_removes_older_files_first() -> None:
    disk = SimulatedDisk()
    log = open_log(FaultyDisk(disk, "remove", errno.EIO, nth=6), file_bytes_max=100)  # each new file removes its leftover first
    for number in range(1, 5):
        log.append([[bytes([number]) * 50]])
    assert len(disk.contents()) == 4
    with pytest.raises(StoreUnreadable, match="the log in /database/log could not be written: input/output error"):
        log.trim(4)
    removed = 4 - len(disk.contents())
    assert log.first == 1 + removed
    assert [int(path.stem) for path in disk.contents()] == list(range(log.first, 5))
    log.trim(4)
    assert log.first == 4
    assert entries(log, 3) == [(4, bytes([4]) * 50)]


def test_closing_a_full_disk_is_quiet_and_leaves_a_whole_log() -> None:
    disk = begun()
    log = open_log(FaultyDisk(disk, "append", errno.ENOSPC, nth=2, written=10))
    log.append([[b"two"]])
    log.close()
    env = TestEnv()
    assert len(entries(FileLog.open(FOLDER, disk=disk, env=env, limits=Limits()))) == 2
    assert list(env.events) == []
