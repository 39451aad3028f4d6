"""Vocabulary: the distinct texts of one field, each with a code."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paradox.model.filters import Between, Compare, Filter, In, Prefix
from paradox.model.points import Mask
from paradox.shard.number_tests import Test
from paradox.shard.value_tests import text_test

CODES_COMPARED_MAX = 8
"""Codes that are compared one by one; above it a look-up of each row's code is faster (measured on 100k rows)."""


class GrowingVocabulary:
    """Texts in order of arrival; text i has code i."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = list(words)
        self._code_of = {word: code for code, word in enumerate(self.words)}
        self.signs = sum(map(len, self.words))

    def __len__(self) -> int:
        return len(self.words)

    def codes(self, texts: list[str]) -> NDArray[np.int32]:
        """Return the code of each text; new ones are appended. Cost: one or two dictionary look-ups each."""
        known = self._code_of
        for word in dict.fromkeys(texts):
            if word not in known:
                self.words.append(word)  # before its code is known, so that a reader finds a word for every code
                known[word] = len(known)
                self.signs += len(word)
        return np.fromiter(map(known.__getitem__, texts), dtype=np.int32, count=len(texts))

    def test(self, leaf: Filter) -> Test | None:
        """Return the test a condition puts to codes, or None when no text can fulfil it."""
        wanted = _wanted(leaf)
        if wanted is not None:
            return _one_of([code for word in wanted if (code := self._code_of.get(word)) is not None])
        holds = text_test(leaf)
        return None if holds is None else _looked_up(map(holds, list(self.words)))

    def sorted(self) -> tuple[SortedVocabulary, NDArray[np.int32]]:
        """Return the same texts sorted, and the new code of each old one."""
        order = sorted(range(len(self.words)), key=self.words.__getitem__)
        codes = np.empty(len(order), dtype=np.int32)
        codes[order] = np.arange(len(order), dtype=np.int32)
        return packed_words([self.words[code] for code in order]), codes


class SortedVocabulary:
    """Texts in order of their code points, as stored: (bytes,) uint8 UTF-8 and (n + 1,) int64 ends. Read where it is looked at."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._text = text
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, code: int) -> str:
        if not 0 <= code < len(self):
            raise IndexError(code)
        return self._text[self._ends[code] : self._ends[code + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        whole, ends = self._text.tobytes(), self._ends.tolist()
        return (whole[start:end].decode() for start, end in pairwise(ends))

    def test(self, leaf: Filter) -> Test | None:
        """Return the test a condition puts to codes, or None when no text can fulfil it. Cost: O(log n) look-ups, O(n) for matches."""
        wanted = _wanted(leaf)
        if wanted is not None:
            places = [(word, bisect_left(self, word)) for word in wanted]
            return _one_of([place for word, place in places if place < len(self) and self[place] == word])
        match leaf:
            case Compare(operator=operator, value=str(bound)):
                place = bisect_right(self, bound) if operator in ("<=", ">") else bisect_left(self, bound)
                return _between(0, place) if operator in ("<", "<=") else _between(place, len(self))
            case Between(low=str(low), high=str(high)):
                return _between(bisect_left(self, low), bisect_right(self, high))
            case Prefix(value=start):
                return _between(bisect_left(self, start), bisect_right(self, start, key=lambda word: word[: len(start)]))
        holds = text_test(leaf)
        return None if holds is None else _looked_up(map(holds, self))

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the named arrays that `stored` reads back."""
        yield "text", self._text
        yield "ends", self._ends

    @classmethod
    def stored(cls, arrays: Mapping[str, NDArray[Any]]) -> SortedVocabulary:
        """Return the vocabulary that gave these arrays, without reading them."""
        return cls(arrays["text"], arrays["ends"])


def packed_words(words: list[str]) -> SortedVocabulary:
    """Return texts as two arrays, in the order given: sorted for look-ups, in any order for a plain list."""
    encoded = [word.encode() for word in words]
    ends = np.zeros(len(words) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)), out=ends[1:])
    return SortedVocabulary(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)


Vocabulary: TypeAlias = GrowingVocabulary | SortedVocabulary


def _wanted(leaf: Filter) -> list[str] | None:
    """Return the texts a condition names one by one, or None when it is of another form."""
    match leaf:
        case Compare(operator="=", value=str(value)):
            return [value]
        case In(values=values):
            return list(dict.fromkeys(value for value in values if isinstance(value, str)))
        case _:
            return None


def _one_of(wanted: list[int]) -> Test:
    if len(wanted) > CODES_COMPARED_MAX:
        table = np.zeros(max(wanted) + 1, dtype=np.bool_)
        table[wanted] = True
        return lambda codes: np.take(table, codes, mode="clip") & (codes < len(table))

    def holds(codes: NDArray[Any]) -> Mask:
        found: Mask = np.zeros(len(codes), dtype=np.bool_)
        for code in wanted:
            found |= codes == code
        return found

    return holds


def _between(start: int, end: int) -> Test:
    return lambda codes: (codes >= start) & (codes < end)


def _looked_up(holds: Iterable[bool]) -> Test:
    table = np.append(np.fromiter(holds, dtype=np.bool_), False)  # one more, for gaps in a column without any word
    return lambda codes: np.take(table, codes, mode="clip")
