"""Bytes that changed, vanished or came from elsewhere are found; an unfinished tail is not mistaken for them, nor they for it."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.log import entries
from disks import SimulatedDisk
from paradox.errors import FormatTooNew, LogCorrupt, StoreUnreadable
from paradox.log.file import FileLog
from paradox.log.frame import FILE_HEADER_BYTES, FRAME_HEADER_BYTES
from paradox.model.events import TailRepaired
from paradox.model.schema import Limits
from worlds import TestEnv

FOLDER = Path("/database/log")
FIRST = FOLDER / "00000000000000000001.log"
APPENDS = [[b"one"], [b"two" * 100], [b"three", b"", b"five" * 33], [b"six" * 200], [b"seven"], [b"eight", b"nine" * 9]]
WRITTEN = dict(enumerate((body for bodies in APPENDS for body in bodies), start=1))


def open_log(disk: SimulatedDisk, *, read_only: bool = False, file_bytes_max: int = 1 << 20, env: TestEnv | None = None) -> FileLog:
    return FileLog.open(FOLDER, disk=disk, env=env or TestEnv(), limits=Limits(log_file_bytes_max=file_bytes_max), read_only=read_only)


def written(
    *, file_bytes_max: int = 1 << 20, close: bool = True, appends: list[list[bytes]] = APPENDS, seed: int = 42
) -> dict[Path, bytes]:
    """Return the files of a log of `appends`, left by close or by a crash."""
    disk = SimulatedDisk()
    log = open_log(disk, file_bytes_max=file_bytes_max, env=TestEnv(seed))
    for bodies in appends:
        log.append([[body] for body in bodies])
    if close:
        log.close()
    return disk.contents()


def places_of_entries(content: bytes) -> list[tuple[int, int]]:
    """Return (offset, position) of each frame of an unclosed file."""
    offset, places = FILE_HEADER_BYTES, []
    while offset < len(content):
        length, position = struct.unpack_from("<QQ", content, offset + 8)
        places.append((offset, position))
        offset += FRAME_HEADER_BYTES + length + -length % 8
    return places


def look(files: dict[Path, bytes], *, read_only: bool) -> tuple[dict[int, bytes], Exception | None]:
    """Return (entries that could be read, the error that ended it)."""
    found: dict[int, bytes] = {}
    disk = SimulatedDisk(files)
    disk.make_folder(FOLDER)
    try:
        log = open_log(disk, read_only=read_only)
        for position, body in log.read(log.first - 1):
            found[position] = bytes(body)
    except (LogCorrupt, FormatTooNew) as error:
        return found, error
    return found, None


def is_prefix(found: dict[int, bytes]) -> bool:
    return list(found.items()) == list(WRITTEN.items())[: len(found)]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_changed_byte_of_a_closed_log_is_always_found(read_only: bool) -> None:
    files = written(file_bytes_max=900)
    assert len(files) == 2
    for path, content in files.items():
        for offset in range(len(content)):
            damaged = files | {path: content[:offset] + bytes([content[offset] ^ 0x10]) + content[offset + 1 :]}
            found, error = look(damaged, read_only=read_only)
            assert is_prefix(found)
            assert error is not None or found == WRITTEN, f"a change at byte {offset} of {path.name} went unnoticed"


@pytest.mark.parametrize("read_only", [True, False])
def test_a_changed_byte_before_the_last_append_of_a_crashed_log_is_always_found(read_only: bool) -> None:
    [(path, content)] = written(close=False).items()
    last_append = places_of_entries(content)[-2][0]
    for offset in range(last_append):
        found, error = look({path: content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]}, read_only=read_only)
        assert is_prefix(found)
        assert error is not None, f"a change at byte {offset} went unnoticed"


@pytest.mark.parametrize("size", range(0, 1000, 7))
def test_a_file_cut_short_gives_the_appends_before_the_cut(size: int) -> None:
    files = written(close=False)
    ends = {offset: position - 1 for offset, position in places_of_entries(files[FIRST])}
    whole = max((position for offset, position in ends.items() if offset <= size), default=0)
    whole = {3: 2, 4: 2, 8: 7}.get(whole, whole)  # an append counts whole or not at all
    found, error = look({FIRST: files[FIRST][:size]}, read_only=True)
    assert (list(found), error is None) == (list(range(1, whole + 1)), True) or (size == 63 and not found)
    assert is_prefix(found)


def test_the_error_names_file_entry_and_byte() -> None:
    files = written(close=False)
    offset, position = places_of_entries(files[FIRST])[4]
    content = bytearray(files[FIRST])
    content[offset + FRAME_HEADER_BYTES] ^= 1
    found, error = look({FIRST: bytes(content)}, read_only=True)
    assert list(found) == [1, 2, 3, 4]
    assert str(error).startswith(f"{FIRST} is damaged at byte {offset}: entry {position} fails its checksum, and sound entries follow it\n")
    with pytest.raises(LogCorrupt, match=f"damaged at byte {offset}: entry {position}"):
        open_log(SimulatedDisk({FIRST: bytes(content)}))


def test_damage_in_an_older_file_is_met_by_reading_not_by_opening() -> None:
    files = written(file_bytes_max=900)
    content = bytearray(files[FIRST])
    content[FILE_HEADER_BYTES + FRAME_HEADER_BYTES] ^= 1
    log = open_log(SimulatedDisk(files | {FIRST: bytes(content)}))
    with pytest.raises(LogCorrupt, match=r"0001\.log is damaged at byte 64: entry 1 "):
        list(log.read(0))
    assert entries(log, 6) == [(position, WRITTEN[position]) for position in range(7, 10)]


def test_an_unfinished_tail_is_cut_by_a_writer_and_said() -> None:
    files = written(close=False)
    whole = len(files[FIRST])
    disk, env = SimulatedDisk({FIRST: files[FIRST] + b"\xf1PX\x01 half a header"}), TestEnv()
    assert len(entries(open_log(disk, read_only=True))) == 9
    assert len(disk.contents()[FIRST]) == whole + 18
    log = open_log(disk, env=env)
    assert list(env.events) == [TailRepaired(log=str(FOLDER), position=10, bytes_cut=18)]
    assert len(disk.contents()[FIRST]) == whole
    assert log.append([[b"ten"]]) == 10


@pytest.mark.parametrize("close", [True, False])
def test_the_image_of_a_log_inside_an_unfinished_body_is_not_taken_for_its_end(close: bool) -> None:
    own = written(close=False)
    other = written(close=close, appends=[[b"x" * 40]] * 30, seed=7)
    [(path, content)] = other.items()
    disk = SimulatedDisk(own)
    log = open_log(disk)
    log.append([[own[FIRST], content]])
    for size in range(len(own[FIRST]), len(disk.contents()[path]), 11):
        found, error = look({path: disk.contents()[path][:size]}, read_only=False)
        assert (found, error) == (WRITTEN, None)


def test_a_lost_sector_in_the_last_append_is_an_unfinished_tail() -> None:
    bodies = [bytes([number]) * 700 for number in range(1, 5)]
    [(path, content)] = written(close=False, appends=[[b"kept"], bodies]).items()
    for sector in range(0, len(content) - 512, 512):
        start = max(sector, FILE_HEADER_BYTES + 48)
        found, error = look({path: content[:start] + bytes(sector + 512 - start) + content[sector + 512 :]}, read_only=False)
        assert (found, error) == ({1: b"kept"}, None), f"the sector at {sector}"


def test_a_changed_byte_in_the_last_append_is_damage_when_a_later_body_of_it_is_sound() -> None:
    bodies = [bytes([number]) * 700 for number in range(1, 5)]
    [(path, content)] = written(close=False, appends=[[b"kept"], bodies]).items()
    for offset in range(FILE_HEADER_BYTES + 48, len(content) - 744, 13):
        found, error = look({path: content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]}, read_only=True)
        assert list(found) == list(range(1, 2 + (offset - FILE_HEADER_BYTES - 48) // 744))
        assert isinstance(error, LogCorrupt)


def test_a_missing_file_is_found() -> None:
    files = written(file_bytes_max=100)
    assert len(files) > 3
    paths = list(files)
    for missing in paths[1:-1]:
        found, error = look({path: content for path, content in files.items() if path != missing}, read_only=False)
        assert is_prefix(found)
        assert len(found) == int(missing.stem) - 1
        assert "missing" in str(error)


def test_files_of_another_log_are_found() -> None:
    files, other = written(file_bytes_max=100), written(file_bytes_max=100, appends=[[b"ONE"], *APPENDS[1:]])
    assert list(files) == list(other)
    second, last = list(files)[1], list(files)[-1]
    for foreign in (second, last):
        found, error = look(files | {foreign: other[foreign]}, read_only=True)
        assert len(found) == int(foreign.stem) - 1
        assert "does not follow the file before it" in str(error)


def test_a_renamed_file_is_found() -> None:
    files = written()
    found, error = look({FOLDER / "00000000000000000007.log": files[FIRST]}, read_only=True)
    assert found == {}
    assert "begins with entry 1, but is named for 7" in str(error)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_header_is_found_where_reading_gets_there(read_only: bool) -> None:
    files = written(file_bytes_max=900)
    last = list(files)[-1]
    for header in (b"", b"x", bytes(FILE_HEADER_BYTES), b"x" * FILE_HEADER_BYTES):
        damaged = files | {last: header + files[last][len(header) :]} if header else files | {last: b"x" + files[last][:70]}
        found, error = look(damaged, read_only=read_only)
        assert len(found) == (int(last.stem) - 1 if read_only else 0)
        assert "does not begin with the header of a log file" in str(error)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_format_is_refused_by_name(read_only: bool) -> None:
    files = written()
    header = bytearray(files[FIRST][:60])
    struct.pack_into("<I", header, 8, 2)
    newer = {FIRST: bytes(header) + struct.pack("<I", crc32(header)) + b"what only the newer version understands"}
    with pytest.raises(FormatTooNew, match=r"0001\.log has log format 2; this version of Paradox reads up to 1"):
        open_log(SimulatedDisk(newer), read_only=read_only)


def test_a_first_file_that_was_never_finished_is_begun_anew() -> None:
    for start in (b"", b"PXLOG", bytes(FILE_HEADER_BYTES)):
        disk = SimulatedDisk({FIRST: start})
        reader = open_log(disk, read_only=True)
        assert (reader.last, entries(reader)) == (0, [])
        assert open_log(disk).append([[b"one"]]) == 1
        assert entries(reader) == [(1, b"one")]


def test_an_empty_file_alone_with_a_later_name_is_damage() -> None:
    found, error = look({FOLDER / "00000000000000000501.log": b""}, read_only=False)
    assert found == {}
    assert "0501.log does not begin with the header of a log file" in str(error)


def test_a_folder_that_is_missing_or_a_file_cannot_be_read() -> None:
    with pytest.raises(StoreUnreadable, match="/database/log could not be read: no such file"):
        open_log(SimulatedDisk(), read_only=True)
    with pytest.raises(StoreUnreadable, match="/database/log could not be read: not a directory"):
        open_log(SimulatedDisk({FOLDER: b"a file"}), read_only=True)
    with pytest.raises(StoreUnreadable, match="/database/log could not be written: file exists"):
        open_log(SimulatedDisk({FOLDER: b"a file"}))


def test_other_files_in_the_folder_are_left_alone() -> None:
    disk = SimulatedDisk(written() | {FOLDER / "LOCK": b"x", FOLDER / "1.log": b"x", FOLDER / "00000000000000000010.log.bak": b"x"})
    assert entries(open_log(disk)) == list(WRITTEN.items())
    assert disk.contents()[FOLDER / "1.log"] == b"x"


@st.composite
def changes(draw: st.DrawFn) -> tuple[int, str, int, int, bytes]:
    """Draw (which file, what, where, how many bytes, which bytes)."""
    what = draw(st.sampled_from(("flip", "cut", "insert", "remove", "repeat", "zero", "overwrite", "forget", "append")))
    return draw(st.integers(0, 9)), what, draw(st.integers(0, 2000)), draw(st.integers(1, 600)), draw(st.binary(min_size=1, max_size=80))


def change(files: dict[Path, bytes], which: int, what: str, at: int, count: int, other: bytes) -> dict[Path, bytes]:
    if not files:
        return files
    path = sorted(files)[which % len(files)]
    content = files[path]
    at = at % (len(content) + 1)
    head, middle, tail = content[:at], content[at : at + count], content[at + count :]
    match what:
        case "flip":
            content = head + bytes(byte ^ other[0] for byte in middle[:1]) + middle[1:] + tail
        case "cut":
            content = head
        case "insert":
            content = head + other + middle + tail
        case "remove":
            content = head + tail
        case "repeat":
            content = head + middle + middle + tail
        case "zero":
            content = head + bytes(len(middle)) + tail
        case "overwrite":
            content = head + other + (middle + tail)[len(other) :]
        case "append":
            content = content + other * (count // len(other) + 1)
        case "forget":
            return {name: kept for name, kept in files.items() if name != path}
    return files | {path: content}


SHAPES = [written(file_bytes_max=size, close=close) for size in (1 << 20, 900, 100) for close in (True, False)]


@settings(max_examples=250, deadline=None)
@given(shape=st.sampled_from(range(len(SHAPES))), wounds=st.lists(changes(), min_size=1, max_size=3), read_only=st.booleans())
def test_whatever_happens_to_the_files_no_wrong_entry_is_read(
    shape: int, wounds: list[tuple[int, str, int, int, bytes]], read_only: bool
) -> None:
    files = SHAPES[shape]
    for wound in wounds:
        files = change(files, *wound)
    found, _ = look(files, read_only=read_only)  # any error but LogCorrupt and FormatTooNew fails the test
    assert list(found) == list(range(min(found, default=1), max(found, default=0) + 1))
    assert found.items() <= WRITTEN.items()
    if FIRST in files:
        assert is_prefix(found)
