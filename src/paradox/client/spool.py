"""Spool: the pages of an export, on disk in a form that an interruption cannot spoil, until they become the file that was asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash

from paradox.client.formats import Page, kind_of
from paradox.model.points import Key

FRAME = struct.Struct("<QQ")
"""Before each body: its length in bytes and its XXH3 checksum, 64 bits."""


class Spool:
    """Pages in a file, appended one by one. `title` tells which view of which collection they show."""

    def __init__(self, path: Path, title: dict[str, Any]) -> None:
        self._path = path
        self._start = 0
        self._kinds: set[str] = set()
        self.keys: set[Key] = set()
        encoded = msgspec.msgpack.encode(title)
        whole = self._whole_frames(encoded) if path.exists() else 0
        self._file = path.open("r+b" if whole else "wb")
        if whole:
            self._file.truncate(whole)
            self._file.seek(whole)
        else:
            self.keys.clear()
            self._kinds.clear()
            self._append(encoded)
        self._start = FRAME.size + len(encoded)

    @property
    def rows(self) -> int:
        """How many points are in it."""
        return len(self.keys)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of id that occur."""
        return frozenset(self._kinds)

    def append(self, page: Page) -> None:
        """Add the points of a page that are not in it."""
        new = [row for row, key in enumerate(page.keys) if key not in self.keys]
        if not new:
            return
        rows = page if len(new) == len(page.keys) else _picked(page, new)
        self._append(msgspec.msgpack.encode(_packed(rows)))
        self._note(rows)

    def close(self) -> None:
        """Keep the pages for a later export. Safe to call twice."""
        self._file.close()

    def remove(self) -> None:
        """Forget the pages."""
        self.close()
        self._path.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Page]:
        self._file.flush()
        with self._path.open("rb") as file:
            file.seek(self._start)
            while (body := _read_frame(file)) is not None:
                yield _unpacked(body)

    def _append(self, body: bytes) -> None:
        self._file.write(FRAME.pack(len(body), xxhash.xxh3_64_intdigest(body)))
        self._file.write(body)
        self._file.flush()

    def _whole_frames(self, title: bytes) -> int:
        """Return how many bytes of the file are whole frames under `title`; 0 when it shows something else. Note what they hold."""
        with self._path.open("rb") as file:
            if _read_frame(file) != title:
                return 0
            whole = file.tell()
            while (body := _read_frame(file)) is not None:
                self._note(_unpacked(body))
                whole = file.tell()
        return whole

    def _note(self, page: Page) -> None:
        self.keys.update(page.keys)
        self._kinds.update(map(kind_of, page.keys))


def _read_frame(file: Any) -> bytes | None:
    """Return the next body; None at the end, or where an interruption left a torn one."""
    head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    size, checksum = FRAME.unpack(head)
    body: bytes = file.read(size) if size < 1 << 40 else b""
    return body if len(body) == size and xxhash.xxh3_64_intdigest(body) == checksum else None


def _packed(page: Page) -> dict[str, Any]:
    return {
        "keys": page.keys,
        "vectors": {name: (matrix.dtype.str, matrix.shape, np.ascontiguousarray(matrix).data) for name, matrix in page.vectors.items()},
        "present": {name: mask.tobytes() for name, mask in page.present.items()},
        "payloads": page.payloads,
        "modality": page.modality,
        "at_us": page.at_us,
    }


def _unpacked(body: bytes) -> Page:
    columns = msgspec.msgpack.decode(body)
    return Page(
        keys=columns["keys"],
        vectors={name: np.frombuffer(raw, dtype=dtype).reshape(shape) for name, (dtype, shape, raw) in columns["vectors"].items()},
        present={name: np.frombuffer(raw, dtype=np.bool_) for name, raw in columns["present"].items()},
        payloads=columns["payloads"],
        modality=columns["modality"],
        at_us=columns["at_us"],
    )


def _picked(page: Page, rows: list[int]) -> Page:
    return Page(
        keys=[page.keys[row] for row in rows],
        vectors={name: matrix[rows] for name, matrix in page.vectors.items()},
        present={name: mask[rows] for name, mask in page.present.items()},
        payloads=[page.payloads[row] for row in rows],
        modality=[page.modality[row] for row in rows],
        at_us=[page.at_us[row] for row in rows],
    )
