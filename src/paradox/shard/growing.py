"""The growing segment: where new points go. In memory; the log makes them durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Holders, Key, Mask, Points, Rows
from paradox.model.recall import Curve
from paradox.model.schema import CollectionSpec, VectorSpec
from paradox.planner.choose import Choice
from paradox.ports.index import Index
from paradox.ports.kernels import GrowingIndex, Kernels
from paradox.ports.text import TextIndex
from paradox.shard.columns import Columns, OwnColumns
from paradox.shard.geometry import Form, form_of, index_form, inverse_lengths
from paradox.shard.stretch import Stretch

_payload = msgspec.msgpack.Decoder()


class GrowingVectors:
    """One named vector of a growing segment: the vectors as given, their inverse lengths, and an index over them."""

    opened = True

    def __init__(self, spec: VectorSpec, kernels: Kernels) -> None:
        self.spec = spec
        bits = spec.metric == "hamming"
        width = spec.dimensions // 8 if bits else spec.dimensions
        self._matrix = Stretch(np.uint8 if bits else np.float32, width)
        self._inverse = Stretch(np.float32)
        self._present = Stretch(np.bool_)
        self.absent = 0
        self.form = Form()
        extra = 1 if spec.metric == "euclidean" else 0
        self.scan: GrowingIndex = kernels.bits(width) if bits else kernels.scan(spec.dimensions + extra)
        self.probe: Index | None = None
        self.scan_curve: Curve | None = None
        self.probe_curve: Curve | None = None
        self.probed = False
        self.scan_row_us = self.list_row_us = 0.0
        self.choices: dict[tuple[int, int, float, bool], Choice] = {}

    def append(self, vectors: NDArray[Any], present: Mask | None) -> None:
        """Add rows; where `present` is False the row holds zeros and is never a candidate."""
        inverse = inverse_lengths(vectors, self.spec.metric)
        if not self._matrix.rows:
            self.form = form_of(vectors, self.spec.metric)
        self._matrix.append(vectors)
        self._inverse.append(inverse)
        self._present.append(np.ones(len(vectors), dtype=np.bool_) if present is None else present)
        self.absent += 0 if present is None else int(len(present) - present.sum())
        self.scan.add(index_form(vectors, inverse, self.spec.metric, self.form))

    def matrix(self) -> NDArray[Any]:
        """(n, d) vectors as given."""
        return self._matrix.values()

    def inverse(self) -> NDArray[np.float32]:
        """(n,) one over each length; ones where the metric needs none."""
        return self._inverse.values()

    def present(self) -> Mask | None:
        """(n,) which rows have this vector, or None when all do."""
        return self._present.values() if self.absent else None


class Growing:
    """Rows in order of arrival. One thread appends; any number read."""

    name = "growing"

    def __init__(self, spec: CollectionSpec, kernels: Kernels) -> None:
        self.vectors = {name: GrowingVectors(vector, kernels) for name, vector in spec.vectors.items()}
        self.row_of: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._payloads: list[bytes] = []
        self.size_bytes = 0
        self._at_us = Stretch(np.int64)
        self._stamp = Stretch(np.uint64)
        self._key_id = Stretch(np.uint32)
        self._modality = Stretch(np.int32)
        self._origin = Stretch(np.int32)
        self._owned = Stretch(np.bool_)
        self._holders = Stretch(np.int16, spec.copies)
        self._alive = Stretch(np.bool_)
        self.dead = 0
        self.deaths: list[tuple[int, Rows]] = []
        self.modality_names: list[str] = []
        self.origin_names: list[str] = []
        self._columns = Columns()
        self._text_fields = spec.text
        self._text: TextIndex | None = kernels.text(spec.text) if spec.text else None

    @property
    def rows(self) -> int:
        """Rows, dead ones included."""
        return self._alive.rows

    def append(self, points: Points, owned: Mask, holders: Holders) -> None:
        """Add points as new rows, alive. owned: (n,) the rows this shard answers for. holders: (n, copies) the shards that hold each."""
        first, count = self.rows, len(points)
        for name, column in self.vectors.items():
            column.append(points.vectors[name], points.present.get(name))
        self._keys.extend(points.keys)
        self._payloads.extend(points.payloads)
        self._at_us.append(points.at_us)
        self._stamp.append(points.stamp)
        self._key_id.append(points.key_id)
        self._modality.append(_codes(points.modality, self.modality_names))
        self._origin.append(_codes([points.origin], self.origin_names).repeat(count))
        self._owned.append(owned)
        self._holders.append(holders)
        if self._text is not None:
            self._text.add(first, [texts_of(payload, self._text_fields) for payload in points.payloads])
        self._alive.append(np.ones(count, dtype=np.bool_))
        self.row_of.update(zip(points.keys, range(first, first + count), strict=True))
        self.size_bytes += sum(map(len, points.payloads)) + sum(column.nbytes for column in points.vectors.values())

    def find(self, keys: Sequence[Key], hashes: NDArray[np.uint64] | None = None) -> Rows:
        """Return the newest row of each key, -1 where there is none."""
        get = self.row_of.get
        return np.array([get(key, -1) for key in keys], dtype=np.int64)

    def kill(self, rows: Rows, position: int) -> None:
        """Mark live rows as no longer there since the log entry at `position`."""
        self.deaths.append((position, rows))  # first, so that `alive_at` never meets a death that has no position
        self._alive.set(rows, False)
        self.dead += len(rows)

    def alive(self) -> Mask:
        """(n,) which rows are there."""
        return self._alive.values()

    def owned(self) -> Mask:
        """(n,) which rows this holder answers for in counts and scrolls."""
        return self._owned.values()

    def holders(self) -> Holders:
        """(n, copies) the shards that hold each row, the one that answers for it first; -1 = no further one."""
        return self._holders.values()

    def keys_at(self, rows: Rows) -> list[Key]:
        """Return the keys of rows."""
        keys = self._keys
        return [keys[row] for row in rows.tolist()]

    def payloads_at(self, rows: Rows) -> list[bytes]:
        """Return the encoded payloads of rows."""
        payloads = self._payloads
        return [payloads[row] for row in rows.tolist()]

    def payload(self, row: int) -> bytes:
        """Return one encoded payload."""
        return self._payloads[row]

    def own_at(self, rows: Rows) -> tuple[list[str], list[int], list[str]]:
        """Return the modality, event time and origin of rows."""
        modality, origin = self.modality_names, self.origin_names
        return (
            [modality[code] for code in self._modality.values()[rows].tolist()],
            self._at_us.values()[rows].tolist(),
            [origin[code] for code in self._origin.values()[rows].tolist()],
        )

    def own(self) -> OwnColumns:
        """Return the points' own fields in columns, as of now."""
        count = self.rows
        return OwnColumns(
            keys=self._keys[:count],
            modality=(self._modality.values()[:count], self.modality_names),
            at_us=self._at_us.values()[:count],
            origin=(self._origin.values()[:count], self.origin_names),
            find=self.find,
        )

    def columns(self) -> Columns:
        """Return the payload columns, brought up to now. Cost: the rows added since the last call."""
        self._columns.catch_up(self._payloads, self.rows)
        return self._columns

    def stamps(self) -> NDArray[np.uint64]:
        """(n,) stamps."""
        return self._stamp.values()

    def key_ids(self) -> NDArray[np.uint32]:
        """(n,) encryption key ids."""
        return self._key_id.values()

    def text(self) -> TextIndex | None:
        """The full-text index, if the collection has one."""
        return self._text


def _codes(names: Sequence[str], known: list[str]) -> NDArray[np.int32]:
    """Return the number of each name in `known`, to which new ones are appended."""
    for name in dict.fromkeys(names):
        if name not in known:
            known.append(name)
    number = {name: code for code, name in enumerate(known)}
    return np.array([number[name] for name in names], dtype=np.int32)


def texts_of(payload: bytes, fields: tuple[str, ...]) -> dict[str, str]:
    """Return those of `fields` that an encoded payload holds as text."""
    values = _payload.decode(payload)
    return {field: value for field in fields if isinstance(value := values.get(field), str)}
