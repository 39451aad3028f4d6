"""Easing: which map the one node of a cluster that decides for all wants next, once all points are in place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from paradox.model.topology import RegionMap
from paradox.node.held import HeldCollection
from paradox.node.others import Others
from paradox.space.balance import balance, is_crowded
from paradox.space.regions import is_blank

WEIGH_AGAIN = 1.1
"""While a shard is crowded, what could not be eased is looked at again when the collection has grown or shrunk by this factor."""
APART_AFTER_S = 60.0
"""How long shards must have been together on other nodes than the map says before copies move for it: a node that died may come back."""


class Easing:
    """What the deciding node remembers of the maps of one collection that it has looked at."""

    def __init__(self, held: HeldCollection) -> None:
        self._held = held
        self._together_since_s: float | None = None
        self._looked_at: tuple[int, int, int] | None = None

    def next_map(self) -> RegionMap | None:
        """Return a map that is fairer, or of now; None where this node does not decide or nothing is to change. Raises NodesUnreachable."""
        others = self._held.others
        stored = others.stored() if others is not None else None
        if others is None or stored is None:
            return None
        return self._apart() or self._fairer(others, stored)

    def another_did(self) -> None:
        """Forget what was looked at: the map has been changed by another node before."""
        self._looked_at = None

    def _apart(self) -> RegionMap | None:
        """Return a map that keeps copies on different nodes, where shards have long been together on others than the map says."""
        held, regions = self._held, self._held.engine.regions
        before, now = regions.domain_of, held.domains
        same = now is None or (before is not None and np.array_equal(before, now))
        if same or held.spec.copies == 1 or is_blank(regions):
            self._together_since_s = None
            return None
        now_s = held.env.elapsed_s()
        if self._together_since_s is None:
            self._together_since_s = now_s
        return msgspec.structs.replace(regions, epoch=regions.epoch + 1) if now_s - self._together_since_s >= APART_AFTER_S else None

    def _fairer(self, others: Others, stored: Sequence[int]) -> RegionMap | None:
        """Return a map that gives regions of a shard that holds too much to others.

        A region that moves takes its first points along; copies go where they have to be beside those, so the shard that is fullest
        afterwards may hold more than the one before. The next map is only looked for when it holds less: fullest shards that hold ever
        less come to an end, and maps that follow one another in a circle do not.
        """
        if not is_crowded(stored):
            return None
        held, regions, total = self._held, self._held.engine.regions, sum(stored)
        if self._looked_at is not None:
            epoch, before, fullest = self._looked_at
            if epoch == regions.epoch and before / WEIGH_AGAIN < total < before * WEIGH_AGAIN and max(stored) >= fullest:
                return None
        loads = others.loads()
        if loads is None:
            return None
        new = balance(regions, loads, shards=held.spec.shards, metric=held.spec.vectors[held.spec.main].metric)
        self._looked_at = (regions.epoch, total, 0) if new is None else (new.epoch, total, max(stored))
        return new
