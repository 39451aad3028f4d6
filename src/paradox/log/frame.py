"""The bytes of a log file, version 1. Every number is little-endian.

A file is a header of 64 bytes, then frames. A frame is a header of 40 bytes, a body, and zeros up to a multiple of 8, so that
an array that stands at a multiple of 8 in its body is aligned in a mapped file too.

    file header   magic 8 · format u32 · zero u32 · incarnation u64 · first position u64 · chain u32 · salt u32 · zeros 20 · checksum u32
    frame header  magic 3 · kind u8 · before u32 · length u64 · position u64 · after u32 · body checksum u32 · chain u32 · checksum u32

Checksums are CRC-32 (zlib). The body's covers its zeros. The frame header's starts from the file's `salt`, so that the image of a
log inside a body is never taken for a frame of this one. `chain` repeats the header checksum of the frame before (for the first of a
file: that of the last frame in the file before), and so ties each frame to everything before it. Bodies appended by one call know
how many stand `before` and `after` them in that call: they count together or not at all. A CLOSED frame has no body; it repeats the
last position and says that all before it was once on disk.

The header of a file keeps its place and its checksum in every later format, so that an old version can say which it met.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from zlib import crc32

import msgspec

from paradox.errors import FormatTooNew, LogConflict, LogCorrupt
from paradox.ports.log import Body, Buffer

FORMAT = 1
FILE_MAGIC = b"PXLOG\r\n\x1a"
FRAME_MAGIC = b"\xf1PX"
ENTRY, CLOSED = 1, 2
ALIGNMENT = 8

_FILE = struct.Struct("<8sIIQQII20s")
_FRAME = struct.Struct("<3sBIQQIII")
_CHECKSUM = struct.Struct("<I")
_FRAME_WHOLE = struct.Struct("<3sBIQQIIII")
FILE_HEADER_BYTES = _FILE.size + _CHECKSUM.size
FRAME_HEADER_BYTES = _FRAME.size + _CHECKSUM.size
_ZEROS = bytes(ALIGNMENT)
_NAME = re.compile(r"(\d{20})\.log", re.ASCII)


class FileHeader(msgspec.Struct, frozen=True, kw_only=True):
    """How a log file begins. first: the position of its first entry. chain: the last of the file before; 0 at the beginning."""

    incarnation: int
    first: int
    chain: int
    salt: int


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame, without its body. length: of the body, in bytes. body_checksum: over body and zeros. checksum: the next one's `chain`."""

    kind: int
    position: int
    length: int
    before: int
    after: int
    body_checksum: int
    chain: int
    checksum: int

    @property
    def padded_length(self) -> int:
        """The length of the body and its zeros, in bytes."""
        return self.length + -self.length % ALIGNMENT


def name_of_file(first: int) -> str:
    """Return the name of the log file that begins with position `first`."""
    return f"{first:020d}.log"


def first_of_name(name: str) -> int | None:
    """Return the position in a log file's name, or None if the name is not one of ours."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def encode_file_header(header: FileHeader) -> bytes:
    """Return the first FILE_HEADER_BYTES of a file."""
    body = _FILE.pack(FILE_MAGIC, FORMAT, 0, header.incarnation, header.first, header.chain, header.salt, bytes(20))
    return body + _CHECKSUM.pack(crc32(body))


def decode_file_header(start: bytes, name: str) -> FileHeader:
    """Return what the first bytes of the file `name` say. Raises LogCorrupt, FormatTooNew."""
    whole = len(start) >= FILE_HEADER_BYTES
    if not whole or crc32(start[: _FILE.size]) != _CHECKSUM.unpack_from(start, _FILE.size)[0] or start[: len(FILE_MAGIC)] != FILE_MAGIC:
        raise LogCorrupt(f"{name} does not begin with the header of a log file", hint="restore this file from a snapshot or another copy")
    _, version, _, incarnation, first, chain, salt, _ = _FILE.unpack_from(start)
    if version > FORMAT:
        raise FormatTooNew(
            f"{name} has log format {version}; this version of Paradox reads up to {FORMAT}", hint="open it with a newer version of Paradox"
        )
    return FileHeader(incarnation=incarnation, first=first, chain=chain, salt=salt)


def encode_entries(bodies: Sequence[Body], *, position: int, chain: int, salt: int) -> tuple[list[Buffer], int, int]:
    """Return the frames of one append, as (pieces to write, their bytes in all, chain of the last).

    position: of the first body. Pieces of bodies are passed on, never copied. Cost: one checksum over every byte.
    """
    pieces: list[Buffer] = []
    total = 0
    last = len(bodies) - 1
    for before, body in enumerate(bodies):
        header_at = len(pieces)
        pieces.append(b"")
        length = body_checksum = 0
        for piece in body:
            body_checksum = crc32(piece, body_checksum)
            length += len(piece) if type(piece) is bytes else memoryview(piece).nbytes
        pieces += body
        if padding := -length % ALIGNMENT:
            body_checksum = crc32(_ZEROS[:padding], body_checksum)
            pieces.append(_ZEROS[:padding])
        frame = _FRAME.pack(FRAME_MAGIC, ENTRY, before, length, position + before, last - before, body_checksum, chain)
        chain = crc32(frame, salt)
        pieces[header_at] = frame + _CHECKSUM.pack(chain)
        total += FRAME_HEADER_BYTES + length + padding
    return pieces, total, chain


def encode_closed(*, position: int, chain: int, salt: int) -> tuple[bytes, int]:
    """Return (the frame that says the log was closed after `position`, its chain)."""
    frame = _FRAME.pack(FRAME_MAGIC, CLOSED, 0, 0, position, 0, 0, chain)
    return frame + _CHECKSUM.pack(crc32(frame, salt)), crc32(frame, salt)


def decode_frame(buffer: bytes, at: int, salt: int) -> Frame | None:
    """Return the frame header at `at`, or None where there is none whole and sound. The body is not looked at."""
    if len(buffer) - at < FRAME_HEADER_BYTES:
        return None
    magic, kind, before, length, position, after, body_checksum, chain, checksum = _FRAME_WHOLE.unpack_from(buffer, at)
    if magic != FRAME_MAGIC or crc32(buffer[at : at + _FRAME.size], salt) != checksum:
        return None
    return Frame(
        kind=kind,
        position=position,
        length=length,
        before=before,
        after=after,
        body_checksum=body_checksum,
        chain=chain,
        checksum=checksum,
    )


def refuse_if_beyond(last: int, after: int | None) -> None:
    """Raise LogConflict when a log that ends at `last` holds what the caller, who knows it up to `after`, has not seen."""
    if after is not None and last > after:
        raise LogConflict(f"the log stands at {last}; the caller knows it up to {after}", hint="read on, and try again")
