"""Placement: which nodes hold each shard. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, product
from types import MappingProxyType

Places = list[list[str]]
"""The nodes of each shard, one for each replica."""


class _Filling:
    """The nodes that may hold shards, and how many each holds so far."""

    def __init__(self, alive: Mapping[str, str], replicas: int) -> None:
        self.zones = {node: zone or node for node, zone in sorted(alive.items())}
        self.replicas = min(replicas, len(self.zones))
        self.load = dict.fromkeys(self.zones, 0)
        sizes = Counter(self.zones.values()).values()
        self._together = next(most for most in count(1) if sum(min(most, size) for size in sizes) >= self.replicas)

    def may_take(self, node: str, there: Sequence[str]) -> bool:
        """Tell whether a node may hold a shard beside those that do: it is another one, and its zone has room."""
        return node not in there and [self.zones[one] for one in there].count(self.zones[node]) < self._together

    def lightest(self, there: Sequence[str]) -> str:
        """Return the node that should hold a shard beside those that do."""
        return min((node for node in self.zones if self.may_take(node, there)), key=lambda node: (self.load[node], node))

    def better(self, places: Places) -> Iterator[tuple[int, str, str]]:
        """Yield shards that would be more evenly spread on another node: the shard, its node, the other one."""
        for giver, taker in product(sorted(self.load, key=lambda node: (-self.load[node], node)), self.load):
            for shard, there in enumerate(places) if self.load[giver] > self.load[taker] + 1 else ():
                if giver in there and self.may_take(taker, [node for node in there if node != giver]):
                    yield shard, giver, taker


def place(shards: int, alive: Mapping[str, str], before: Sequence[Sequence[str]] = (), *, replicas: int = 1) -> Places:
    """Return the nodes of each shard: balanced to within one shard, and as few as possible elsewhere than before.

    alive: the nodes that may hold shards, at least one, and the zone of each; "" = it is in none. replicas: as many as there are nodes for
    them. Replicas of a shard are on different nodes, and in different zones where there are enough, which comes before balance. Equal
    arguments give equal places.
    """
    filling = _Filling(alive, replicas)
    load = filling.load
    places: Places = [[] for _ in range(shards)]
    for there, had in zip(places, before, strict=False):
        for node in had:
            if node in load and len(there) < filling.replicas and filling.may_take(node, there):
                there.append(node)
                load[node] += 1
    for there in places:
        while len(there) < filling.replicas:
            there.append(filling.lightest(there))
            load[there[-1]] += 1
    while (step := next(filling.better(places), None)) is not None:
        shard, giver, taker = step
        places[shard][places[shard].index(giver)] = taker
        load[giver], load[taker] = load[giver] - 1, load[taker] + 1
    return places


def moved(places: Sequence[Sequence[str]], shard: int, node: str, alive: Mapping[str, str], *, replicas: int = 1) -> Places | None:
    """Return places with a shard on another node, in place of one that has it, such that `place` leaves them alone; None = there are none.

    A node that has its full share already gives one of its shards, the first that suits, to the node that the shard comes from.
    """
    others = [other for other, there in enumerate(places) if node in there]
    for exchanged, giver in product((None, *others), places[shard]):
        after = [list(there) for there in places]
        after[shard][after[shard].index(giver)] = node
        if exchanged is not None:
            after[exchanged][after[exchanged].index(node)] = giver
        if place(len(after), alive, after, replicas=replicas) == after:
            return after
    return None


def domains(places: Sequence[Sequence[str]], zones: Mapping[str, str] = MappingProxyType({}), *, copies: int = 1) -> list[int]:
    """Return a number for each shard, equal where the shards would fail together: copies of a point belong on different ones.

    zones: of nodes that are in one. Where each node that has shards is in one, and there are as many zones as copies, zones fail together,
    else nodes. A shard with replicas fails with all of its nodes. Counted from the first shard on, so that the numbers are the same
    whenever the same shards are together.
    """
    nodes = [frozenset(there) for there in places]
    labels = [frozenset(zones.get(node, "") for node in there) for there in nodes]
    together = labels if all("" not in label for label in labels) and len(set(labels)) >= copies else nodes
    number = {label: place for place, label in enumerate(dict.fromkeys(together))}
    return [number[label] for label in together]
