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
from paradox.router.patience import DEFAULT, choose_patience
from paradox.shard.manifest import map_from_plain
from paradox.shard.search import is_filtered
from paradox.space.regions import Atlas


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells: `map` as in a manifest, the payload fields it knows with the kinds of their values."""

    id: str
    spec: CollectionSpec
    map: dict[str, Any]
    routing: tuple[Routing, ...]
    fields: dict[str, list[str]]
    position: int


class Layout:
    """A collection's spec and map, and the order in which its shards should be visited."""

    def __init__(self, told: Told) -> None:
        self.id = told.id
        self.spec = told.spec
        self.regions: RegionMap = map_from_plain(told.map)
        self.routing = told.routing or DEFAULT
        self._atlas = Atlas(self.regions, self.spec.vectors[self.spec.main].metric)

    def routing_of(self, question: Question) -> Routing:
        """Return how long to go on visiting shards. Patience was measured with the vector that places points, and for all of them."""
        anywhere = question.using != self.spec.main or is_filtered(question)
        return choose_patience(self.routing, recall=question.recall, exact=question.exact or anywhere, shards=self.spec.shards)

    def may_hide(self, down: Sequence[int]) -> bool:
        """Tell whether all copies of a point may be on shards that are down: copies are on different shards."""
        return len(down) >= self.spec.copies

    def order(self, queries: NDArray[Any], question: Question) -> list[list[int]]:
        """Return all shards for each of (q, d) queries, the one with the nearest region first."""
        everywhere = list(range(self.spec.shards))
        metric = self.spec.vectors[self.spec.main].metric
        if self.spec.shards == 1 or question.using != self.spec.main or metric == "hamming":
            return [everywhere] * len(queries)
        orders = self._atlas.shard_orders(np.asarray(queries, dtype=np.float32))
        return [[*order, *sorted(set(everywhere).difference(order))] for order in orders]
