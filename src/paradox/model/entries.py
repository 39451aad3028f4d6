"""Entries: what stands in a collection's log. Applying them in order gives the collection."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Key, Points
from paradox.model.topology import RegionMap


class Once(msgspec.Struct, frozen=True):
    """A request that is done once, however many nodes are asked for it.

    name: random bytes that stand in the entry that does it. since: a position that the log had when it was first asked for.
    """

    name: bytes
    since: int


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """New versions of points. regions: (n, copies) int32, the regions that hold each point, nearest first, as of map `epoch`.

    moved: they are the versions that are there already, in other places. names: of the requests that this entry does.
    """

    points: Points
    regions: NDArray[np.int32]
    epoch: int
    moved: bool = False
    names: tuple[bytes, ...] = ()


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """Payload fields to set on points, on every copy. Each of `payloads` is a MessagePack map; a null value removes the field."""

    keys: list[Key]
    payloads: list[bytes]
    stamp: int
    names: tuple[bytes, ...] = ()


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Points to delete, by id. `stamp` outlives them as a tombstone."""

    keys: list[Key]
    stamp: int
    names: tuple[bytes, ...] = ()


class MapChange(msgspec.Struct, frozen=True, kw_only=True):
    """A new map of regions. Every holder re-assigns its own points by it."""

    map: RegionMap


class Barrier(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing. That it could be appended proves that whoever did so knew all entries before it.

    kept: what there is at this position is kept for a moment, for who reads it from several nodes.
    """

    kept: bool = False


Entry: TypeAlias = Write | Patch | Remove | MapChange | Barrier
