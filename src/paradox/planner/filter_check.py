"""Filter check: whether a filter makes sense for a collection, before any point is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice

from paradox.errors import FilterField, FilterType
from paradox.model.filter_times import at_us_of
from paradox.model.filters import OWN_FIELDS, And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Or, Prefix, Scalar

FIELDS_NAMED_MAX = 20
FIELDS_COMPARED_MAX = 2_000
"""Names that are looked through for a near one; comparing costs about 10 µs each."""
_OWN_KINDS: Mapping[str, tuple[str, ...]] = {"id": ("text", "number"), "modality": ("text",), "origin": ("text",), "at": ("text", "number")}
_PLURALS: Mapping[str, str] = {"number": "numbers", "text": "text", "bool": "true or false", "array": "arrays", "object": "objects"}


def check_filter(where: Filter, fields: Mapping[str, frozenset[str]]) -> None:
    """Return if `where` can match: `fields` is each dotted path the collection's points ever had, with the kinds of its values.

    Raises FilterField for an unknown field, naming near ones, and FilterType for a value of a kind that the field never held, an order
    of bools, or a text that is no time. Without any fields (an empty collection) everything is allowed.
    """
    if not fields:
        return
    for leaf in _conditions(where):
        kinds = _OWN_KINDS.get(leaf.field) or fields.get(leaf.field)
        if kinds is None:
            raise _unknown(leaf.field, fields)
        _check_condition(leaf, frozenset(kinds))


def _conditions(where: Filter) -> Iterator[Compare | In | Between | Exists | Contains | Prefix | Matches]:
    match where:
        case And(of) | Or(of):
            for part in of:
                yield from _conditions(part)
        case Not(of):
            yield from _conditions(of)
        case _:
            yield where


def _check_condition(leaf: Compare | In | Between | Exists | Contains | Prefix | Matches, kinds: frozenset[str]) -> None:
    match leaf:
        case Exists():
            return
        case Contains(field, value):
            if "array" not in kinds:
                hint = f"write {field} = …, or prefix({field}, …) or matches({field}, …) for text"
                raise FilterType(f"field {field!r} holds {_listed(kinds)}; contains needs an array", hint=hint)
            if value is None:
                raise FilterType(f"the filter asks whether {field!r} contains null, which counts as absent", hint="name a value")
        case Prefix(field) | Matches(field):
            if field == "at" or "text" not in kinds:
                asked = "prefix" if isinstance(leaf, Prefix) else "matches"
                hint = f"write contains({field}, …)" if "array" in kinds else "use =, <, <=, >, >=, in or between"
                raise FilterType(f"field {field!r} holds {_listed(kinds)}; {asked} needs text", hint=hint)
        case Compare(field, operator, value):
            _check_values(field, (value,), kinds, ordered=operator not in ("=", "!="))
        case In(field, values):
            _check_values(field, values, kinds, ordered=False)
        case Between(field, low, high):
            _check_values(field, (low, high), kinds, ordered=True)


def _check_values(field: str, values: tuple[Scalar, ...], kinds: frozenset[str], *, ordered: bool) -> None:
    for value in values:
        kind = _kind_of(value)
        if kind == "null":
            raise FilterType(
                f"the filter compares {field!r} with null, which counts as absent", hint=f"write exists({field}) or not exists({field})"
            )
        if kind not in kinds:
            hint = f"write contains({field}, {value!r:.40})" if "array" in kinds else _other_form(value, kinds)
            raise FilterType(f"field {field!r} holds {_listed(kinds)}; the filter compares it with {_shown(value)}", hint=hint)
        if ordered and kind == "bool":
            raise FilterType(f"the filter orders {field!r} by true and false", hint=f"write {field} = true or {field} != true")
        if field == "at":
            at_us_of(value)


def _kind_of(value: Scalar) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"


def _shown(value: Scalar) -> str:
    if isinstance(value, str):
        return f"text {value!r:.80}"
    return str(value).lower() if isinstance(value, bool) else f"number {value}"


def _listed(kinds: frozenset[str]) -> str:
    return " and ".join(_PLURALS[kind] for kind in _PLURALS if kind in kinds)


def _other_form(value: Scalar, kinds: frozenset[str]) -> str:
    """Return a hint when the value is of the right kind but for its quotes."""
    if "text" in kinds and not isinstance(value, str):
        return f"text stands in quotes: '{str(value).lower() if isinstance(value, bool) else value}'"
    if isinstance(value, str) and "number" in kinds and value.replace(".", "", 1).lstrip("+-").isdigit():
        return f"numbers stand without quotes: {value:.40}"
    if isinstance(value, str) and "bool" in kinds and value.lower() in ("true", "false"):
        return f"bools stand without quotes: {value.lower()}"
    return ""


def _unknown(field: str, fields: Mapping[str, frozenset[str]]) -> FilterField:
    known = sorted(islice(fields, FIELDS_COMPARED_MAX))
    near = get_close_matches(field, [*known, *OWN_FIELDS], n=3)
    beneath = [name for name in known if name.rpartition(".")[2] == field][:3]
    suggested = list(dict.fromkeys([*near, *beneath]))
    more = f" and {len(fields) - FIELDS_NAMED_MAX} more" if len(fields) > FIELDS_NAMED_MAX else ""
    listed = f"known fields: {', '.join(known[:FIELDS_NAMED_MAX])}{more}; of every point: {', '.join(OWN_FIELDS)}"
    meant = f"did you mean {' or '.join(map(repr, suggested))}? " if suggested else ""
    return FilterField(f"no point has the field {field!r:.80}; expected one that some point has", hint=meant + listed)
