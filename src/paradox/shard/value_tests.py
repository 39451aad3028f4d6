"""Value tests: conditions on one decoded value, for text that is not in columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any, TypeAlias, TypeVar

from paradox.model.filters import Between, Compare, Contains, Filter, In, Matches, Prefix
from paradox.shard.number_tests import is_number

Value = TypeVar("Value")
TextTest: TypeAlias = Callable[[str], bool]
_WORDS = re.compile(r"\w+")
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def value_at(payload: dict[str, Any], path: str) -> Any:
    """Return the value of a dotted path, None when there is none or it is null.

    Of several (only keys with dots in them can make several) the one under the fewest keys counts, then the first in the payload.
    """
    value = payload.get(path)
    if value is not None or "." not in path:
        return value
    level = [(payload, path)]
    while level:
        below = []
        for part, rest in level:
            for key, inner in part.items():
                if isinstance(inner, dict) and rest.startswith(key) and rest[len(key) : len(key) + 1] == ".":
                    below.append((inner, rest[len(key) + 1 :]))
        for part, rest in below:
            value = part.get(rest)
            if value is not None:
                return value
        level = below
    return None


def text_test(leaf: Filter) -> TextTest | None:
    """Return the test that a condition puts to a text, or None when no text can fulfil it. Texts order by code point."""
    match leaf:
        case Compare(operator="=", value=str(wanted)):
            return lambda text: text == wanted
        case Compare(operator=operator, value=str(bound)) if operator in _ORDER:
            stands = _ORDER[operator]
            return lambda text: stands(text, bound)
        case Between(low=str(low), high=str(high)):
            return lambda text: low <= text <= high
        case In(values=values) if any(isinstance(value, str) for value in values):
            some = frozenset(value for value in values if isinstance(value, str))
            return lambda text: text in some
        case Prefix(value=start):
            return lambda text: text.startswith(start)
        case Matches(text=words):
            return _words_test(words)
        case _:
            return None


def _words_test(query: str) -> TextTest:
    wanted = frozenset(word.casefold() for word in _WORDS.findall(query))

    def holds(text: str) -> bool:
        folded = text.casefold()  # casefolding goes sign by sign, so a word of the text is a part of the folded text: a cheap first look
        return all(word in folded for word in wanted) and wanted <= {word.casefold() for word in _WORDS.findall(text)}

    return holds


def bool_wanted(leaf: Filter) -> frozenset[bool]:
    """Return the bools that fulfil a condition."""
    match leaf:
        case Compare(operator="=", value=bool(value)):
            return frozenset({value})
        case In(values=values):
            return frozenset(value for value in values if isinstance(value, bool))
        case _:
            return frozenset()


def value_test(leaf: Filter) -> Callable[[Any], bool]:
    """Return the test that a condition other than exists and `!=` puts to the value of its field, whatever the value is."""
    if isinstance(leaf, Contains):
        single = value_test(Compare(leaf.field, "=", leaf.value))
        return lambda value: isinstance(value, list) and any(map(single, value))
    on_text, on_number, bools = text_test(leaf), _number_test(leaf), bool_wanted(leaf)

    def holds(value: Any) -> bool:
        if isinstance(value, str):
            return on_text is not None and on_text(value)
        if isinstance(value, bool):
            return value in bools
        return on_number is not None and is_number(value) and on_number(value)

    return holds


def _number_test(leaf: Filter) -> Callable[[int | float], bool] | None:
    match leaf:
        case Compare(operator="=", value=wanted) if is_number(wanted):
            return lambda value: value == wanted
        case Compare(operator=operator, value=bound) if is_number(bound) and operator in _ORDER:
            stands = _ORDER[operator]
            return lambda value: stands(value, bound)
        case Between(low=low, high=high) if is_number(low) and is_number(high):
            return lambda value: low <= value <= high
        case In(values=values) if any(map(is_number, values)):
            some = frozenset(filter(is_number, values))
            return lambda value: value in some
        case _:
            return None
