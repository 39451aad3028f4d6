"""Snapshots of a cluster: what one node deletes, no other needs."""

from __future__ import annotations

import random

import pytest

from paradox.node.snapshots import KEPT, Snapshots
from paradox.objects.memory import MemoryStore
from paradox.shard.manifest import Manifest, map_to_plain
from paradox.space.regions import single_region

SHARDS = 3


def manifest(position: int, *shards: int) -> Manifest:
    return Manifest(incarnation=1, position=position, stamp=0, segments=(), map=map_to_plain(single_region(2)), shards=shards)


def test_the_last_snapshots_of_a_shard_stay_when_it_went_elsewhere() -> None:
    store = MemoryStore()
    one, other = (Snapshots(store, None, node=node, shards=SHARDS) for node in ("n1", "n2"))
    one.put(manifest(182, 0))
    for position in (183, 200):  # while n1 was away; the log may be trimmed up to the older of them
        other.put(manifest(position, 0, 1))
    for position in (210, 220, 230):  # n1 is back, and n2 has let go of shard 0
        other.put(manifest(position, 1))
        other.collect(())
    assert one.floor([0]) == 183
    newest = one.covering(0)
    assert newest is not None
    assert newest.position == 200
    assert [len(other.names()), len(one.names())] == [4, 1]


@pytest.mark.parametrize("seed", range(20))
def test_the_floor_never_falls_whoever_deletes(seed: int) -> None:
    dice, store, floor = random.Random(seed), MemoryStore(), 0
    nodes = [Snapshots(store, None, node=f"n{number}", shards=SHARDS) for number in range(3)]
    for position in range(1, 60):
        node = dice.choice(nodes)
        node.put(manifest(position, *sorted(dice.sample(range(SHARDS), dice.randint(1, SHARDS)))))
        node.collect(())
        assert node.floor(range(SHARDS)) >= floor
        floor = node.floor(range(SHARDS))
    assert len(store.list()) <= 3 * KEPT + SHARDS * KEPT


def test_one_alone_keeps_the_newest() -> None:
    alone = Snapshots(MemoryStore(), None)
    for position in range(1, 6):
        alone.put(manifest(position, 0))
        alone.collect(())
    assert len(alone.names()) == KEPT
