"""Own columns: the points' own fields, which a filter names id, modality, at and origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.filter_times import at_us_of
from paradox.model.filters import Between, Compare, Contains, Exists, Filter, In
from paradox.model.points import INT_ID_MAX, INT_ID_MIN, Key, Mask, Rows
from paradox.shard.number_tests import is_number, number_test
from paradox.shard.value_tests import text_test, value_test

Coded: TypeAlias = tuple[NDArray[np.int32], list[str]]
"""(n,) codes, each the place of its row's name in the list."""


LOOKED_AT_WHOLE = 8
"""Keys are taken as a whole when more than one row in this many is looked at."""


class OwnColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The own fields of n rows.

    keys: n ids as stored. modality and origin: (n,) codes and the names they stand for. at_us: (n,) int64 event times in microseconds
    since 1970. find: where the segment has a directory of its keys, what returns the newest row of each key, -1 for none; `id = …` then
    costs a look-up, and finds no older row of a key.
    """

    keys: Sequence[Key]
    modality: Coded
    at_us: NDArray[np.int64]
    origin: Coded
    find: Callable[[Sequence[Key]], Rows] | None = None


def own_mask(leaf: Filter, own: OwnColumns, alive: Mask | None) -> Mask:
    """Return (n,) which points fulfil a condition other than `!=` on an own field; of ids, only rows in `alive` are looked at.

    A UUID compares as its text. Raises FilterType for text that is no time, compared with `at`.
    """
    rows = len(own.at_us)
    if isinstance(leaf, Exists):
        return np.ones(rows, dtype=np.bool_)
    if isinstance(leaf, Contains):
        return np.zeros(rows, dtype=np.bool_)
    match leaf.field:  # type: ignore[union-attr]
        case "at":
            test = number_test(_in_microseconds(leaf))
            return np.zeros(rows, dtype=np.bool_) if test is None else test(own.at_us)
        case "modality":
            return _named(leaf, own.modality)
        case "origin":
            return _named(leaf, own.origin)
        case _:
            return _identified(leaf, own, alive)


def _in_microseconds(leaf: Filter) -> Filter:
    match leaf:
        case Compare(field, operator, value):
            return Compare(field, operator, at_us_of(value))
        case In(field, values):
            return In(field, tuple(map(at_us_of, values)))
        case Between(field, low, high):
            return Between(field, at_us_of(low), at_us_of(high))
        case _:
            return leaf


def _named(leaf: Filter, coded: Coded) -> Mask:
    codes, names = coded
    holds = text_test(leaf)
    wanted = [code for code, name in enumerate(names) if holds(name)] if holds else []
    found: Mask = np.zeros(len(codes), dtype=np.bool_)
    if len(wanted) == len(names) and names:
        return ~found
    for code in wanted:
        found |= codes == code
    return found


def _identified(leaf: Filter, own: OwnColumns, alive: Mask | None) -> Mask:
    rows = len(own.at_us)
    found: Mask = np.zeros(rows, dtype=np.bool_)
    wanted = _wanted_keys(leaf)
    if wanted is not None and own.find is not None:
        places = own.find(list(wanted))
        found[places[(places >= 0) & (places < rows)]] = True
        return found
    looked_at = np.arange(rows) if alive is None else np.flatnonzero(alive)
    # A sealed segment decodes its keys much faster as a whole than one by one.
    keys = own.keys[:rows] if len(looked_at) * LOOKED_AT_WHOLE > rows else own.keys
    if wanted is not None:
        hits = [row for row in looked_at.tolist() if keys[row] in wanted]
    else:
        holds = value_test(leaf)
        hits = [row for row in looked_at.tolist() if holds(_shown(keys[row]))]
    found[hits] = True
    return found


def _wanted_keys(leaf: Filter) -> dict[Key, None] | None:
    """Return the stored ids that a condition names one by one, in order, or None when it is of another form."""
    match leaf:
        case Compare(operator="=", value=value):
            values: tuple[Any, ...] = (value,)
        case In(values=values):
            pass
        case _:
            return None
    wanted: dict[Key, None] = {}
    for value in values:
        if isinstance(value, str):
            wanted[value] = None
            key = _uuid_bytes(value)
            if key is not None:
                wanted[key] = None
        elif is_number(value) and value == int(value) and INT_ID_MIN <= value <= INT_ID_MAX:
            wanted[int(value)] = None
    return wanted


def _uuid_bytes(text: str) -> bytes | None:
    try:
        found = UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
    return found.bytes if found and str(found) == text else None


def _shown(key: Key) -> str | int:
    return str(UUID(bytes=key)) if isinstance(key, bytes) else key
