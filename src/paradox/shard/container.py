r"""The container: one write-once file of named arrays, each under its own checksum, memory-mapped when read.

    magic "PDXSEG1\n" | sections, each at a multiple of 64 bytes | footer (MessagePack) | footer length u64 | footer XXH3 u64 | magic

The footer says the format version, free-form facts, and for each section its offset, length, dtype, shape and XXH3 (64 bits).
See docs/formats.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.errors import FormatTooNew, SegmentCorrupt

MAGIC = b"PDXSEG1\n"
VERSION = 1
ALIGNMENT = 64
TAIL = struct.Struct("<QQ8s")
CHECK_BYTES = 16 << 20
Files: TypeAlias = dict[str, tuple[int, int]]
"""Files by name, each with its length and checksum."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Where one array lies in the file, what it is, and its checksum."""

    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]
    checksum: int


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds."""

    version: int
    facts: dict[str, Any]
    sections: dict[str, Section]


class ContainerWriter:
    """Writes arrays one after the other; `finish` adds the footer. The caller opens, syncs and places the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = file.write(MAGIC)
        self._sections: dict[str, Section] = {}

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Write one array whole."""
        self.add_blocks(name, array.dtype, array.shape, [array])

    def add_blocks(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]) -> None:
        """Write one array in blocks of rows, so that it need not fit in memory."""
        self._pad()
        offset, digest = self._offset, xxhash.xxh3_64()
        for block in blocks:
            view = np.ascontiguousarray(block).data.cast("B") if block.size else memoryview(b"")
            digest.update(view)
            self._offset += self._file.write(view)
        self._sections[name] = Section(
            offset=offset, length=self._offset - offset, dtype=dtype.str, shape=tuple(shape), checksum=digest.intdigest()
        )

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the footer; the file is whole afterwards."""
        self._pad()
        footer = msgspec.msgpack.encode(Footer(version=VERSION, facts=facts, sections=self._sections))
        self._file.write(footer)
        self._file.write(TAIL.pack(len(footer), xxhash.xxh3_64_intdigest(footer), MAGIC))

    def _pad(self) -> None:
        self._offset += self._file.write(b"\0" * (-self._offset % ALIGNMENT))


class Container(Mapping[str, NDArray[Any]]):
    """A file of arrays, opened. Arrays are read-only views of the memory map; opening reads the footer only."""

    def __init__(self, path: Path) -> None:
        """Raises SegmentCorrupt when the file is not whole, FormatTooNew when a later version wrote it."""
        self.path = path
        self._name = f"{path.parent.name}/{path.name}"
        try:
            self._map = np.memmap(path, dtype=np.uint8, mode="r")
        except OSError as error:
            raise self._corrupt(f"cannot be opened: {(error.strerror or 'it is not a file').lower()}") from None
        except ValueError:
            raise self._corrupt("is empty") from None
        self.footer = self._read_footer()
        self.facts = self.footer.facts

    def _read_footer(self) -> Footer:
        raw = self._map.data
        if len(raw) < len(MAGIC) + TAIL.size or bytes(raw[: len(MAGIC)]) != MAGIC:
            raise self._corrupt("does not begin as a segment file")
        length, expected, magic = TAIL.unpack(raw[-TAIL.size :])
        if magic != MAGIC or length > len(raw) - TAIL.size - len(MAGIC):
            raise self._corrupt("does not end as a segment file: it was cut off")
        footer = raw[-TAIL.size - length : -TAIL.size]
        if xxhash.xxh3_64_intdigest(footer) != expected:
            raise self._corrupt("has a damaged footer")
        version = msgspec.msgpack.decode(footer)["version"]
        if version > VERSION:
            raise FormatTooNew(
                f"segment file {self._name} has format {version}; this version reads up to {VERSION}", hint="upgrade paradox-memory"
            )
        return msgspec.msgpack.decode(footer, type=Footer)

    def _corrupt(self, what: str) -> SegmentCorrupt:
        return SegmentCorrupt(f"segment file {self._name} {what}", hint="run verify; restore it from a copy")

    def __getitem__(self, name: str) -> NDArray[Any]:
        section = self.footer.sections[name]
        raw = self._map[section.offset : section.offset + section.length]
        return np.ndarray(section.shape, dtype=np.dtype(section.dtype), buffer=raw.data if section.length else b"")

    def __iter__(self) -> Iterator[str]:
        return iter(self.footer.sections)

    def __len__(self) -> int:
        return len(self.footer.sections)

    def verify(self, names: Iterable[str] | None = None) -> int:
        """Check the sections' checksums and return the bytes read. Raises SegmentCorrupt naming the damaged one."""
        read = 0
        for name in self if names is None else names:
            section = self.footer.sections[name]
            digest = xxhash.xxh3_64()
            for start in range(section.offset, section.offset + section.length, CHECK_BYTES):
                digest.update(self._map[start : min(start + CHECK_BYTES, section.offset + section.length)].data)
            if digest.intdigest() != section.checksum:
                raise self._corrupt(f"is damaged in its section {name!r}")
            read += section.length
        return read


def checksum(path: Path) -> tuple[int, int]:
    """Return a file's length and XXH3. Raises OSError."""
    digest, length = xxhash.xxh3_64(), 0
    with path.open("rb") as file:
        while block := file.read(CHECK_BYTES):
            digest.update(block)
            length += len(block)
    return length, digest.intdigest()
