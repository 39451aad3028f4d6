"""Filters: one tagged tree with two spellings, a string and builders.

`field("year") >= 1990` and `"year >= 1990"` give the same tree. Fields are dotted paths into the payload; `id`, `modality`, `at` and
`origin` are the point's own. Times may be written as ISO 8601 strings or as seconds since 1970.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool | None
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
OWN_FIELDS = ("id", "modality", "at", "origin")


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """A field against one value. A point without the field never matches, not even `!=`."""

    field: str
    operator: Operator
    value: Scalar


class In(msgspec.Struct, frozen=True, tag="in"):
    """A field equal to one of several values."""

    field: str
    values: tuple[Scalar, ...]


class Between(msgspec.Struct, frozen=True, tag="between"):
    """A field from `low` to `high`, both included."""

    field: str
    low: Scalar
    high: Scalar


class Exists(msgspec.Struct, frozen=True, tag="exists"):
    """A point has the field, with any value but null."""

    field: str


class Contains(msgspec.Struct, frozen=True, tag="contains"):
    """An array field holds the value."""

    field: str
    value: Scalar


class Prefix(msgspec.Struct, frozen=True, tag="prefix"):
    """A text field starts with the value."""

    field: str
    value: str


class Matches(msgspec.Struct, frozen=True, tag="matches"):
    """A text field holds every word of `text`, in any order, whatever the case."""

    field: str
    text: str


class And(msgspec.Struct, frozen=True, tag="and"):
    """All of them."""

    of: tuple[Filter, ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    """At least one of them."""

    of: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """Not this one."""

    of: Filter


Filter: TypeAlias = Compare | In | Between | Exists | Contains | Prefix | Matches | And | Or | Not


class Expression:
    """A filter under construction: combine with `&`, `|` and `~`. `.tree` is the Filter."""

    def __init__(self, tree: Filter) -> None:
        self.tree = tree

    def __and__(self, other: Expression) -> Expression:
        return Expression(And((self.tree, other.tree)))

    def __or__(self, other: Expression) -> Expression:
        return Expression(Or((self.tree, other.tree)))

    def __invert__(self) -> Expression:
        return Expression(Not(self.tree))

    def __bool__(self) -> bool:
        raise TypeError("combine filters with & | ~, not with and/or/not")


class field:  # noqa: N801  (read aloud: `field("year") >= 1990`)
    """A payload field, by its dotted path. Comparing it gives an Expression."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __eq__(self, value: Any) -> Expression:  # type: ignore[override]
        return Expression(Compare(self.path, "=", value))

    def __ne__(self, value: Any) -> Expression:  # type: ignore[override]
        return Expression(Compare(self.path, "!=", value))

    def __lt__(self, value: Scalar) -> Expression:
        return Expression(Compare(self.path, "<", value))

    def __le__(self, value: Scalar) -> Expression:
        return Expression(Compare(self.path, "<=", value))

    def __gt__(self, value: Scalar) -> Expression:
        return Expression(Compare(self.path, ">", value))

    def __ge__(self, value: Scalar) -> Expression:
        return Expression(Compare(self.path, ">=", value))

    __hash__ = None  # type: ignore[assignment]

    def one_of(self, *values: Scalar) -> Expression:
        """Equal to one of `values`."""
        return Expression(In(self.path, values))

    def between(self, low: Scalar, high: Scalar) -> Expression:
        """From `low` to `high`, both included."""
        return Expression(Between(self.path, low, high))

    def exists(self) -> Expression:
        """Present, with any value but null."""
        return Expression(Exists(self.path))

    def contains(self, value: Scalar) -> Expression:
        """An array that holds `value`."""
        return Expression(Contains(self.path, value))

    def prefix(self, value: str) -> Expression:
        """A text that starts with `value`."""
        return Expression(Prefix(self.path, value))

    def matches(self, text: str) -> Expression:
        """A text that holds every word of `text`."""
        return Expression(Matches(self.path, text))


def fields_of(tree: Filter) -> list[str]:
    """Return the fields a filter names, in order of appearance, each once."""
    match tree:
        case And(of) | Or(of):
            return list(dict.fromkeys(name for part in of for name in fields_of(part)))
        case Not(of):
            return fields_of(of)
        case _:
            return [tree.field]
