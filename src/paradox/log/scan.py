"""Scanning a log file: what of it was written whole, and whether the rest is an unfinished tail or damage.

Bytes are checked through read calls, which fail with an error, never through a mapping: touching a mapped page that the disk cannot
deliver, or that a writer has just cut off, would kill the whole program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec
from msgspec.structs import replace

from paradox.errors import LogCorrupt
from paradox.log.frame import (
    CLOSED,
    ENTRY,
    FILE_HEADER_BYTES,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    FileHeader,
    Frame,
    decode_file_header,
    decode_frame,
    first_of_name,
    name_of_file,
)
from paradox.ports.disk import Disk, FileState, ReadFile

WINDOW_BYTES = 256 << 10
SECTOR_BYTES = 512
"""The smallest stretch that a disk writes or loses as a whole."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Where a checked stretch of a file ends.

    position, chain: of the last entry and frame in it. closed: nothing awaits a CLOSED frame. before, after: of the last frame, where
    the stretch ends in the middle of an append.
    """

    offset: int
    position: int
    chain: int
    closed: bool = True
    before: int = 0
    after: int = 0


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """The last file of a log, as far as it was checked.

    path: of the file. following: of the file that comes next when this one is full, for cheap polls.
    state: of the file when it was checked. unfinished: bytes follow `end` that were never acknowledged. damage: bytes follow `end`
    that were, and can no longer be read.
    """

    path: Path
    following: Path
    header: FileHeader
    end: End
    state: FileState
    unfinished: bool = False
    damage: LogCorrupt | None = None


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a log, by their first positions, ascending. stillborn: a last file that was never finished, and so never used."""

    files: tuple[int, ...]
    tail: Tail | None
    stillborn: int | None = None


def beginning(header: FileHeader) -> End:
    """Return where the first frame of a file stands."""
    return End(offset=FILE_HEADER_BYTES, position=header.first - 1, chain=header.chain)


class Walk:
    """Steps through the frames of one file, holding each against its checksums and against the frame before.

    offset: of the next frame. position: of the last entry stepped over. body_at: where its body begins.
    """

    def __init__(self, file: ReadFile, size: int, header: FileHeader, start: End) -> None:
        self._file = file
        self._size = size
        self._salt = header.salt
        self._chain = start.chain
        self._before = start.before
        self._after = start.after
        self._closed = start.closed
        self._window = b""
        self._window_at = 0
        self.offset = start.offset
        self.position = start.position
        self.body_at = start.offset

    @property
    def done(self) -> bool:
        """Whether every byte of the file was stepped over, and the last append is whole."""
        return self.offset == self._size and not self._after

    @property
    def here(self) -> End:
        """The end of the last frame that was stepped over, perhaps in the middle of an append."""
        return End(
            offset=self.offset,
            position=self.position,
            chain=self._chain,
            closed=self._closed,
            before=self._before,
            after=self._after,
        )

    def step(self, *, check_body: bool = True) -> Frame | None:
        """Return the next frame, or None where there is no sound one."""
        index = self._reach(self.offset, FRAME_HEADER_BYTES)
        frame = decode_frame(self._window, index, self._salt)
        if frame is None or not self._follows(frame):
            return None
        body_at = self.offset + FRAME_HEADER_BYTES
        end = body_at + frame.padded_length
        if end > self._size or (check_body and self._checksum(body_at, frame.padded_length) != frame.body_checksum):
            return None
        self.body_at, self.offset = body_at, end
        self.position, self._chain = frame.position, frame.checksum
        self._before, self._after = frame.before, frame.after
        self._closed = frame.kind == CLOSED
        return frame

    def _follows(self, frame: Frame) -> bool:
        if frame.chain != self._chain:
            return False
        if frame.kind == CLOSED:
            return frame.position == self.position and not (self._after or frame.length or frame.before or frame.after)
        if frame.kind != ENTRY or frame.position != self.position + 1:
            return False
        if self._after:
            return (frame.before, frame.after) == (self._before + 1, self._after - 1)
        return frame.before == 0

    def _reach(self, offset: int, count: int) -> int:
        """Return where in the window `offset` stands, after moving the window if it does not hold `count` bytes from there."""
        index = offset - self._window_at
        if index < 0 or index + count > len(self._window):
            self._window = self._file.read(offset, min(WINDOW_BYTES, max(self._size - offset, 0)))
            self._window_at, index = offset, 0
        return index

    def _checksum(self, offset: int, length: int) -> int | None:
        checksum = 0
        while length:
            index = self._reach(offset, min(length, WINDOW_BYTES))
            part = memoryview(self._window)[index : index + length]
            if not part:
                return None
            checksum = crc32(part, checksum)
            offset, length = offset + len(part), length - len(part)
        return checksum


def list_files(disk: Disk, folder: Path) -> tuple[int, ...]:
    """Return the first positions of the files of a log, ascending. Raises OSError."""
    return tuple(sorted(first for name in disk.names(folder) if (first := first_of_name(name)) is not None))


def survey(disk: Disk, folder: Path) -> Survey:
    """Look over a log's folder and check its last file, every byte of it.

    Where the last files do not even begin as they should, the tail is the file before them, with that damage; where there is none
    before them either, LogCorrupt is raised. Raises FormatTooNew, OSError too.
    """
    files = list_files(disk, folder)
    stillborn = damage = None
    while files:
        first = files[-1]
        newest = damage is None and stillborn is None
        try:
            tail = tail_of(disk, folder / name_of_file(first), first, may_be_stillborn=newest and (first == 1 or len(files) > 1))
        except LogCorrupt as error:
            damage = error
        else:
            if tail is not None:
                return Survey(files=files, tail=replace(tail, damage=tail.damage or damage), stillborn=stillborn)
            stillborn = first
        files = files[:-1]
    if damage is not None:
        raise damage
    return Survey(files=files, tail=None, stillborn=stillborn)


def tail_of(disk: Disk, path: Path, first: int, *, may_be_stillborn: bool) -> Tail | None:
    """Return the checked file that begins with `first`, or None if it was never finished, so never used.

    may_be_stillborn: it is the newest file, and the first of all or not the only one. Raises LogCorrupt, FormatTooNew, OSError.
    """
    state = disk.state(path)
    file = disk.open(path)
    try:
        start = file.read(0, FILE_HEADER_BYTES)
        # entries are written only once the header is on disk, so a file with more than a header had a sound one
        if may_be_stillborn and state.size <= FILE_HEADER_BYTES and (len(start) < FILE_HEADER_BYTES or not any(start)):
            return None
        header = decode_file_header(start, str(path))
        if header.first != first:
            raise LogCorrupt(f"{path} begins with entry {header.first}, but is named for {first}", hint="give the file its former name")
        return _scan(file, path, state, header, beginning(header))
    finally:
        file.close()


def advance(disk: Disk, tail: Tail, state: FileState) -> Tail:
    """Return `tail` with what was appended to its file up to `state`. Raises OSError."""
    file = disk.open(tail.path)
    try:
        return _scan(file, tail.path, state, tail.header, tail.end)
    finally:
        file.close()


def damage_at(path: Path, position: int, offset: int, what: str) -> LogCorrupt:
    """Return the error that names a damaged place."""
    return LogCorrupt(
        f"{path} is damaged at byte {offset}: entry {position} {what}",
        hint="restore from a snapshot, or open read-only and export what comes before",
    )


def _scan(file: ReadFile, path: Path, state: FileState, header: FileHeader, start: End) -> Tail:
    walk = Walk(file, state.size, header, start)
    end = start
    while (frame := walk.step()) is not None:
        if not frame.after:
            end = walk.here
    following = path.with_name(name_of_file(end.position + 1))
    tail = Tail(path=path, following=following, header=header, end=end, state=state, unfinished=not walk.done)
    if walk.done or not _was_acknowledged(file, state.size, header, walk):
        return tail
    damage = damage_at(path, walk.position + 1, walk.offset, "fails its checksum, and sound entries follow it")
    return replace(tail, end=walk.here, unfinished=False, damage=damage)


def _was_acknowledged(file: ReadFile, size: int, header: FileHeader, walk: Walk) -> bool:
    """Tell whether the frame that `walk` stopped at was once on disk, as what follows it shows.

    An append begins only after the one before was synced, so a frame of a later append proves that this one was whole. A frame of
    the same append proves nothing: a disk may write the end of what it was given before the beginning. But then the beginning
    reads as zeros, sector by sector; other bytes that fail their checksum were written and have changed since.
    """
    missing = walk.position + 1
    sibling_at = None
    for offset, frame in _frames_after(file, walk.offset + 1, size, header.salt):
        if frame.kind == CLOSED:
            if frame.position >= missing:
                return True
        elif frame.position == missing or frame.position - frame.before > missing:
            return True
        elif frame.position > missing and sibling_at is None:
            sibling_at = offset
        # a frame before `missing` is an image of this log inside a body
    return sibling_at is not None and not _sectors_lost(file, walk.offset, sibling_at)


def _frames_after(file: ReadFile, start: int, size: int, salt: int) -> Iterator[tuple[int, Frame]]:
    """Yield (offset, frame) of every sound frame header from `start` on, aligned or not: bytes may have been inserted or lost."""
    while start < size:
        chunk = file.read(start, min(WINDOW_BYTES, size - start))
        at = chunk.find(FRAME_MAGIC)
        while at >= 0:
            if (frame := decode_frame(chunk, at, salt)) is not None:
                yield start + at, frame
            at = chunk.find(FRAME_MAGIC, at + 1)
        if start + len(chunk) >= size or len(chunk) < FRAME_HEADER_BYTES:
            return
        start += len(chunk) - (FRAME_HEADER_BYTES - 1)


def _sectors_lost(file: ReadFile, start: int, end: int) -> bool:
    """Tell whether a sector between `start`, where a frame begins, and `end`, where another does, reads as zeros."""
    rest_of_sector = SECTOR_BYTES - start % SECTOR_BYTES
    if not any(file.read(start, min(rest_of_sector, end - start))):
        return True
    start += rest_of_sector
    lost = bytes(SECTOR_BYTES)
    while start + SECTOR_BYTES <= end:
        chunk = file.read(start, min(WINDOW_BYTES, end - start))
        if any(chunk[at : at + SECTOR_BYTES] == lost for at in range(0, len(chunk) - SECTOR_BYTES + 1, SECTOR_BYTES)):
            return True
        if len(chunk) < SECTOR_BYTES:
            return False
        start += len(chunk)
    return False
