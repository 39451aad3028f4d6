"""Text columns: codes into a vocabulary while texts are short or few, hashes once they are long or mostly unique."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.model.filters import Compare, Filter, In
from paradox.model.points import Mask, Rows
from paradox.shard.number_tests import is_one_of
from paradox.shard.placed import Placed
from paradox.shard.value_tests import text_test
from paradox.shard.vocabulary import GrowingVocabulary, SortedVocabulary, Vocabulary

WORDS_FREE = 1_024
"""Distinct texts that are always worth a vocabulary."""
WORDS_PER_TEXT_MAX = 0.5
SIGNS_FREE = 65_536
"""Characters of a vocabulary that are always affordable; beyond them its texts may be SIGNS_MEAN_MAX long on average."""
SIGNS_MEAN_MAX = 64


class Probe(NamedTuple):
    """What columns know of a condition: rows that fulfil it, and rows of which only the payload knows (None = of no row)."""

    hits: Mask
    unsure: Mask | None = None


class Cost(IntEnum):
    """What a condition reads, cheapest first: columns only, a few payloads too, or the payloads of all rows with the field."""

    COLUMNS = 0
    FEW_PAYLOADS = 1
    PAYLOADS = 2


class _Coded(NamedTuple):
    vocabulary: Vocabulary
    codes: Placed


class TextColumn:
    """The texts of one field. Either codes and their vocabulary, or XXH3 hashes, by which only equality can be looked up."""

    def __init__(self, *, repeats: bool = False) -> None:
        self._form: _Coded | Placed = _Coded(GrowingVocabulary(), Placed(np.int32, repeats=repeats))

    def cost(self, leaf: Filter) -> Cost:
        """Return what a condition will read."""
        if isinstance(self._form, _Coded) or text_test(leaf) is None:
            return Cost.COLUMNS
        by_hash = isinstance(leaf, In) or (isinstance(leaf, Compare) and leaf.operator == "=")
        return Cost.FEW_PAYLOADS if by_hash else Cost.PAYLOADS

    def append(self, rows: Rows, texts: list[str]) -> None:
        """Add one text a row, as `Placed.append`."""
        if isinstance(self._form, Placed):
            self._form.append(rows, _hashes(texts))
            return
        vocabulary, codes = self._form
        if isinstance(vocabulary, SortedVocabulary):
            vocabulary = GrowingVocabulary(vocabulary)
            self._form = _Coded(vocabulary, codes)
        codes.append(rows, vocabulary.codes(texts))
        words = len(vocabulary)
        unique = words > WORDS_FREE and words > codes.count * WORDS_PER_TEXT_MAX
        if unique or vocabulary.signs > max(SIGNS_FREE, words * SIGNS_MEAN_MAX):
            self._form = codes.map(_hashes(vocabulary.words))

    def here(self, rows: int) -> Mask:
        """Return (rows,) which of the first `rows` rows have a text."""
        return self._places().here(rows)

    def probe(self, leaf: Filter, rows: int) -> Probe | None:
        """Return what is known of a condition on texts, or None when no text can fulfil it."""
        form = self._form
        if isinstance(form, _Coded):
            test = form.vocabulary.test(leaf)
            return None if test is None else Probe(form.codes.select(test, rows))
        if text_test(leaf) is None:
            return None
        unsure = form.here(rows)
        match leaf:
            case Compare(operator="=", value=str(value)):
                unsure = form.select(lambda hashes: hashes == _hashes([value])[0], rows)
            case In(values=values):
                wanted = _hashes([value for value in values if isinstance(value, str)]).tolist()
                unsure = form.select(lambda hashes: is_one_of(hashes, wanted), rows)
        return Probe(np.zeros(rows, dtype=np.bool_), unsure)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the named arrays that `stored` reads back."""
        form = self._form
        if isinstance(form, Placed):
            yield from form.arrays()
            return
        vocabulary, codes = form
        if isinstance(vocabulary, GrowingVocabulary):
            vocabulary, order = vocabulary.sorted()
            codes = codes.map(order)
        yield from codes.arrays()
        yield from vocabulary.arrays()

    @classmethod
    def stored(cls, arrays: Mapping[str, NDArray[Any]], *, repeats: bool = False) -> TextColumn:
        """Return the column that gave these arrays, without reading them."""
        column = cls(repeats=repeats)
        placed = Placed.stored(arrays, repeats=repeats)
        column._form = _Coded(SortedVocabulary.stored(arrays), placed) if "ends" in arrays else placed
        return column

    def _places(self) -> Placed:
        form = self._form
        return form if isinstance(form, Placed) else form.codes


def _hashes(texts: list[str]) -> NDArray[np.uint64]:
    return np.fromiter(map(xxhash.xxh3_64_intdigest, map(str.encode, texts)), dtype=np.uint64, count=len(texts))
