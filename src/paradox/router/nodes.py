"""Nodes: which ones live and what they hold, by what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from paradox.model.topology import ALIVE, SILENT_S, WHO
from paradox.ports.bus import Bus
from paradox.ports.env import Env

LONG_AGO_S = float("-inf")
MOVE_AFTER_S = 3.0
"""How long no node may be heard of before another server is asked for them."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself.

    zone: where it is, of places that fail one by one. holds: the shards of each collection that it has; covers: those it has made a
    snapshot of, too. stands: the log position of each. stored: the live points of each shard in `holds`, in its order, copies included.
    settled: the epoch of the map by which all of them stand; -1 while some are to be moved. hears: the nodes that live, as far as it
    knows. marks: positions of each collection's log, and the chain over what was applied up to there (`shard.chain`).
    """

    name: str
    zone: str = ""
    failure: str = ""
    holds: dict[str, list[int]] = {}
    covers: dict[str, list[int]] = {}
    stands: dict[str, int] = {}
    hears: list[str] = []
    marks: dict[str, list[tuple[int, int]]] = {}
    stored: dict[str, list[int]] = {}
    settled: dict[str, int] = {}


class Nodes:
    """The nodes of a cluster, as one program hears of them. Thread-safe."""

    def __init__(self, bus: Bus, *, env: Env) -> None:
        self._env = env
        self._heard: dict[str, tuple[float, Beat]] = {}
        self._stood: dict[str, dict[int, int]] = {}  # by which map the points of each shard stood when it was last heard of
        self._changed = env.condition()
        self._bus = bus
        bus.hear(ALIVE, self._hear)
        bus.tell(WHO, b"")

    def _hear(self, raw: bytes) -> None:
        beat = msgspec.msgpack.decode(raw, type=Beat)
        with self._changed:
            self._heard[beat.name] = (self._env.elapsed_s(), beat)
            for collection, shards in beat.holds.items():
                self._stood.setdefault(collection, {}).update(dict.fromkeys(shards, beat.settled.get(collection, -1)))
            self._changed.notify_all()

    def alive(self, within_s: float = SILENT_S) -> list[str]:
        """Return the names of nodes that were heard of lately, sorted."""
        now = self._env.elapsed_s()
        with self._changed:
            return sorted(name for name, (at, _) in self._heard.items() if now - at < within_s)

    def beat(self, name: str) -> Beat | None:
        """Return what a node that lives said last."""
        if name not in self.alive():
            return None
        with self._changed:
            return self._heard[name][1] if name in self._heard else None

    def marks(self, collection: str) -> dict[str, list[tuple[int, int]]]:
        """Return what each node that lives said last of its chain of a collection's log."""
        beats = {name: self.beat(name) for name in self.alive()}
        return {name: beat.marks.get(collection, []) for name, beat in beats.items() if beat is not None}

    def zones(self) -> dict[str, str]:
        """Return the zone of each node that was ever heard of and is in one."""
        with self._changed:
            return {name: beat.zone for name, (_, beat) in self._heard.items() if beat.zone}

    def holders(self, collection: str, shards: int) -> dict[int, str]:
        """Return a node that lives and holds it for each shard; shards that none has are left out."""
        return {shard: nodes[0] for shard, nodes in self.all_holders(collection, shards).items()}

    def all_holders(self, collection: str, shards: int) -> dict[int, tuple[str, ...]]:
        """Return the nodes that live and hold it for each shard, in an order that is the same for all. One that moves is on two."""
        found: dict[int, tuple[str, ...]] = {}
        alive = self.alive()
        self._env.shuffle(alive)
        for name in alive:
            beat = self.beat(name)
            for shard in beat.holds.get(collection, ()) if beat is not None else ():
                if shard < shards:
                    found[shard] = name, *found.get(shard, ())
        return found

    def position(self, collection: str) -> int:
        """Return the latest log position of a collection that was heard of."""
        with self._changed:
            return max((beat.stands.get(collection, 0) for _, beat in self._heard.values()), default=0)

    def epoch(self, collection: str) -> int:
        """Return the epoch of the newest map of a collection that was heard of."""
        with self._changed:
            return max((beat.settled.get(collection, -1) for _, beat in self._heard.values()), default=-1)

    def all_settled(self, collection: str, epoch: int, shards: int) -> bool:
        """Tell whether all points are where the map of an epoch puts them, by what was said last of each shard, up or down."""
        with self._changed:
            stood = self._stood.get(collection, {})
            return all(stood.get(shard) == epoch for shard in range(shards))

    def stored(self, collection: str, shards: int, epoch: int) -> list[int] | None:
        """Return how many points each shard has; None unless all are on equally many nodes that live, and all points stand by a map."""
        found: dict[int, int] = {}
        times = [0] * shards
        for name in self.alive():
            beat = self.beat(name)
            held = beat.holds.get(collection, ()) if beat is not None else ()
            if beat is None or (held and beat.settled.get(collection) != epoch):
                return None
            found.update(zip(held, beat.stored.get(collection, ()), strict=True))
            for shard in held:
                times[shard] += 1
        return [found[shard] for shard in range(shards)] if len(found) == shards and len(set(times)) == 1 else None

    def bury(self, name: str) -> None:
        """Count a node as dead until it says something."""
        with self._changed:
            if name in self._heard:
                self._heard[name] = (LONG_AGO_S, self._heard[name][1])

    def gone(self, collection: str, shards: Iterable[int]) -> int:
        """Return on how many nodes that are silent now these shards were, one for all replicas of a shard; one more for what nobody had."""
        alive = self.alive()
        with self._changed:
            silent = {name: set(beat.holds.get(collection, ())) for name, (_, beat) in self._heard.items() if name not in alive}
        return len({frozenset(name for name, had in silent.items() if shard in had) for shard in shards})

    def meet(self, timeout_s: float) -> bool:
        """Wait until all are heard whom any that lives hears, and tell whether that is so."""
        until = self._env.elapsed_s() + timeout_s
        while True:
            alive = self.alive()
            told = {name for one in alive if (beat := self.beat(one)) is not None for name in beat.hears}
            left = until - self._env.elapsed_s()
            if told <= set(alive) or left <= 0:
                return told <= set(alive)
            with self._changed:
                self._changed.wait(left)

    def wait_for(self, timeout_s: float, *, collection: str = "", shards: int = 0) -> bool:
        """Wait until some node lives, or until all shards of a collection are held, and tell whether that is so."""
        until = self._env.elapsed_s() + timeout_s
        while not (self.alive() if not shards else len(self.holders(collection, shards)) == shards):
            left = until - self._env.elapsed_s()
            if left <= 0:
                return False
            with self._changed:
                heard = self._changed.wait(min(left, MOVE_AFTER_S))
            if not heard and not self.alive():
                self._bus.move()  # to a server that is not cut off from all nodes
        return True
