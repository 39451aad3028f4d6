"""Others: what one node of a cluster must know of all to do what one does for all, gathered from what they say and answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paradox.model.queries import Question
from paradox.router.asking import REPLY_S, Asker
from paradox.router.layout import Layout
from paradox.router.patience import FoundByShard
from paradox.router.visiting import Visits
from paradox.wire.operations import WeighRegions

if TYPE_CHECKING:
    from paradox.node.held import HeldCollection


class Others:
    """All nodes, this one included, as the upkeep of one collection sees them."""

    def __init__(
        self, held: HeldCollection, collection: str, asker: Asker, *, layout: Callable[[], Layout], decides: Callable[[], bool]
    ) -> None:
        """collection: its id. layout: what this node would tell a router. decides: whether this node is the one that acts for all."""
        self._held = held
        self._collection = collection
        self._asker = asker
        self._layout = layout
        self._decides = decides

    def stored(self) -> list[int] | None:
        """Return how many points each shard has, copies included, when this node decides; None while points or shards are on their way."""
        return self._in_place() if self._decides() else None

    def loads(self) -> NDArray[np.float64] | None:
        """Return how many points each region of the map stores, by all nodes' samples; None when one does not answer, or has another map.

        Raises NodesUnreachable.
        """
        regions = self._held.engine.regions
        replies = self._asker.each(WeighRegions(collection=self._held.name))
        holders = set(self._asker.nodes.holders(self._collection, self._held.spec.shards).values())
        if not holders <= replies.keys() or any(reply["epoch"] != regions.epoch for reply in replies.values()):
            return None
        return np.sum([np.asarray(reply["loads"], dtype=np.float64) for reply in replies.values()], axis=0)

    def everywhere(self, question: Question) -> FoundByShard | None:
        """Return what every shard finds for each query; None when one does not answer, or points or shards are on their way."""
        if self._in_place() is None:
            return None
        layout = self._layout()
        return Visits(layout, partial(self._asker.of_nearest, self._held.name, layout, REPLY_S)).everywhere(question)

    def _in_place(self) -> list[int] | None:
        """Return how many points each shard has, copies included, once all of them stand where the map of this node puts them."""
        return self._asker.nodes.stored(self._collection, self._held.spec.shards, self._held.engine.regions.epoch)
