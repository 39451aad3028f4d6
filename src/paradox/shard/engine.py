"""The engine of one shard: its segments, what a write does to them, and what a search finds in them. It waits for nothing.

One thread applies; any number search at the same time. A search takes the tuple of segments once and works on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Holders, Key, Points, Rows
from paradox.model.queries import Question
from paradox.model.schema import CollectionSpec
from paradox.planner.choose import Costs
from paradox.ports.kernels import Kernels
from paradox.shard.build import Segment
from paradox.shard.growing import Growing
from paradox.shard.sealed import Sealed
from paradox.shard.search import Found, Visit, search_segment

_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class Held(msgspec.Struct, frozen=True):
    """Live rows of one segment."""

    segment: Segment
    rows: Rows


class ShardEngine:
    """One shard's points. `segments`: sealed ones first, then those frozen and waiting to be sealed, the growing one last."""

    def __init__(self, number: int, spec: CollectionSpec, kernels: Kernels) -> None:
        self.number = number
        self.spec = spec
        self._kernels = kernels
        self.growing = Growing(spec, kernels)
        self.segments: tuple[Segment, ...] = (self.growing,)

    def apply_points(self, points: Points, holders: Holders) -> None:
        """Add new versions. The older ones are to be killed afterwards, so that no search misses the point in between."""
        self.growing.append(points, holders[:, 0] == self.number, holders)

    def find_live(self, keys: Sequence[Key], hashes: NDArray[np.uint64]) -> list[Held]:
        """Return the live rows of the keys, by segment. Cost: one look-up a key and segment."""
        held = []
        for segment in self.segments:
            if not segment.rows:
                continue
            rows = segment.find(keys, hashes)
            rows = rows[rows >= 0]
            if len(rows):
                rows = rows[segment.alive()[rows]]
            if len(rows):
                held.append(Held(segment, rows))
        return held

    def patch(self, keys: Sequence[Key], hashes: NDArray[np.uint64], changes: dict[Key, bytes], stamp: int, position: int) -> None:
        """Write new versions with changed payload fields; vectors, times and ownership stay."""
        for held in self.find_live(keys, hashes):
            for part in by_origin(held):
                points, holders = take(part, self.spec, self.number)
                merged = [merged_payload(old, changes[key]) for key, old in zip(points.keys, points.payloads, strict=True)]
                points = msgspec.structs.replace(points, payloads=merged, stamp=np.full(len(points), stamp, dtype=np.uint64))
                self.apply_points(points, holders)
            held.segment.kill(held.rows, position)

    def freeze(self) -> Growing | None:
        """Set the growing segment aside for sealing and begin a new one. None when it is empty."""
        frozen = self.growing
        if not frozen.rows:
            return None
        self.growing = Growing(self.spec, self._kernels)
        self.segments = (*self.segments, self.growing)
        return frozen

    def exchange(self, old: Sequence[Segment], new: Sealed | None) -> None:
        """Put one sealed segment in the place of several segments, in one step."""
        kept = [segment for segment in self.segments if all(segment is not gone for gone in old)]
        self.segments = (*([new] if new is not None else []), *kept)

    def count(self) -> int:
        """Return how many live points this shard answers for."""
        lives = [(alive, segment.owned()) for segment in self.segments if len(alive := segment.alive())]
        return sum(int(np.count_nonzero(alive & owned[: len(alive)])) for alive, owned in lives)

    def search(self, queries: NDArray[Any], question: Question, costs: Costs) -> list[tuple[Found, Visit]]:
        """Search every segment for (q, d) queries. Cost: see the choices in the visits."""
        return [search_segment(segment, queries, question, costs, shard=self.number) for segment in self.segments if segment.rows]

    def fields(self) -> dict[str, frozenset[str]]:
        """Return the payload fields seen, with the kinds of their values."""
        seen: dict[str, frozenset[str]] = {}
        for segment in self.segments:
            for field, kinds in segment.columns().fields().items():
                seen[field] = seen.get(field, frozenset()) | kinds
        return seen


def by_origin(held: Held) -> list[Held]:
    """Return the same rows as those of each origin."""
    origin = held.segment.own().origin[0][held.rows]
    return [Held(held.segment, held.rows[origin == one]) for one in np.unique(origin)]


def take(held: Held, spec: CollectionSpec, shard: int) -> tuple[Points, Holders]:
    """Return rows of one origin of a shard's segment as points, and the shards that hold each. Vectors are copied."""
    segment, rows = held.segment, held.rows
    own = segment.own()
    modality, modality_names = own.modality
    origin, origin_names = own.origin
    present = {name: own_present[rows] for name, column in segment.vectors.items() if (own_present := column.present()) is not None}
    points = Points(
        keys=segment.keys_at(rows),
        vectors={name: np.ascontiguousarray(segment.vectors[name].matrix()[rows]) for name in spec.vectors},
        payloads=segment.payloads_at(rows),
        at_us=own.at_us[rows],
        modality=[modality_names[code] for code in modality[rows].tolist()],
        stamp=segment.stamps()[rows],
        key_id=segment.key_ids()[rows],
        origin=origin_names[int(origin[rows[0]])],
        present=present,
    )
    return points, holders_at(segment, rows, spec, shard)


def holders_at(segment: Segment, rows: Rows, spec: CollectionSpec, shard: int) -> Holders:
    """Return the shards that hold rows of a shard's segment. A segment that was sealed without saying so knows whether its own is first."""
    known = segment.holders()
    if known is not None:
        return known[rows]
    holders = np.full((len(rows), spec.copies), -1, dtype=np.int16)
    holders[segment.owned()[rows], 0] = shard
    return holders


def merged_payload(old: bytes, change: bytes) -> bytes:
    """Return a payload with the change's fields set; a null removes a field."""
    values, changes = _unpack(old), _unpack(change)
    values.update(changes)
    return _pack({name: value for name, value in values.items() if value is not None or name not in changes})
