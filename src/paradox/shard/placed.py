"""Placed: the values that some rows of a segment have, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Mask, Rows
from paradox.shard.number_tests import Test
from paradox.shard.stretch import Stretch

LISTED_BELOW = 4
"""A column with values on fewer than one row in this many names its rows one by one; it is laid out whole again at twice that share."""


class StoredStretch(Stretch):
    """An array that was stored, perhaps a read-only memory map, as a Stretch: appending copies it first."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.rows = len(array)


class _Layout(NamedTuple):
    """One of three: full (value i is row i's), gapped (so too, where `present`), listed (value i is that of row `rows[i]`, ascending)."""

    values: Stretch
    present: Stretch | None = None
    rows: Stretch | None = None


class Placed:
    """A column of one dtype on some of the rows. One thread appends; any number read, each up to the rows it knows of.

    repeats: a row may have several values, as the elements of an array; then the rows are always listed.
    """

    def __init__(self, dtype: Any, *, repeats: bool = False) -> None:
        self._dtype = np.dtype(dtype)
        self._repeats = repeats
        self._layout = _Layout(Stretch(dtype), rows=Stretch(np.int32) if repeats else None)
        self._count: int | None = 0

    @property
    def count(self) -> int:
        """How many values there are. Counted when first asked for, after `stored`."""
        if self._count is None:
            layout = self._layout
            self._count = layout.values.rows if layout.present is None else int(np.count_nonzero(layout.present.values()))
        return self._count

    def append(self, rows: Rows, values: NDArray[Any]) -> None:
        """Add one value a row; rows ascend and come after all rows so far. Cost: amortised O(m) and the gaps between."""
        if not len(rows):
            return
        count = self._count = self.count + len(rows)
        end = int(rows[-1]) + 1
        if self._layout.rows is not None:
            self._layout.values.append(values)
            self._layout.rows.append(rows)
            if not self._repeats and count * LISTED_BELOW >= 2 * end:
                self._layout = _Layout(*_laid_out(self._layout.rows.values(), self._layout.values.values(), end))
        elif self._layout.present is None and end == count:
            self._layout.values.append(values)
        elif count * LISTED_BELOW < end:
            self._layout = self._listed()
            assert self._layout.rows
            self._layout.values.append(values)
            self._layout.rows.append(rows)
        else:
            self._append_gapped(rows, values, end)

    def _append_gapped(self, rows: Rows, values: NDArray[Any], end: int) -> None:
        start = self._layout.values.rows
        if self._layout.present is None:
            # A copy: a reader of the full layout must not meet the gaps that follow.
            self._layout = _Layout(StoredStretch(self._layout.values.values()), StoredStretch(np.ones(start, dtype=np.bool_)))
        piece, present = _laid_out(rows - start, values, end - start)
        self._layout.values.append(piece.values())
        assert self._layout.present
        self._layout.present.append(present.values())

    def _listed(self) -> _Layout:
        values, present = self._layout.values.values(), self._layout.present
        if present is None:
            return _Layout(StoredStretch(values), rows=StoredStretch(np.arange(len(values), dtype=np.int32)))
        here = np.flatnonzero(present.values())
        return _Layout(StoredStretch(values[here]), rows=StoredStretch(here.astype(np.int32)))

    def select(self, test: Test, rows: int) -> Mask:
        """Return (rows,) which of the first `rows` rows have a value that passes `test`."""
        layout = self._layout
        selected = np.zeros(rows, dtype=np.bool_)
        if layout.rows is not None:
            places = layout.rows.values()
            places = places[: np.searchsorted(places, rows)]
            selected[places[np.flatnonzero(test(layout.values.values()[: len(places)]))]] = True
            return selected
        present = layout.present.values()[:rows] if layout.present else None
        values = layout.values.values()[: rows if present is None else len(present)]
        hits = test(values)
        if present is not None:
            hits &= present
        if len(hits) == rows:
            return hits
        selected[: len(hits)] = hits
        return selected

    def here(self, rows: int) -> Mask:
        """Return (rows,) which of the first `rows` rows have a value."""
        return self.select(lambda values: np.ones(len(values), dtype=np.bool_), rows)

    def map(self, table: NDArray[Any]) -> Placed:
        """Return the same places with `table[value]` for each value. Gaps hold 0, so the table must not be empty."""
        layout = self._layout
        mapped = Placed(table.dtype, repeats=self._repeats)
        mapped._layout = layout._replace(values=StoredStretch(table[layout.values.values()]))
        mapped._count = self._count
        return mapped

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the named arrays that `stored` reads back."""
        layout = self._layout
        yield "values", layout.values.values()
        if layout.present is not None:
            yield "present", layout.present.values()
        if layout.rows is not None:
            yield "rows", layout.rows.values()

    @classmethod
    def stored(cls, arrays: Mapping[str, NDArray[Any]], *, repeats: bool = False) -> Placed:
        """Return the column that gave these arrays, without reading them."""
        placed = cls(arrays["values"].dtype, repeats=repeats)
        layout = {name: StoredStretch(arrays[name]) for name in ("values", "present", "rows") if name in arrays}
        placed._layout = _Layout(**layout)
        placed._count = None
        return placed


def _laid_out(rows: NDArray[Any], values: NDArray[Any], end: int) -> tuple[Stretch, Stretch]:
    """Return (end,) values and whether each is one, from listed ones."""
    whole = np.zeros(end, dtype=values.dtype)
    whole[rows] = values
    present = np.zeros(end, dtype=np.bool_)
    present[rows] = True
    return StoredStretch(whole), StoredStretch(present)
