"""Payload entries: many encoded payloads taken apart into one column a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import PayloadInvalid
from paradox.model.points import Mask, Rows

INTEGER, FLOAT, TEXT, BOOL, ARRAY, OBJECT, NULL, OPAQUE = range(8)
"""Kinds of a value. OPAQUE: what MessagePack has beyond JSON (bytes, times); present, but equal to nothing."""
_KIND_OF: Mapping[type, int] = {int: INTEGER, float: FLOAT, str: TEXT, bool: BOOL, list: ARRAY, dict: OBJECT, type(None): NULL}
BATCH_BYTES, BATCH_ROWS = 16 << 20, 4_096
"""Payloads decoded at a time: their Python objects stay a bounded share of memory, and no other thread waits long for its turn."""
_ARRAY_OF_32_BITS = b"\xdd"


class Entries(msgspec.Struct, frozen=True):
    """What the points of one batch hold under one path: (m,) rows, ascending, (m,) int8 kinds and (m,) values as Python objects."""

    rows: Rows
    kinds: NDArray[np.int8]
    values: NDArray[Any]

    def of(self, chosen: Mask | Rows) -> Entries:
        """Return some of them."""
        return Entries(self.rows[chosen], self.kinds[chosen], self.values[chosen])


def kinds_of(values: Sequence[Any]) -> NDArray[np.int8]:
    """Return the kind of each value. Cost: one dictionary look-up each."""
    return np.fromiter(map(_KIND_OF.get, map(type, values), repeat(OPAQUE)), dtype=np.int8, count=len(values))


def batches(payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut payloads into batches of at most BATCH_ROWS, and at most BATCH_BYTES unless one payload alone is larger."""
    ends_bytes = np.cumsum(np.fromiter(map(len, payloads), dtype=np.int64, count=len(payloads)))
    start = start_bytes = 0
    while start < len(payloads):
        fitting = int(np.searchsorted(ends_bytes, start_bytes + BATCH_BYTES, side="right"))
        end = max(start + 1, min(fitting, start + BATCH_ROWS))
        yield payloads[start:end]
        start, start_bytes = end, int(ends_bytes[end - 1])


def entries_of(payloads: Sequence[bytes], first: int) -> dict[str, Entries]:
    """Return the values of MessagePack maps by dotted path, nulls left out. The payloads are rows first, first + 1, ….

    Where keys with dots give a point one path twice, the one under the fewest keys counts, then the first in the payload.
    Cost: O(values), about 0.2 µs each. Raises PayloadInvalid for bytes that are not MessagePack maps.
    """
    maps = _decoded(payloads)
    rows: Rows = np.arange(first, first + len(maps), dtype=np.int64)
    prefixes: list[str] | None = None
    found: dict[str, list[Entries]] = {}
    while maps:
        sizes = np.fromiter(map(len, maps), dtype=np.int64, count=len(maps))
        keys = list(chain.from_iterable(maps))
        if prefixes is not None:
            leads = chain.from_iterable(map(repeat, prefixes, sizes.tolist()))
            keys = [f"{lead}.{key}" for lead, key in zip(leads, keys, strict=True)]
        values = list(chain.from_iterable(map(dict.values, maps)))
        level = Entries(np.repeat(rows, sizes), kinds_of(values), np.fromiter(values, dtype=object, count=len(values)))
        for path, entries in _by_path(keys, level):
            present = entries.kinds != NULL
            found.setdefault(path, []).append(entries if present.all() else entries.of(present))
        nested = np.flatnonzero(level.kinds == OBJECT)
        maps = level.values[nested].tolist()
        rows = level.rows[nested]
        prefixes = [keys[place] for place in nested.tolist()]
    return {path: entries for path, levels in found.items() if len((entries := _first_of_each_row(levels)).rows)}


def _decoded(payloads: Sequence[bytes]) -> list[dict[str, Any]]:
    """Decode all payloads in one native call, as one array of maps."""
    try:
        return msgspec.msgpack.decode(_ARRAY_OF_32_BITS + len(payloads).to_bytes(4) + b"".join(payloads), type=list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise PayloadInvalid("a stored payload is not a MessagePack map with text keys", hint="run paradox verify") from None


def _by_path(keys: list[str], level: Entries) -> Iterator[tuple[str, Entries]]:
    """Yield the entries of each path, in order of first appearance; rows stay in order."""
    code_of = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    codes = np.fromiter(map(code_of.__getitem__, keys), dtype=np.int16 if len(code_of) < 1 << 15 else np.int32, count=len(keys))
    order = np.argsort(codes, kind="stable")  # a radix sort for int16: linear
    ends = np.cumsum(np.bincount(codes, minlength=len(code_of))).tolist()
    ordered = level.of(order)
    start = 0
    for path, end in zip(code_of, ends, strict=True):
        yield path, ordered.of(slice(start, end))  # type: ignore[arg-type]
        start = end


def _first_of_each_row(levels: list[Entries]) -> Entries:
    entries = levels[0]
    if len(levels) > 1:
        rows = np.concatenate([level.rows for level in levels])
        order = np.argsort(rows, kind="stable")
        kinds = np.concatenate([level.kinds for level in levels])
        entries = Entries(rows, kinds, np.concatenate([level.values for level in levels])).of(order)
    repeated = entries.rows[1:] == entries.rows[:-1]
    return entries.of(np.concatenate([[True], ~repeated])) if repeated.any() else entries
