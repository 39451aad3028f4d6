"""Layout: what a router knows of a collection, as a node told it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.queries import Question
from paradox.model.recall import Routing
from paradox.model.schema import CollectionSpec
from paradox.model.topology import RegionMap
from paradox.router.patience import Stop, any_way, choose_patience, unmeasured, way
from paradox.shard.manifest import map_from_plain
from paradox.shard.search import is_filtered
from paradox.space.regions import Atlas


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells: `map` as in a manifest, the payload fields it knows with the kinds of their values.

    routed: the epoch of the map that `routing` was measured with; -1 = none since the node started.
    """

    id: str
    spec: CollectionSpec
    map: dict[str, Any]
    routing: tuple[Routing, ...]
    routed: int
    fields: dict[str, list[str]]
    position: int


class Layout:
    """A collection's spec and map, and the ways of queries over its shards."""

    def __init__(self, told: Told) -> None:
        self.id = told.id
        self.spec = told.spec
        self.regions: RegionMap = map_from_plain(told.map)
        self.routing = told.routing or unmeasured(told.spec.copies)
        self.is_measured = told.spec.shards == 1 or told.routed == self.regions.epoch  # else a node may know more soon
        self._atlas = Atlas(self.regions, self.spec.vectors[self.spec.main].metric)

    def routing_of(self, question: Question) -> Routing:
        """Return how long to go on visiting shards. Patience was measured with the vector that places points, and for all of them."""
        anywhere = question.using != self.spec.main or is_filtered(question)
        exact = question.exact or anywhere
        return choose_patience(self.routing, k=question.k, recall=question.recall, exact=exact, shards=self.spec.shards)

    def may_hide(self, down: Sequence[int], *, settled: bool) -> bool:
        """Tell whether all copies of a point may be on shards that are down.

        Copies are on different shards; where all points are where the map puts them (settled), also in different domains of failure.
        """
        domain_of, copies = self.regions.domain_of, self.spec.copies
        if len(down) < copies:
            return False
        apart = settled and domain_of is not None and len(np.unique(domain_of[self.regions.shard_of])) >= copies
        return not apart or len({int(domain_of[shard]) for shard in down}) >= copies  # type: ignore[index]

    def ways(self, queries: NDArray[Any], question: Question) -> list[list[Stop]]:
        """Return the way of each of (q, d) queries over all shards."""
        shards, metric = self.spec.shards, self.spec.vectors[self.spec.main].metric
        if shards == 1 or question.using != self.spec.main or metric == "hamming":
            return [any_way(shards)] * len(queries)
        ranked = self._atlas.rank(np.asarray(queries, dtype=np.float32))
        return [way(nearest, self.regions.shard_of, shards) for nearest in ranked]
