"""Evaluation: one filter over one segment, columns first, payloads only where nothing else can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from paradox.model.filters import OWN_FIELDS, And, Compare, Exists, Filter, Not, Or
from paradox.model.points import Mask
from paradox.shard.field_column import FieldColumn
from paradox.shard.own_columns import OwnColumns, own_mask
from paradox.shard.rare_fields import RareFields
from paradox.shard.text_column import Cost, Probe
from paradox.shard.value_tests import value_at, value_test


class Evaluation:
    """One filter over the first `len(own.at_us)` rows. `payload` returns the encoded payload of a row."""

    def __init__(self, fields: Mapping[str, FieldColumn], rare: RareFields, own: OwnColumns, payload: Callable[[int], bytes]) -> None:
        self._fields = fields
        self._rare = rare
        self._own = own
        self._payload = payload
        self._rows = len(own.at_us)
        self._costs: dict[int, Cost] = {}
        self._decode: Callable[[bytes], dict[str, Any]] = msgspec.msgpack.Decoder(dict[str, Any]).decode

    def mask(self, tree: Filter, alive: Mask | None = None) -> Mask:
        """Return (n,) which points fulfil `tree`; new, and exact where `alive` is True or None, anything elsewhere."""
        match tree:
            case And(of):
                return self._all(of, alive)
            case Or(of):
                return self._any(of, alive)
            case Not(of):
                return np.logical_not(self.mask(of, alive))
            case Compare(field, "!=", value):
                present = self.mask(Exists(field), alive)
                return present & ~self.mask(Compare(field, "=", value), _both(alive, present))
            case _ if tree.field in OWN_FIELDS:
                return own_mask(tree, self._own, alive)
            case _:
                return self._settled(tree, self._probe(tree), alive)

    def _all(self, parts: tuple[Filter, ...], alive: Mask | None) -> Mask:
        fulfilled: Mask = np.ones(self._rows, dtype=np.bool_)
        for part in sorted(parts, key=self._cost):
            if self._cost(part) is not Cost.COLUMNS:
                rest = _both(alive, fulfilled)
                if not rest.any():
                    break
                fulfilled &= self.mask(part, rest)
            else:
                fulfilled &= self.mask(part, alive)
        return fulfilled

    def _any(self, parts: tuple[Filter, ...], alive: Mask | None) -> Mask:
        fulfilled: Mask = np.zeros(self._rows, dtype=np.bool_)
        for part in sorted(parts, key=self._cost):
            if self._cost(part) is not Cost.COLUMNS:
                rest = _both(alive, ~fulfilled)
                if not rest.any():
                    break
                fulfilled |= self.mask(part, rest)  # elsewhere fulfilled already, or not alive
            else:
                fulfilled |= self.mask(part, alive)
        return fulfilled

    def _cost(self, tree: Filter) -> Cost:
        """Return the most that a part of `tree` reads. Kept for this filter, whose parts live as long."""
        cost = self._costs.get(id(tree))
        if cost is None:
            cost = self._costs[id(tree)] = self._cost_of(tree)
        return cost

    def _cost_of(self, tree: Filter) -> Cost:
        match tree:
            case And(of) | Or(of):
                return max(map(self._cost, of), default=Cost.COLUMNS)
            case Not(of):
                return self._cost(of)
            case Exists():
                return Cost.COLUMNS
            case Compare(field, "!=", value):
                return self._cost_of(Compare(field, "=", value))
            case _ if tree.field in OWN_FIELDS:
                return Cost.FEW_PAYLOADS if tree.field == "id" else Cost.COLUMNS
            case _:
                column = self._fields.get(tree.field)
                if column is not None:
                    return column.cost(tree)
                return Cost.PAYLOADS if tree.field in self._rare else Cost.COLUMNS

    def _probe(self, leaf: Filter) -> Probe:
        path: str = leaf.field  # type: ignore[union-attr]
        column = self._fields.get(path)
        if column is not None:
            return column.probe(leaf, self._rows)
        nothing: Mask = np.zeros(self._rows, dtype=np.bool_)
        if path not in self._rare:
            return Probe(nothing)
        here = self._rare.here(path, self._rows)
        return Probe(here) if isinstance(leaf, Exists) else Probe(nothing, here)

    def _settled(self, leaf: Filter, probe: Probe, alive: Mask | None) -> Mask:
        """Return the probe's hits and those unsure rows, alive ones only, whose payload fulfils the condition."""
        if probe.unsure is None:
            return probe.hits
        rows = np.flatnonzero(_both(alive, probe.unsure)).tolist()
        path: str = leaf.field  # type: ignore[union-attr]
        holds, decode, payload = value_test(leaf), self._decode, self._payload
        probe.hits[[row for row in rows if holds(value_at(decode(payload(row)), path))]] = True
        return probe.hits


def _both(alive: Mask | None, rows: Mask) -> Mask:
    return rows if alive is None else alive & rows
