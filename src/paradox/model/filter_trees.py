"""Filter trees: checked against the limits and brought to one canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import isfinite
from typing import Any, get_args
from uuid import UUID

import msgspec
import numpy as np

from paradox.errors import FilterSyntax
from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Operator, Or, Prefix, Scalar
from paradox.model.schema import Limits

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
"""The whole numbers that MessagePack carries."""


def joined(kind: type[And] | type[Or], parts: Sequence[Filter]) -> Filter:
    """Return the only part, or all of them under one And or Or."""
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def is_unicode(text: str) -> bool:
    """Tell whether `text` can be written as UTF-8: it holds no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Branch(msgspec.Struct):
    """An And, Or or Not under way: `pending` parts, the next one last, and finished ones."""

    kind: type[And] | type[Or] | type[Not]
    pending: list[Any]
    done: list[Filter]

    def add(self, part: Filter) -> None:
        if isinstance(part, (And, Or)) and type(part) is self.kind:
            self.done.extend(part.of)
        else:
            self.done.append(part)

    def finished(self) -> Filter:
        return Not(self.done[0]) if self.kind is Not else joined(self.kind, self.done)  # type: ignore[arg-type]


def canonical(tree: Filter, limits: Limits) -> Filter:
    """Return `tree` with every value checked, chains of And in And and Or in Or flattened, and those of one part replaced by it.

    Cost: O(nodes), without recursion, so that `a & b & c & …` of any length will do. Raises FilterSyntax for a tree deeper than
    `filter_depth_max` or of more conditions and listed values than `filter_terms_max`, and for values that no payload can hold.
    """
    chain = isinstance(tree, (And, Or))
    branches = [_Branch(type(tree), _parts(tree)[::-1], []) if isinstance(tree, (And, Or)) else _Branch(And, [tree], [])]
    depth_max = limits.filter_depth_max + (0 if chain else 1)
    terms = 0
    while True:
        branch = branches[-1]
        if not branch.pending:
            branches.pop()
            if not branches:
                return branch.finished()
            branches[-1].add(branch.finished())
            continue
        node = branch.pending.pop()
        if isinstance(node, (And, Or)):
            parts = _parts(node)[::-1]
            if type(node) is branch.kind:
                branch.pending.extend(parts)
            else:
                branches.append(_Branch(type(node), parts, []))
        elif isinstance(node, Not):
            branches.append(_Branch(Not, [node.of], []))
        else:
            branch.done.append(_checked(node))
            terms += max(1, len(node.values)) if isinstance(node, In) else 1
        if len(branches) > depth_max:
            raise FilterSyntax(f"the filter nests deeper than filter_depth_max = {limits.filter_depth_max}", hint="write it flatter")
        if terms > limits.filter_terms_max:
            raise FilterSyntax(
                f"the filter has more conditions and listed values than filter_terms_max = {limits.filter_terms_max}", hint="ask in parts"
            )


def _parts(node: And | Or) -> list[Any]:
    if not isinstance(node.of, (tuple, list)):
        raise FilterSyntax(f"{type(node).__name__} holds {type(node.of).__name__}; expected a tuple of filters")
    return list(node.of)


def _checked(leaf: Any) -> Filter:
    """Return a condition with plain values. Raises FilterSyntax."""
    match leaf:
        case Compare(field, operator, value):
            if operator not in get_args(Operator):
                raise FilterSyntax(f"{operator!r:.40} is no operator", hint=f"choose one of {' '.join(get_args(Operator))}")
            return Compare(_path(field), operator, _scalar(field, value))
        case In(field, values):
            if not isinstance(values, (tuple, list)):
                raise FilterSyntax(f"field {field!r:.80} in {type(values).__name__}; expected a tuple of values")
            return In(_path(field), tuple([_scalar(field, value) for value in values]))
        case Between(field, low, high):
            return Between(_path(field), _scalar(field, low), _scalar(field, high))
        case Exists(field):
            return Exists(_path(field))
        case Contains(field, value):
            return Contains(_path(field), _scalar(field, value))
        case Prefix(field, value):
            return Prefix(_path(field), _text(field, value))
        case Matches(field, text):
            return Matches(_path(field), _text(field, text))
        case _:
            raise FilterSyntax(
                f"a part of the filter is of type {type(leaf).__name__}; expected a filter",
                hint="""write paradox.field("year") >= 1990, and join with & | ~""",
            )


def _path(path: Any) -> str:
    if not isinstance(path, str) or not path:
        raise FilterSyntax(f"a filter names the field {path!r:.80}; expected its path, a string that is not empty")
    if not is_unicode(path):
        raise FilterSyntax(f"the field {path!r:.80} is not valid Unicode text", hint="remove lone surrogates")
    return str(path)


def _text(path: Any, value: Any) -> str:
    text = _scalar(path, value)
    if not isinstance(text, str):
        raise FilterSyntax(f"field {path!r:.80} is asked for words or a prefix of type {type(value).__name__}; expected text")
    return text


def _scalar(path: Any, value: Any) -> Scalar:
    """Return `value` as text, a number of 64 bits, a bool or None. Raises FilterSyntax."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not is_unicode(value):
            raise FilterSyntax(f"field {path!r:.80} is compared with {value!r:.80}, which is not valid Unicode text")
        return str.__str__(value)
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise FilterSyntax(f"field {path!r:.80} is compared with a whole number beyond 64 bits", hint="use a float for larger numbers")
        return int(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise FilterSyntax(f"field {path!r:.80} is compared with {value}; expected a finite number")
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise FilterSyntax(
        f"field {path!r:.80} is compared with a value of type {type(value).__name__}; expected text, a number, a bool or None",
        hint="""for several values write paradox.field("topic").one_of("sea", "sky")""",
    )
