"""The catalogue of a cluster: collections in the register of its log servers, each with a log of its own.

collections.NAME    {"id", "spec"}: id names the log and the folder, so that a collection that was dropped and made anew begins anew
placements.ID       which node shall hold each shard
cluster.id          the identity of the cluster, which its store must have too
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from paradox.errors import CollectionMissing, InvalidRequest, LogConflict, ObjectConflict, StoreUnreadable
from paradox.log.jetstream import JetStreamLog, drop_log, open_log
from paradox.log.register import Register
from paradox.log.streams import Streams
from paradox.model.schema import CollectionSpec, check_name
from paradox.model.topology import shard_name
from paradox.node.catalogue import Kept, check_identity, decode_spec, encode_spec, identity_of, missing
from paradox.ports.env import Env
from paradox.ports.objects import ObjectStore
from paradox.router.placement import Places, moved, place

PREFIX, PLACEMENTS = "collections", "placements"
IDENTITY_KEY = "cluster.id"
CHANGED = "paradox.catalogue.changed"
OVERTAKEN_MAX = 20
"""How often another program may change a placement first."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What the register says of a collection. spec: as in a folder's catalogue."""

    id: str
    spec: bytes


def check_store(register: Register, store: ObjectStore, *, env: Env) -> None:
    """Return if the store is that of the cluster, or both are new: nodes delete what their cluster does not know.

    Raises StoreUnreadable.
    """
    marked = identity_of(store) is not None or bool(store.list(f"{PREFIX}/"))  # looked at first: the register is written first
    try:
        cluster = register.get(IDENTITY_KEY)[0].decode()
    except KeyError:
        if marked:
            raise StoreUnreadable(
                "the store holds a cluster's points, but the log servers know nothing of them",
                hint="are these the right log servers, with their data? else give this cluster an empty store",
            ) from None
        with suppress(LogConflict):  # another node was first
            register.put(IDENTITY_KEY, env.random_bytes(16).hex().encode(), revision=0)
        cluster = register.await_value(IDENTITY_KEY).decode()
    if identity_of(store) is None and not store.list(f"{PREFIX}/"):
        with suppress(ObjectConflict):
            check_identity(store, cluster)
    if identity_of(store) != cluster:
        raise StoreUnreadable("the store belongs to another cluster", hint="give each cluster a store of its own")


class ClusterCatalogue:
    """The collections of a cluster, as one node sees them."""

    def __init__(
        self,
        streams: Streams,
        register: Register,
        folder: Path,
        *,
        node: str,
        alive: Callable[[], dict[str, str]],
        env: Env,
        replicas: int,
    ) -> None:
        """folder: where all nodes keep segments. alive: nodes that live, and their zones. replicas: log servers that keep each log."""
        self._node = node
        self._alive = alive
        self._streams = streams
        self._register = register
        self._folder = folder
        self._env = env
        self._replicas = replicas
        self._known: dict[str, str] = {}
        self._listed: tuple[str, ...] = ()
        self._placed: dict[str, tuple[Places, int]] = {}

    def names(self) -> list[str]:
        """Return the names of all collections, sorted. Raises LogUnavailable."""
        return sorted(key.removeprefix(f"{PREFIX}.") for key in self._register.keys(PREFIX))

    def find(self, name: str) -> Kept:
        """Return a collection. Raises CollectionMissing, FormatTooNew, StoreUnreadable, LogUnavailable."""
        registered, _ = self._find(name)
        self._known[name] = registered.id
        folder = self._folder / PREFIX / registered.id
        folder.mkdir(parents=True, exist_ok=True)
        shards = self.shards_here(registered.id)
        return Kept(spec=decode_spec(registered.spec, name), folder=folder, mark=registered.id, node=self._node, shards=shards)

    def _find(self, name: str) -> tuple[Registered, int]:
        check_name(name)
        try:
            raw, revision = self._register.get(f"{PREFIX}.{name}")
        except KeyError:
            raise missing(name, self.names()) from None
        try:
            registered = msgspec.msgpack.decode(raw, type=Registered)
        except msgspec.MsgspecError:
            raise StoreUnreadable(f"what the register says of collection {name!r} cannot be read", hint="upgrade this node") from None
        return registered, revision

    def is_current(self, name: str, mark: object) -> bool:
        """Tell whether a collection is still there and the one that was opened, as far as `look` has seen."""
        return self._known.get(name) == mark

    def look(self) -> None:
        """See what others dropped or made anew, and delete the files of collections that are gone. Raises LogUnavailable."""
        folders = list((self._folder / PREFIX).glob("*"))  # before the register is read: what is made meanwhile stays
        there = {}
        for name in self.names():
            with suppress(CollectionMissing):
                there[name] = self._find(name)[0].id
        placed = {}
        for id in there.values():
            with suppress(KeyError):
                placed[id] = self.placement(id)
        self._known = {name: id for name, id in there.items() if name in self._known}
        self._listed, self._placed = tuple(sorted(there)), placed
        for folder in folders:
            if folder.name not in there.values():
                shutil.rmtree(folder, ignore_errors=True)

    def listed(self) -> tuple[str, ...]:
        """Return the names of all collections, sorted, as `look` has seen them."""
        return self._listed

    # -- placement

    def placed(self, collection: str) -> tuple[Places, int]:
        """Return the placement of a collection as `look` has seen it. Raises KeyError when nobody had said."""
        return self._placed[collection]

    def placement(self, collection: str) -> tuple[Places, int]:
        """Return the nodes that shall hold each shard of a collection, and the revision. Raises KeyError when nobody has said."""
        raw, revision = self._register.get(f"{PLACEMENTS}.{collection}")
        return msgspec.msgpack.decode(raw, type=Places), revision

    def shards_here(self, collection: str) -> frozenset[int]:
        """Return the shards that this node shall hold."""
        with suppress(KeyError):
            return frozenset(shard for shard, nodes in enumerate(self.placement(collection)[0]) if self._node in nodes)
        return frozenset()

    def place_anew(self, collection: str, alive: dict[str, str], *, replicas: int) -> bool:
        """Place shards on the nodes that are to hold them, if anything is to be moved. False when another node has placed them since.

        alive: those nodes, and the zone of each. Raises LogUnavailable.
        """
        if collection not in self._placed:
            return True
        before, revision = self._placed[collection]
        after = place(len(before), alive, before, replicas=replicas)
        if after != before:
            try:
                revision = self._register.put(f"{PLACEMENTS}.{collection}", msgspec.msgpack.encode(after), revision=revision)
            except LogConflict:
                return False
            self._placed[collection] = after, revision
            self._tell()
        return True

    def move(self, name: str, shard: int, node: str, alive: dict[str, str]) -> dict[str, Any]:
        """Place a shard of a collection on another node, for good. alive: the nodes that may hold shards, and the zone of each.

        Raises CollectionMissing, InvalidRequest when the next placing would take it back, LogConflict, LogUnavailable.
        """
        for _ in range(OVERTAKEN_MAX):
            with suppress(LogConflict):
                return self._move_once(name, shard, node, alive)
        return self._move_once(name, shard, node, alive)

    def _move_once(self, name: str, shard: int, node: str, alive: dict[str, str]) -> dict[str, Any]:
        registered, _ = self._find(name)
        collection, replicas = registered.id, decode_spec(registered.spec, name).replicas
        before, revision = self.placement(collection)
        if shard >= len(before):
            raise InvalidRequest(f"collection {name!r} has no shard {shard_name(shard)}", hint=f"it has s0 to s{len(before) - 1}")
        if node not in alive:
            raise InvalidRequest(f"no node {node!r} lives", hint=f"these do: {', '.join(sorted(alive))}")
        after = moved(before, shard, node, alive, replicas=replicas) if node not in before[shard] else before
        if after is None:
            raise InvalidRequest(
                f"with {shard_name(shard)} on {node!r} the shards of {name!r} would not be spread evenly over the nodes that live",
                hint="wait until the shards of nodes that died are placed, or move one of a fuller node",
            )
        if after != before:
            self._register.put(f"{PLACEMENTS}.{collection}", msgspec.msgpack.encode(after), revision=revision)
            self._tell()
        exchanged = [shard_name(other) for other, there in enumerate(after) if other != shard and there != before[other]]
        left = [one for one in before[shard] if one not in after[shard]] or [node]
        return {"shard": shard_name(shard), "node": node, "before": left[0], "exchanged": exchanged[0] if exchanged else None}

    # -- making and dropping

    def defaults(self) -> dict[str, Any]:
        """Return the words of a spec that nobody need say here: two shards a node, and two copies where there are two nodes."""
        nodes = len(self._alive())
        return {"shards": 2 * nodes, "copies": 2} if nodes > 1 else {}

    def create(self, name: str, spec: CollectionSpec) -> None:
        """Make the log, then what the register says. Nothing more happens when another program made the collection first."""
        made = Registered(id=self._env.random_bytes(8).hex(), spec=encode_spec(spec))
        open_log(self._streams, made.id, replicas=self._replicas).close()
        places = msgspec.msgpack.encode(place(spec.shards, self._alive(), replicas=spec.replicas))
        self._register.put(f"{PLACEMENTS}.{made.id}", places, revision=0)
        try:
            self._register.put(f"{PREFIX}.{name}", msgspec.msgpack.encode(made), revision=0)
        except LogConflict:
            drop_log(self._streams, self._register, made.id)
            self._forget_placement(made.id)
        self._tell()

    def open_log(self, name: str, kept: Kept) -> JetStreamLog:
        """Return the log of a collection. Raises LogUnavailable, LogCorrupt."""
        return JetStreamLog(self._streams, str(kept.mark))

    def drop(self, name: str) -> None:
        """Take a collection out of the register, then delete its log. Each node deletes its own files."""
        registered, revision = self._find(name)
        self._known.pop(name, None)
        self._register.delete(f"{PREFIX}.{name}", revision=revision)
        self._tell()
        drop_log(self._streams, self._register, registered.id)
        self._forget_placement(registered.id)

    def _forget_placement(self, collection: str) -> None:
        with suppress(KeyError):
            self._register.delete(f"{PLACEMENTS}.{collection}", revision=self.placement(collection)[1])

    def _tell(self) -> None:
        self._streams.bus.tell(CHANGED, b"")
