"""Columns: the payloads of one segment, turned so that a filter looks at one field of all points at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from paradox.model.filters import Filter
from paradox.model.invariants import Invariant, ensure
from paradox.model.points import Mask
from paradox.shard.evaluation import Evaluation
from paradox.shard.field_column import FieldColumn, by_first_name, under
from paradox.shard.own_columns import OwnColumns
from paradox.shard.payload_entries import batches, entries_of
from paradox.shard.rare_fields import RareFields
from paradox.shard.vocabulary import SortedVocabulary, packed_words

__all__ = ["Columns", "OwnColumns"]

FIELDS_MAX = 512
"""Paths with columns of their own. Payloads keyed by user or date have no end of paths; of the rest only their presence is kept."""


class Columns:
    """Payload columns of rows 0 … n-1. One thread appends at a time; any number evaluate, also meanwhile."""

    def __init__(self) -> None:
        self._rows = 0
        self._fields: dict[str, FieldColumn] = {}
        self._rare = RareFields()
        self._known: tuple[int, dict[str, frozenset[str]]] = (0, {})
        self._appending = Lock()

    def __len__(self) -> int:
        return self._rows

    def extend(self, payloads: Sequence[bytes]) -> None:
        """Append rows, each a MessagePack map. Cost: O(values). Raises PayloadInvalid, and then some rows may have been appended."""
        with self._appending:
            self._extend(payloads)

    def catch_up(self, payloads: Sequence[bytes], rows: int) -> None:
        """Append those of the first `rows` payloads that are not here yet. Any number of threads may ask at once."""
        if self._rows < rows:
            with self._appending:
                self._extend(payloads[self._rows : rows])

    def _extend(self, payloads: Sequence[bytes]) -> None:
        for batch in batches(payloads):
            found = entries_of(batch, self._rows)
            # The most frequent first, so that they get the columns when there are too many.
            for path in sorted(found, key=lambda path: len(found[path].rows), reverse=True):
                if path not in self._fields:
                    if path in self._rare or len(self._fields) >= FIELDS_MAX:
                        self._rare.append(path, found[path])
                        continue
                    self._fields[path] = FieldColumn()
                self._fields[path].append(found[path])
            self._rows += len(batch)

    def fields(self) -> dict[str, frozenset[str]]:
        """Return each dotted path with the kinds of its values: number, text, bool, array, object. Null counts as absent.

        The answer is kept until rows are appended, so do not change it.
        """
        rows, known = self._known
        if rows != self._rows:
            rows = self._rows
            known = {path: column.kinds() for path, column in list(self._fields.items())} | self._rare.kinds()
            self._known = (rows, known)
        return known

    def evaluate(self, where: Filter, own: OwnColumns, payload: Callable[[int], bytes]) -> Mask:
        """Return (n,) which points fulfil `where`, n being the rows of `own`. `payload` returns the encoded payload of a row.

        Exact. A point without the field fulfils no condition on it, not even `!=`; a value of another kind is unequal. Cost: some array
        operations a condition; where text is too long or too diverse for columns, also the payloads of the rows that all cheaper
        conditions leave. Raises FilterType for text compared with `at` that is no time.
        """
        ensure(Invariant.ROWS_ALIGNED, len(own.at_us) <= self._rows, f"{len(own.at_us)} points, {self._rows} rows of columns")
        return Evaluation(self._fields, self._rare, own, payload).mask(where)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays of plain dtypes, for `from_arrays`. Some are views: write them before rows are appended."""
        paths = list(self._fields)
        arrays = dict(under("paths", packed_words(paths).arrays()))
        for number, path in enumerate(paths):
            arrays.update(under(f"field{number}", self._fields[path].arrays()))
        arrays.update(under("rare", self._rare.arrays()))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], rows: int) -> Columns:
        """Return the columns of `rows` rows that gave these arrays, which may be read-only maps of a file. Only names are read now."""
        columns = cls()
        columns._rows = rows
        parts = by_first_name(arrays)
        for number, path in enumerate(SortedVocabulary.stored(parts["paths"])):
            columns._fields[path] = FieldColumn.stored(parts[f"field{number}"])
        columns._rare = RareFields.stored(parts["rare"])
        return columns
