"""Placement: which node holds each shard. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType


def place(shards: int, alive: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """Return the node of each shard: balanced to within one shard, and as few as possible elsewhere than before.

    alive: the nodes that may hold shards, at least one. Equal arguments give equal places.
    """
    nodes = sorted(alive)
    most, full = -(-shards // len(nodes)), shards % len(nodes) or len(nodes)
    places = [node if node in nodes else "" for node in (*before, *[""] * shards)][:shards]
    load = dict.fromkeys(nodes, 0)
    for shard, node in enumerate(places):
        crowded = sum(count >= most for count in load.values()) >= full
        if node and load[node] < (most - 1 if crowded else most):
            load[node] += 1
        else:
            places[shard] = ""
    for shard, node in enumerate(places):
        if not node:
            places[shard] = min(nodes, key=lambda one: (load[one], one))
            load[places[shard]] += 1
    return places


def moved(places: Sequence[str], shard: int, node: str, alive: Sequence[str]) -> list[str] | None:
    """Return places with a shard on another node, such that `place` leaves them alone, or None when there are none.

    A node that has its full share already gives one of its shards, the first, to the node that the shard comes from.
    """
    others = [other for other, there in enumerate(places) if there == node]
    for exchanged in (None, *others):
        after = list(places)
        after[shard] = node
        if exchanged is not None:
            after[exchanged] = places[shard]
        if place(len(after), alive, after) == after:
            return after
    return None


def domains(places: Sequence[str], zones: Mapping[str, str] = MappingProxyType({}), *, copies: int = 1) -> list[int]:
    """Return a number for each shard, equal where the shards would fail together: copies of a point belong on different ones.

    zones: of nodes that are in one. Where each node that has shards is in one, and there are as many zones as copies, zones fail together,
    else nodes. Counted from the first shard on, so that the numbers are the same whenever the same shards are together.
    """
    labels = [zones.get(node, "") for node in places]
    together = labels if all(labels) and len(set(labels)) >= copies else places
    number = {label: place for place, label in enumerate(dict.fromkeys(together))}
    return [number[label] for label in together]
