"""Field columns: everything the points of a segment hold under one path, one column a kind of value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.filters import Compare, Contains, Exists, Filter
from paradox.model.points import Mask, Rows
from paradox.shard.number_tests import Test, number_test
from paradox.shard.payload_entries import ARRAY, BOOL, FLOAT, INTEGER, TEXT, Entries, kinds_of
from paradox.shard.placed import Placed
from paradox.shard.text_column import Cost, Probe, TextColumn
from paradox.shard.value_tests import bool_wanted

INT64_MAX = 2**63 - 1
ELEMENTS_FREE = 65_536
"""Elements of arrays that are always affordable; beyond them arrays may have ELEMENTS_MEAN_MAX on average, else only payloads hold them."""
ELEMENTS_MEAN_MAX = 32
_DTYPES: Mapping[str, type[np.generic]] = {
    "int": np.int64,
    "float": np.float64,
    "large": np.uint64,
    "bool": np.bool_,
    "array": np.bool_,
    "object": np.bool_,
}
"""Columns and their dtypes; `large`: integers from 2^63. Of arrays and objects only the presence is kept here."""
_KIND_NAMES: Mapping[str, str] = {
    "int": "number",
    "float": "number",
    "large": "number",
    "bool": "bool",
    "array": "array",
    "object": "object",
    "text": "text",
}


class FieldColumn:
    """The values of one path. repeats: of the elements of arrays, of which a row has several."""

    def __init__(self, *, repeats: bool = False) -> None:
        self._repeats = repeats
        self._placed: dict[str, Placed] = {}
        self._texts: TextColumn | None = None
        self._elements: FieldColumn | None = None
        self._elements_count = 0
        self._elements_dropped = False

    def kinds(self) -> frozenset[str]:
        """Return the kinds seen: number, text, bool, array, object."""
        return frozenset(_KIND_NAMES[name] for name in (*self._placed, *(("text",) if self._texts else ())))

    def append(self, entries: Entries) -> None:
        """Add values of rows that come after all rows so far."""
        first = int(entries.kinds[0])
        if (entries.kinds == first).all():
            self._append_kind(first, entries.rows, entries.values)
            return
        for kind in np.unique(entries.kinds).tolist():
            chosen = np.flatnonzero(entries.kinds == kind)
            self._append_kind(kind, entries.rows[chosen], entries.values[chosen])

    def _append_kind(self, kind: int, rows: Rows, values: NDArray[Any]) -> None:
        if kind == INTEGER:
            self._append_integers(rows, values)
        elif kind == FLOAT:
            self._column("float").append(rows, values.astype(np.float64))
        elif kind == TEXT:
            self._texts = self._texts or TextColumn(repeats=self._repeats)
            self._texts.append(rows, values.tolist())
        elif kind == BOOL:
            self._column("bool").append(rows, values.astype(np.bool_))
        elif kind == ARRAY:
            self._append_elements(rows, values)
            self._column("array").append(rows, np.ones(len(rows), dtype=np.bool_))
        else:
            self._column("object").append(rows, np.ones(len(rows), dtype=np.bool_))

    def _append_integers(self, rows: Rows, values: NDArray[Any]) -> None:
        try:
            self._column("int").append(rows, values.astype(np.int64))
        except OverflowError:
            large = values > INT64_MAX
            self._column("large").append(rows[large], values[large].astype(np.uint64))
            self._column("int").append(rows[~large], values[~large].astype(np.int64))

    def _append_elements(self, rows: Rows, arrays: NDArray[Any]) -> None:
        if self._elements_dropped:
            return
        sizes = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
        self._elements_count += int(sizes.sum())
        held = self._placed["array"].count if "array" in self._placed else 0
        if self._elements_count > max(ELEMENTS_FREE, ELEMENTS_MEAN_MAX * (held + len(arrays))):
            self._elements_dropped = True  # first, so that a reader who finds no elements knows why
            self._elements = None
            return
        values = list(chain.from_iterable(arrays))
        kinds = kinds_of(values)
        scalars = np.flatnonzero((kinds == INTEGER) | (kinds == FLOAT) | (kinds == TEXT) | (kinds == BOOL))
        if len(scalars):
            self._elements = self._elements or FieldColumn(repeats=True)
            self._elements.append(Entries(np.repeat(rows, sizes), kinds, np.fromiter(values, dtype=object, count=len(values))).of(scalars))

    def _column(self, name: str) -> Placed:
        if name not in self._placed:
            # A new dictionary, so that a reader may walk the one it has.
            self._placed = {**self._placed, name: Placed(_DTYPES[name], repeats=self._repeats)}
        return self._placed[name]

    def cost(self, leaf: Filter) -> Cost:
        """Return what a condition will read."""
        match leaf:
            case Exists():
                return Cost.COLUMNS
            case Contains(field, value):
                elements = self._elements
                if self._elements_dropped:
                    return Cost.PAYLOADS
                return elements.cost(Compare(field, "=", value)) if elements else Cost.COLUMNS
            case _:
                return self._texts.cost(leaf) if self._texts else Cost.COLUMNS

    def probe(self, leaf: Filter, rows: int) -> Probe:
        """Return what is known of a condition other than `!=` on the first `rows` rows."""
        match leaf:
            case Exists():
                return Probe(self._here(rows))
            case Contains(field, value):
                elements = self._elements
                if self._elements_dropped:
                    return Probe(np.zeros(rows, dtype=np.bool_), self._placed["array"].here(rows))
                if elements is None:
                    return Probe(np.zeros(rows, dtype=np.bool_))
                return elements.probe(Compare(field, "=", value), rows)
            case _:
                return self._probe_scalars(leaf, rows)

    def _here(self, rows: int) -> Mask:
        masks = [column.here(rows) for column in self._placed.values()]
        if self._texts:
            masks.append(self._texts.here(rows))
        return _any_of(masks, rows)

    def _probe_scalars(self, leaf: Filter, rows: int) -> Probe:
        placed, texts = self._placed, self._texts
        masks = []
        test = number_test(leaf)
        if test is not None:
            masks = [placed[name].select(test, rows) for name in ("int", "float", "large") if name in placed]
        bools = bool_wanted(leaf)
        if bools and "bool" in placed:
            masks.append(placed["bool"].select(_bool_test(bools), rows))
        probed = texts.probe(leaf, rows) if texts else None
        if probed is not None:
            masks.append(probed.hits)
        return Probe(_any_of(masks, rows), probed.unsure if probed else None)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the named arrays that `stored` reads back."""
        for name, column in self._placed.items():
            yield from under(name, column.arrays())
        if self._texts:
            yield from under("text", self._texts.arrays())
        if self._elements:
            yield from under("element", self._elements.arrays())
        yield "elements", np.array([self._elements_count, self._elements_dropped], dtype=np.int64)

    @classmethod
    def stored(cls, arrays: Mapping[str, NDArray[Any]], *, repeats: bool = False) -> FieldColumn:
        """Return the column that gave these arrays, without reading them."""
        field = cls(repeats=repeats)
        for name, part in by_first_name(arrays).items():
            if name == "text":
                field._texts = TextColumn.stored(part, repeats=repeats)
            elif name == "element":
                field._elements = cls.stored(part, repeats=True)
            elif name in _DTYPES:
                field._placed[name] = Placed.stored(part, repeats=repeats)
        count, dropped = arrays["elements"].tolist()
        field._elements_count, field._elements_dropped = count, bool(dropped)
        return field


def by_first_name(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return arrays named "a/b" under "a", then "b"."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name in arrays:
        first, _, rest = name.partition("/")
        if rest:
            found.setdefault(first, {})[rest] = arrays[name]
    return found


def under(name: str, arrays: Iterator[tuple[str, NDArray[Any]]]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield arrays named "b" as "a/b"."""
    return ((f"{name}/{inner}", array) for inner, array in arrays)


def _any_of(masks: list[Mask], rows: int) -> Mask:
    if not masks:
        return np.zeros(rows, dtype=np.bool_)
    for mask in masks[1:]:
        masks[0] |= mask
    return masks[0]


def _bool_test(wanted: frozenset[bool]) -> Test:
    if len(wanted) == 2:
        return lambda values: np.ones(len(values), dtype=np.bool_)
    return lambda values: np.asarray(values == (True in wanted), dtype=np.bool_)
