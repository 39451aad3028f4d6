"""Rare fields: paths beyond the number that gets columns of its own. Only who has them is known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Mask
from paradox.shard.payload_entries import ARRAY, BOOL, FLOAT, INTEGER, TEXT, Entries
from paradox.shard.placed import StoredStretch
from paradox.shard.stretch import Stretch
from paradox.shard.vocabulary import SortedVocabulary, packed_words

_KIND_NAMES: Mapping[int, str] = {INTEGER: "number", FLOAT: "number", TEXT: "text", BOOL: "bool", ARRAY: "array"}
_KINDS = ("number", "text", "bool", "array", "object")


class RareFields:
    """Paths, the kinds seen under each, and the rows that have each, in one table for all."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._kinds: list[int] = []
        self._fields = Stretch(np.int32)
        self._rows = Stretch(np.int32)

    def __contains__(self, path: str) -> bool:
        return path in self._numbers

    def kinds(self) -> dict[str, frozenset[str]]:
        """Return the kinds seen under each path."""
        return {
            path: frozenset(name for bit, name in enumerate(_KINDS) if self._kinds[number] >> bit & 1)
            for path, number in list(self._numbers.items())
        }

    def append(self, path: str, entries: Entries) -> None:
        """Note that rows have a path; they come after all its rows so far."""
        number = self._numbers.get(path, len(self._kinds))
        if number == len(self._kinds):
            self._kinds.append(0)
            self._numbers[path] = number
        for kind in np.unique(entries.kinds).tolist():
            self._kinds[number] |= 1 << _KINDS.index(_KIND_NAMES.get(kind, "object"))
        self._rows.append(entries.rows)
        self._fields.append(np.full(len(entries.rows), number, dtype=np.int32))

    def here(self, path: str, rows: int) -> Mask:
        """Return (rows,) which of the first `rows` rows have a path. Cost: O(values of all rare fields)."""
        found: Mask = np.zeros(rows, dtype=np.bool_)
        fields = self._fields.values()
        places = self._rows.values()[: len(fields)][fields == self._numbers[path]]
        found[places[places < rows]] = True
        return found

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the named arrays that `stored` reads back."""
        yield from packed_words(list(self._numbers)).arrays()
        yield "kinds", np.array(self._kinds, dtype=np.uint8)
        yield "fields", self._fields.values()
        yield "rows", self._rows.values()

    @classmethod
    def stored(cls, arrays: Mapping[str, NDArray[Any]]) -> RareFields:
        """Return the table that gave these arrays. Paths and kinds are read, rows are not."""
        rare = cls()
        rare._numbers = {path: number for number, path in enumerate(SortedVocabulary.stored(arrays))}
        rare._kinds = arrays["kinds"].tolist()
        rare._fields, rare._rows = StoredStretch(arrays["fields"]), StoredStretch(arrays["rows"])
        return rare
