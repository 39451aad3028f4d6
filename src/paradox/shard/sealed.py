"""The sealed segment: immutable rows in one memory-mapped file, indexes beside it. Only its delete mask changes.

Rows stand region by region, and within a region by modality and time bucket, so that a partition is one run of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Holders, Key, Mask, Matrix, Rows, hash_keys
from paradox.model.recall import Curve
from paradox.model.schema import CollectionSpec, VectorSpec
from paradox.planner.choose import Choice
from paradox.ports.index import Index
from paradox.ports.kernels import Kernels
from paradox.ports.text import TextIndex
from paradox.shard.columns import Columns, OwnColumns
from paradox.shard.container import Container, Files, checksum
from paradox.shard.geometry import Form, index_form

POINTS_FILE = "points"
TEXT_FOLDER = "text"
UNVERIFIED_AT_OPEN = ("payload.bytes", "vector.")  # large: checked by verify and before points are copied out, not at each opening
_decode = msgspec.msgpack.Decoder().decode


def scan_file(vector: str) -> str:
    """Return the file name of a vector's scan index."""
    return f"{vector}.scan"


def probe_file(vector: str) -> str:
    """Return the file name of a vector's probe index."""
    return f"{vector}.probe"


class SealedVectors:
    """One named vector of a sealed segment. Indexes are opened when a search first needs them."""

    def __init__(self, name: str, spec: VectorSpec, container: Container, kernels: Kernels, check: Callable[[str], Path]) -> None:
        """check: returns the path of a file of the segment. Raises ValueError when it is not what was written."""
        self.spec = spec
        self._check = check
        self._name = name
        self._container = container
        self._kernels = kernels
        self._folder = container.path.parent
        self._matrix = container[f"vector.{name}"]
        self._inverse = container[f"inverse.{name}"]
        present = container.get(f"present.{name}")
        self._present = None if present is None else np.array(present)
        self.form = Form(container.get(f"centre.{name}", 0.0), container.facts["lengths"][name])
        self._opening = Lock()
        self._scan: Index | None = None
        self._probe: Index | None = None
        self.scan_curve: Curve | None = None
        self.probe_curve: Curve | None = None
        self.scan_row_us = self.list_row_us = 0.0
        self.timed = False
        self.choices: dict[tuple[int, int, float, bool], Choice] = {}
        self.has_probe = (self._folder / probe_file(name)).exists()

    def matrix(self) -> NDArray[Any]:
        """(n, d) vectors as given, memory-mapped."""
        return self._matrix

    def inverse(self) -> NDArray[np.float32]:
        """(n,) one over each length; ones where the metric needs none."""
        return self._inverse

    def present(self) -> Mask | None:
        """(n,) which rows have this vector, or None when all do."""
        return self._present

    @property
    def scan(self) -> Index:
        """The index that reads every code. Opened on first use; built anew when its file is damaged."""
        if self._scan is None:
            with self._opening:
                if self._scan is None:
                    self._scan = self._open_scan()
        return self._scan

    @property
    def opened(self) -> bool:
        """Whether the index that reads every code is in memory."""
        return self._scan is not None

    def prepare(self) -> None:
        """Open that index and ask it something, so that no caller's search has to wait until it is ready."""
        self.scan.search(index_form(self._matrix[:1], self._inverse[:1], self.spec.metric, self.form), 1)

    def _open_scan(self) -> Index:
        from paradox.shard.build import fill_scan

        if self.spec.metric == "hamming":
            return self._kernels.bits_over(self._matrix)
        width = self.spec.dimensions + (1 if self.spec.metric == "euclidean" else 0)
        try:
            index = self._kernels.load_scan(self._check(scan_file(self._name)), width)
            if len(index) == len(self._matrix):
                return index
        except (OSError, ValueError):
            pass  # codes are a cache of the vectors: make them again
        return fill_scan(self._kernels.scan(width), self._matrix, self._inverse, self.spec.metric, self.form)

    @property
    def probe(self) -> Index | None:
        """The index that has codes in lists, or None when the segment has none or its file is damaged."""
        if self._probe is None and self.has_probe:
            with self._opening:
                if self._probe is None and self.has_probe:
                    try:
                        file = self._check(probe_file(self._name))
                        self._probe = self._kernels.load_probe(file, len(self._matrix), self.spec.dimensions)
                    except (OSError, ValueError):
                        self.has_probe = False
                        self.probe_curve = None
                        self.choices.clear()
        return self._probe

    @property
    def probed(self) -> bool:
        """Whether there are lists of regions, of which a search may read some."""
        return self.probe_curve is not None and self.probe_curve.listed < len(self._matrix)

    def adopt_probe(self, curve: Curve) -> None:
        """Begin to use the probe file that was just put in place."""
        self.has_probe = True
        self.probe_curve = curve
        self.choices.clear()


class Sealed:
    """Rows 0 … n-1, opened from a folder."""

    def __init__(self, name: str, folder: Path, spec: CollectionSpec, kernels: Kernels, files: Files) -> None:
        """files: what the index files must be; they are checked when they are first opened, since kernels trust their files.

        Raises SegmentCorrupt when the file is not whole or a small section is damaged. Cost: the small sections are read once.
        """
        self.name = name
        self.folder = folder
        self.files = files
        self.container = container = Container(folder / POINTS_FILE)
        container.verify(section for section in container if not section.startswith(UNVERIFIED_AT_OPEN))
        self.rows: int = container.facts["rows"]
        self.first_position: int = container.facts["first_position"]
        self.vectors = {vector: SealedVectors(vector, of, container, kernels, self._check) for vector, of in spec.vectors.items()}
        self._key_ends, self._key_bytes = container["key.ends"], container["key.bytes"].data
        self._payload_ends, self._payload_bytes = container["payload.ends"], container["payload.bytes"].data
        self._hashes, self._hash_rows = container["key.hashes"], container["key.rows"]
        self._at_us, self._modality, self._origin = container["at_us"], container["modality"], container["origin"]
        self._modalities: list[str] = container.facts["modalities"]
        self._origins: list[str] = container.facts["origins"]
        self._owned = container["owned"]
        self._holders = container.get("holders")
        self._alive = np.ones(self.rows, dtype=np.bool_)
        self.dead = 0
        self.deaths: list[tuple[int, Rows]] = []
        self.region_names = container["region.names"]
        self.region_starts = container["region.starts"]
        self.epoch: int = container.facts["epoch"]
        """Of the map it was built by."""
        self._columns: Columns | None = None
        self._kernels = kernels
        self._text_fields = spec.text
        self._text: TextIndex | None = None
        self._opening = Lock()
        self.filters: dict[Any, Mask] = {}
        self._verified = False

    def verify_once(self) -> None:
        """Check what was not checked at opening, before points are copied out: a copy of damage would look sound.

        Raises SegmentCorrupt. Cost: the first call reads the whole file.
        """
        if not self._verified:
            self.container.verify(section for section in self.container if section.startswith(UNVERIFIED_AT_OPEN))
            self._verified = True

    def _check(self, file: str) -> Path:
        path = self.folder / file
        expected = self.files.get(file)
        if expected is not None and checksum(path) != tuple(expected):
            raise ValueError(f"{file} is not what was written")
        return path

    def restore_mask(self, dead: NDArray[np.uint32]) -> None:
        """Set the rows that are no longer there, as a snapshot recorded them."""
        self._alive[:] = True
        self._alive[dead] = False
        self.dead = len(dead)
        self.deaths.clear()

    def find(self, keys: Sequence[Key], hashes: NDArray[np.uint64]) -> Rows:
        """Return the row of each key, -1 where there is none. Cost: log n a key, and one decode a hit."""
        rows = np.full(len(keys), -1, dtype=np.int64)
        low = np.searchsorted(self._hashes, hashes)
        inside = np.minimum(low, self.rows - 1)
        for hit in np.flatnonzero(self._hashes[inside] == hashes).tolist():
            at = int(low[hit])
            while at < self.rows and self._hashes[at] == hashes[hit]:
                row = int(self._hash_rows[at])
                if self._key(row) == keys[hit]:
                    rows[hit] = row
                    break
                at += 1
        return rows

    def kill(self, rows: Rows, position: int) -> None:
        """Mark live rows as no longer there since the log entry at `position`."""
        self.deaths.append((position, rows))  # first, so that `alive_at` never meets a death that has no position
        self._alive[rows] = False
        self.dead += len(rows)

    def alive(self) -> Mask:
        """(n,) which rows are there."""
        return self._alive

    def owned(self) -> Mask:
        """(n,) which rows this holder answers for in counts and scrolls."""
        return self._owned

    def holders(self) -> Holders | None:
        """(n, copies) the shards that hold each row, the one that answers for it first; None = sealed without saying so."""
        return self._holders

    def _key(self, row: int) -> Key:
        start = int(self._key_ends[row - 1]) if row else 0
        return _decode(self._key_bytes[start : int(self._key_ends[row])])

    def keys_at(self, rows: Rows) -> list[Key]:
        """Return the keys of rows."""
        return [_decode(value) for value in _slices(self._key_bytes, self._key_ends, rows)]

    def payload(self, row: int) -> bytes:
        """Return one encoded payload."""
        start = int(self._payload_ends[row - 1]) if row else 0
        return bytes(self._payload_bytes[start : int(self._payload_ends[row])])

    def payloads_at(self, rows: Rows) -> list[bytes]:
        """Return the encoded payloads of rows."""
        return [bytes(value) for value in _slices(self._payload_bytes, self._payload_ends, rows)]

    def homes(self, rows: Rows) -> NDArray[np.int32]:
        """(n,) the row in the region table of the home region of each of n rows."""
        return (np.searchsorted(self.region_starts, rows, side="right") - 1).astype(np.int32)

    def own_at(self, rows: Rows) -> tuple[list[str], list[int], list[str]]:
        """Return the modality, event time and origin of rows."""
        modality, origin = self._modalities, self._origins
        return (
            [modality[code] for code in self._modality[rows].tolist()],
            self._at_us[rows].tolist(),
            [origin[code] for code in self._origin[rows].tolist()],
        )

    def own(self) -> OwnColumns:
        """Return the points' own fields in columns."""
        return OwnColumns(
            keys=_Keys(self),
            modality=(self._modality, self._modalities),
            at_us=self._at_us,
            origin=(self._origin, self._origins),
            find=lambda keys: self.find(keys, hash_keys(keys)),
        )

    def columns(self) -> Columns:
        """Return the payload columns, memory-mapped."""
        if self._columns is None:
            arrays = {name.removeprefix("column."): self.container[name] for name in self.container if name.startswith("column.")}
            self._columns = Columns.from_arrays(arrays, self.rows)
        return self._columns

    def stamps(self) -> NDArray[np.uint64]:
        """(n,) stamps."""
        return self.container["stamp"]

    def key_ids(self) -> NDArray[np.uint32]:
        """(n,) encryption key ids."""
        return self.container["key_id"]

    def centroids(self) -> Matrix:
        """(r, d) centroids of the segment's regions, as they were when it was sealed."""
        return self.container["region.centroids"]

    def text(self) -> TextIndex | None:
        """The full-text index, if the collection has one. Opened on first use."""
        if self._text is None and self._text_fields:
            with self._opening:
                if self._text is None:
                    self._text = self._open_text()
        return self._text

    def _open_text(self) -> TextIndex:
        from paradox.shard.build import fill_text

        try:
            return self._kernels.load_text(self.folder / TEXT_FOLDER, self._text_fields)
        except (OSError, ValueError):
            payloads = (self.payload(row) for row in range(self.rows))
            return fill_text(self._kernels.text(self._text_fields), payloads, self._text_fields)


def _slices(values: memoryview, ends: NDArray[np.uint64], rows: Rows) -> list[memoryview]:
    """Return the slice of each of `rows`, which lie one after the other and end at `ends`."""
    starts = np.where(rows > 0, ends[np.maximum(rows, 1) - 1], 0).tolist()
    return [values[start:end] for start, end in zip(starts, ends[rows].tolist(), strict=True)]


class _Keys(Sequence[Key]):
    """The keys of a sealed segment, decoded one at a time."""

    def __init__(self, segment: Sealed) -> None:
        self._segment = segment

    def __len__(self) -> int:
        return self._segment.rows

    def __getitem__(self, row: Any) -> Any:
        rows = np.arange(*row.indices(len(self))) if isinstance(row, slice) else np.array([row])
        keys = self._segment.keys_at(rows)
        return keys if isinstance(row, slice) else keys[0]
