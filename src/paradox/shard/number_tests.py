"""Number tests: conditions on columns of numbers, exact between 64-bit integers and floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import floor
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from paradox.model.filters import Between, Compare, Filter, In
from paradox.model.points import Mask

Test: TypeAlias = Callable[[NDArray[Any]], Mask]
"""From a column to a new mask of the same length."""
COMPARED_MAX = 16
"""Values of a list that are compared one by one; above it a sorted search is faster (measured on 100k rows)."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number, which a bool is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number_test(leaf: Filter) -> Test | None:
    """Return the test that a condition puts to numbers, or None when no number can fulfil it. `!=` is not a test; see Evaluation."""
    match leaf:
        case Compare(operator=operator, value=value) if is_number(value):
            return lambda values: compare(values, operator, value)
        case Between(low=low, high=high) if is_number(low) and is_number(high):
            return lambda values: compare(values, ">=", low) & compare(values, "<=", high)
        case In(values=wanted) if any(map(is_number, wanted)):
            return lambda values: is_one_of(values, filter(is_number, wanted))
        case _:
            return None


def compare(values: NDArray[Any], operator: str, constant: int | float) -> Mask:
    """Return which of (n,) int64, uint64 or float64 values stand so to a finite constant, as if both were real numbers."""
    if values.dtype.kind == "f":
        operator, bound = _float_bound(operator, constant)
    else:
        operator, bound = _integer_bound(operator, constant, values.dtype)
    match operator:
        case "all":
            return np.ones(len(values), dtype=np.bool_)
        case "=":
            result = values == bound
        case "<":
            result = values < bound
        case "<=":
            result = values <= bound
        case ">":
            result = values > bound
        case ">=":
            result = values >= bound
        case _:
            return np.zeros(len(values), dtype=np.bool_)
    return np.asarray(result, dtype=np.bool_)


def is_one_of(values: NDArray[Any], constants: Iterable[int | float]) -> Mask:
    """Return which values equal one of some numbers. Cost: O(n) each for few, O(n log m) for many."""
    bounds = [_float_bound("=", one) if values.dtype.kind == "f" else _integer_bound("=", one, values.dtype) for one in constants]
    wanted = np.array(list({bound for operator, bound in bounds if operator == "="}), dtype=values.dtype)
    if len(wanted) > COMPARED_MAX:
        return np.isin(values, wanted)
    found = np.zeros(len(values), dtype=np.bool_)
    for one in wanted:
        found |= values == one
    return found


def _float_bound(operator: str, constant: int | float) -> tuple[str, float]:
    """Return the comparison with a float that says the same of every float: no float lies between `constant` and its nearest one."""
    nearest = float(constant)
    if nearest == constant:
        return operator, nearest
    match operator:
        case "<" | "<=":
            return ("<=" if nearest < constant else "<"), nearest
        case ">" | ">=":
            return (">=" if nearest > constant else ">"), nearest
        case _:
            return "none", nearest


def _integer_bound(operator: str, constant: int | float, dtype: np.dtype[Any]) -> tuple[str, int]:
    """Return the comparison with an integer of `dtype` that says the same of every integer of `dtype`, or "all" or "none"."""
    whole = floor(constant)
    if whole != constant:
        if operator == "=":
            return "none", 0
        operator = "<=" if operator in ("<", "<=") else ">"
    limits = np.iinfo(dtype)
    if whole > limits.max:
        return ("all" if operator in ("<", "<=") else "none"), 0
    if whole < limits.min:
        return ("all" if operator in (">", ">=") else "none"), 0
    return operator, whole
