"""Messages of a log that is a stream: bodies cut into pieces, each behind a header of 40 bytes, every number little-endian.

    magic 3 · format u8 · part u32 · parts u32 · position u64 · length u64 · zero u32 · chain u32 · checksum u32

The checksum (CRC-32, zlib) covers the rest of the header and the piece of the body that follows; `chain` repeats the checksum of the
message before; length is that of the whole entry. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from zlib import crc32

import msgspec

from paradox.errors import FormatTooNew, LogCorrupt
from paradox.ports.log import Body

FORMAT = 1
MAGIC = b"PXJ"
HEADER = struct.Struct("<3sBIIQQIII")
CHECKED = HEADER.size - 4
CHUNK_BYTES = 512 << 10
"""Of a body a message: batches of 128 to 512 KB replicate fastest."""


class Mark(msgspec.Struct, frozen=True):
    """A place between messages: the sequence and checksum of the one before, and the position of the entry it ends."""

    sequence: int
    position: int
    chain: int


class Head(msgspec.Struct, frozen=True):
    """The header of a message. length: of the whole entry, in bytes."""

    part: int
    parts: int
    position: int
    length: int
    chain: int
    checksum: int


def messages_of(bodies: Sequence[Body], last: Mark) -> tuple[list[bytes], Mark]:
    """Return the messages of the bodies that follow `last`, and the place after them."""
    messages, sequence, position, chain = [], last.sequence, last.position, last.chain
    for body in bodies:
        joined = memoryview(b"".join(body))
        position += 1
        parts = max(1, -(-len(joined) // CHUNK_BYTES))
        for part in range(parts):
            piece = joined[part * CHUNK_BYTES : (part + 1) * CHUNK_BYTES]
            head = HEADER.pack(MAGIC, FORMAT, part, parts, position, len(joined), 0, chain, 0)[:CHECKED]
            chain = crc32(piece, crc32(head))
            messages.append(b"".join((head, chain.to_bytes(4, "little"), piece)))
            sequence += 1
    return messages, Mark(sequence, position, chain)


def decode_head(message: bytes, name: str, sequence: int) -> Head:
    """Return a message's header. Raises LogCorrupt, FormatTooNew."""
    if len(message) >= HEADER.size:
        magic, version, part, parts, position, length, _, chain, checksum = HEADER.unpack_from(message)
        if magic == MAGIC and version > FORMAT:
            raise FormatTooNew(f"log {name!r} has format {version}; this version reads up to {FORMAT}", hint="upgrade paradox-memory")
        if magic == MAGIC and crc32(memoryview(message)[HEADER.size :], crc32(message[:CHECKED])) == checksum:
            return Head(part, parts, position, length, chain, checksum)
    raise LogCorrupt(f"message {sequence} of log {name!r} is not what was written", hint="see whether another server has it")


def fault_of(message: bytes, number: int, before: int, chain: int, name: str) -> LogCorrupt | None:
    """Return what is wrong with a message that should follow number `before`; None when it does."""
    try:
        head = decode_head(message, name, number)
    except LogCorrupt as error:
        return error
    if number != before + 1:
        return LogCorrupt(f"messages {before + 1} to {number - 1} of log {name!r} are missing", hint="see whether another server has them")
    if head.chain != chain:
        return LogCorrupt(f"message {number} of log {name!r} does not follow the one before", hint="see whether another server has it")
    return None
