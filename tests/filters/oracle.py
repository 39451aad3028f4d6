"""The oracle: filters over plain dictionaries, one point at a time, written from the contract and not from the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Or, Prefix
from paradox.model.points import Key
from paradox.shard.columns import Columns, OwnColumns


@dataclass
class Point:
    """A point as its writer knows it."""

    key: Key
    modality: str
    at_us: int
    origin: str
    payload: dict[str, Any]


def encoded(points: list[Point]) -> list[bytes]:
    return [msgspec.msgpack.encode(point.payload) for point in points]


def own_of(points: list[Point], *, directory: bool = False) -> OwnColumns:
    keys = [point.key for point in points]
    newest = {key: row for row, key in enumerate(keys)}

    def coded(names: list[str]) -> tuple[np.ndarray, list[str]]:
        known = list(dict.fromkeys(names))
        return np.array([known.index(name) for name in names], dtype=np.int32), known

    return OwnColumns(
        keys=keys,
        modality=coded([point.modality for point in points]),
        at_us=np.array([point.at_us for point in points], dtype=np.int64),
        origin=coded([point.origin for point in points]),
        find=(lambda wanted: np.array([newest.get(key, -1) for key in wanted], dtype=np.int64)) if directory else None,
    )


def found_by(columns: Columns, tree: Filter, points: list[Point], *, directory: bool = False) -> list[bool]:
    payloads = encoded(points)
    mask = columns.evaluate(tree, own_of(points, directory=directory), payloads.__getitem__)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(points),)
    return mask.tolist()


def expected(tree: Filter, points: list[Point]) -> list[bool]:
    return [fulfils(tree, point) for point in points]


def paths(payload: dict[str, Any], lead: str = "", depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    for key, value in payload.items():
        yield depth, lead + key, value
        if isinstance(value, dict):
            yield from paths(value, f"{lead}{key}.", depth + 1)


def value_of(point: Point, field: str) -> Any:
    match field:
        case "id":
            return str(UUID(bytes=point.key)) if isinstance(point.key, bytes) else point.key
        case "modality":
            return point.modality
        case "origin":
            return point.origin
        case "at":
            return point.at_us
    candidates = [(depth, value) for depth, path, value in paths(point.payload) if path == field and value is not None]
    return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def stands(value: Any, operator: str, bound: Any) -> bool:
    """Compare two values that are not null; only those of one kind, and bools only for equality."""
    if kind(value) != kind(bound) or kind(value) not in ("number", "str", "bool"):
        return False
    if operator == "=":
        return bool(value == bound)
    if kind(value) == "bool":
        return False
    return {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[operator]


def words(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"\w+", text)}


def microseconds(value: Any) -> Any:
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    return round(Fraction(value) * 1_000_000) if kind(value) == "number" else None


def fulfils(tree: Filter, point: Point) -> bool:
    match tree:
        case And(of):
            return all(fulfils(part, point) for part in of)
        case Or(of):
            return any(fulfils(part, point) for part in of)
        case Not(of):
            return not fulfils(of, point)
    value = value_of(point, tree.field)
    if value is None:
        return False
    given = microseconds if tree.field == "at" else lambda bound: bound
    match tree:
        case Exists():
            return True
        case Compare(operator="!=", value=bound):
            return not stands(value, "=", given(bound))
        case Compare(operator=operator, value=bound):
            return stands(value, operator, given(bound))
        case In(values=values):
            return any(stands(value, "=", given(bound)) for bound in values)
        case Between(low=low, high=high):
            return stands(value, ">=", given(low)) and stands(value, "<=", given(high))
        case Contains(value=bound):
            return isinstance(value, list) and any(stands(element, "=", bound) for element in value)
        case Prefix(value=start):
            return isinstance(value, str) and value[: len(start)] == start
        case Matches(text=text):
            return isinstance(value, str) and words(text) <= words(value)
