"""Chains: what a holder has applied of a log, in order, as one number at each position. Equal positions must mean equal numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec
import xxhash

from paradox.ports.log import Buffer

EVERY, KEPT = 1_024, 8
"""At which positions marks are set, so that all holders set them at the same ones; and how many are kept."""
LINK = struct.Struct("<QQ")  # the chain before, the position
Mark: TypeAlias = tuple[int, int]
"""A position, and the chain there."""


class Chain:
    """The chain of one holder. One thread extends it; any may read its marks."""

    def __init__(self, position: int, value: int | None) -> None:
        """value: of the snapshot at this position; None = it was made by a version that kept no chain: nothing is known from there on."""
        self._now = (position, value)
        self._marks: tuple[Mark, ...] = ()

    @property
    def value(self) -> int | None:
        """The chain where it ends now."""
        return self._now[1]

    def extend(self, position: int, body: Iterable[Buffer]) -> None:
        """Add the entry at the next position; one that was added before is passed over. Cost: a checksum over its bytes."""
        before, value = self._now
        if position <= before:
            return
        if value is not None:
            digest = xxhash.xxh3_64(LINK.pack(value, position))
            for piece in body:
                digest.update(piece)
            value = digest.intdigest()
            if position % EVERY == 0:
                self._marks = (*self._marks, (position, value))[-KEPT:]
        self._now = (position, value)

    def marks(self) -> list[Mark]:
        """Return the last marks, and the chain where it ends now."""
        position, value = self._now
        return [*self._marks, (position, value)] if value is not None else []


class Difference(msgspec.Struct, frozen=True):
    """Holders that applied different entries up to a position. others: those who differ from most; all of them when there is no most."""

    position: int
    holders: tuple[str, ...]
    others: tuple[str, ...]


def difference_of(marks: Mapping[str, Sequence[Mark]]) -> Difference | None:
    """Return where holders first differ, of the positions that several of them have a mark at; None when they agree."""
    at: dict[int, dict[int, list[str]]] = {}
    for holder, own in sorted(marks.items()):
        for position, value in own:
            at.setdefault(position, {}).setdefault(value, []).append(holder)
    for position, groups in sorted(at.items()):
        if len(groups) > 1:
            sizes = sorted(map(len, groups.values()))
            others = [holder for group in groups.values() if len(group) < sizes[-1] or sizes[-1] == sizes[-2] for holder in group]
            return Difference(position, tuple(sorted(holder for group in groups.values() for holder in group)), tuple(sorted(others)))
    return None
