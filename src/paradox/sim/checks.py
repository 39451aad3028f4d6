"""Checks of a world that has come to rest: what the log says, what nodes hold, what clients were told and what they find agree."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from paradox.errors import ParadoxError
from paradox.log.message import HEADER, decode_head
from paradox.log.streams import STREAM
from paradox.model.entries import Entry, Patch, Remove, Write
from paradox.model.points import Key, id_of
from paradox.sim.clients import COLLECTION, SEEN, Client, vector_of
from paradox.wire.codec import decode

if TYPE_CHECKING:
    from paradox.sim.world import World

Contents = dict[str, dict[str, object]]
"""Payloads by id."""


def check(world: World) -> list[str]:
    """Return the promises that were broken."""
    contents = contents_of_log(world)
    broken = [*check_acknowledged(world, contents), *check_held(world, contents), *check_found(world, contents)]
    return [f"in the end: {one}" for one in broken]


def contents_of_log(world: World) -> Contents:
    """Return what the entries of the collection's log amount to, from the first one on, read as simply as can be."""
    contents: Contents = {}
    for entry in entries_of(world):
        match entry:
            case Write(points=points, moved=False):
                for key, payload in zip(points.keys, points.payloads, strict=True):
                    contents[str(id_of(key))] = msgspec.msgpack.decode(payload)
            case Patch(keys=keys, payloads=payloads):
                for key, payload in zip(keys, payloads, strict=True):
                    contents[str(id_of(key))] |= msgspec.msgpack.decode(payload)
            case Remove(keys=keys):
                for key in keys:
                    contents.pop(str(id_of(key)), None)
    return contents


def entries_of(world: World) -> list[Entry]:
    """Return all entries that the log ever had and did not lose, trimmed or not."""
    [stream] = [stream for name, stream in world.servers.streams.items() if name.startswith(STREAM)]
    entries, pieces = [], []
    for sequence in range(1, stream.last + 1):
        message = stream.archive[sequence]
        head = decode_head(message, COLLECTION, sequence)
        pieces.append(message[HEADER.size :])
        if head.part + 1 == head.parts:
            entries.append(decode(memoryview(b"".join(pieces))))
            pieces = []
    return entries


def check_acknowledged(world: World, contents: Contents) -> list[str]:
    """Acknowledged is durable, deleted stays deleted, and bad input changed nothing."""
    broken = []
    for client in world.clients:
        for key, known in client.expected.items():
            version = contents[key]["version"] if key in contents else None
            if version not in known:
                broken.append(f"the log has {key} in version {version}, {client.name} was told {sorted(map(str, known))}")
        unknown = [key for key in contents if key.startswith(f"{client.name}-") and key not in client.expected]
        broken += [f"the log has {key}, which nobody wrote" for key in unknown]
    return broken


def check_held(world: World, contents: Contents) -> list[str]:
    """Nodes at one position hold what the log says: each point on as many shards as it has copies, alike, and one answers for it.

    All on as many nodes as there are replicas.
    """
    places: dict[str, list[tuple[int, bool, object]]] = {}
    for node in world.nodes.values():
        assert node.member is not None
        for opened in node.member.database.all_opened():
            for shard in opened.held.engine.shards:
                for segment in shard.segments:
                    rows = np.flatnonzero(segment.alive())
                    for key, owned, payload in zip(
                        segment.keys_at(rows), segment.owned()[rows].tolist(), segment.payloads_at(rows), strict=True
                    ):
                        places.setdefault(_id(key), []).append((shard.number, owned, msgspec.msgpack.decode(payload)))
    broken = [f"a node holds {key}, the log does not" for key in places.keys() - contents.keys()]
    for name, wanted in contents.items():
        there = places.get(name, [])
        shards = Counter(shard for shard, _, _ in there)
        if len(shards) != world.spread.copies or set(shards.values()) != {world.spread.replicas}:
            broken.append(f"{name} is on shards {sorted(shards.elements())}")
        elif len({shard for shard, owned, _ in there if owned}) != 1 or sum(owned for _, owned, _ in there) != world.spread.replicas:
            broken.append(f"shards {sorted(shard for shard, owned, _ in there if owned)} answer for {name}")
        elif any(one != wanted for _, _, one in there):
            broken.append(f"{name} is {[one for _, _, one in there]}, the log says {wanted}")
    return broken


def _id(key: Key) -> str:
    return str(id_of(key))


def check_found(world: World, contents: Contents) -> list[str]:
    """Who comes anew finds everything, and no answer leaves anything out."""
    client = Client(world.loop, world.network, "visitor", world.spread)
    broken: list[str] = []
    try:
        collection = client.connect("visitor")[COLLECTION]
        found = {str(hit.id): hit.payload for hit in collection.scroll()}
        if found != contents:
            differing = sorted(key for key in found.keys() | contents.keys() if found.get(key) != contents.get(key))
            broken.append(f"a scroll differs from the log in {differing[:5]} and {max(0, len(differing) - 5)} more")
        if collection.count() != len(contents):
            broken.append(f"a count is {collection.count()}, the log has {len(contents)} points")
        for key, payload in contents.items():
            vector = vector_of(key, int(str(payload["version"])))
            hits = collection.search(vector, k=1, exact=True)
            if hits.coverage.share < 1 or not hits or hits[0].id != key or hits[0].score < SEEN:
                broken.append(f"a search for {key} found {[hit.id for hit in hits]}, coverage {hits.coverage.share:.2f}")
    except ParadoxError as error:
        broken.append(f"a visitor meets: {error}")
    return broken
