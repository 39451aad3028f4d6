"""Points that a new map puts elsewhere are found and written anew, each row looked at once a map."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from paradox.model.entries import Entry, MapChange, Patch, Remove, Write
from paradox.model.points import Points
from paradox.model.schema import CollectionSpec, VectorSpec
from paradox.model.topology import RegionMap
from paradox.node.kernels import NativeKernels
from paradox.planner.choose import Costs
from paradox.router import moving
from paradox.router.moving import Overtaken
from paradox.router.scatter import Scatter, holders_of
from paradox.shard.engine import holders_at
from paradox.space.regions import Atlas, blank_regions, levels
from paradox.space.split import cluster

DIMENSIONS, SHARDS, COUNT = 8, 4, 900
SPEC = CollectionSpec(vectors={"vector": VectorSpec(dimensions=DIMENSIONS)}, shards=SHARDS, copies=2)
VECTORS = np.random.default_rng(3).normal(size=(COUNT, DIMENSIONS)).astype(np.float32)


def map_of(epoch: int, regions: int) -> RegionMap:
    centroids = cluster(VECTORS, regions, metric="cosine", seed=epoch)
    scale = float(np.abs(centroids).max()) / levels(DIMENSIONS)
    return RegionMap(
        epoch=epoch,
        names=np.arange(regions, dtype=np.int64),
        centroids=np.rint(centroids / scale).astype(np.int8),
        shard_of=(np.arange(regions) % SHARDS).astype(np.int32),
        scale=scale,
        next_name=regions,
    )


class Node:
    """An engine that holds all shards of a cluster's collection, and the entries that it was given."""

    def __init__(self, *, alone: bool = False) -> None:
        """alone: as in a folder, where the engine moves points itself."""
        self.engine = Scatter(SPEC, blank_regions(DIMENSIONS, SHARDS), NativeKernels(), Costs(), held=None if alone else range(SHARDS))
        self.moved = 0

    def apply(self, entry: Entry) -> None:
        self.engine.apply(self.engine.applied + 1, entry)

    def write(self, rows: NDArray[Any], *, origin: str = "") -> None:
        points = Points(
            keys=rows.tolist(),
            vectors={"vector": VECTORS[rows]},
            payloads=[msgspec.msgpack.encode({"n": row}) for row in rows.tolist()],
            at_us=rows.astype(np.int64),
            modality=["vector"] * len(rows),
            stamp=np.full(len(rows), self.engine.applied + 1, dtype=np.uint64),
            key_id=np.zeros(len(rows), dtype=np.uint32),
            origin=origin,
        )
        self.apply(Write(points=points, regions=self.engine.assign_regions(points), epoch=self.engine.regions.epoch))

    def move_some(self, limit: int) -> bool:
        """Move what is found next, if anything is."""
        if not self.engine.moving.look():
            return False
        with suppress(Overtaken):
            points, regions = self.engine.moving.next(limit)
            assert len(points) <= limit
            self.moved += len(points)
            self.apply(Write(points=points, regions=regions, epoch=self.engine.regions.epoch, moved=True))
        return True

    def move_all(self, limit: int = 100) -> None:
        while self.move_some(limit):
            continue

    def places(self) -> dict[int, tuple[list[int], int]]:
        """Return where each point says that it stands, and how many copies of it there are."""
        found: dict[int, tuple[list[int], int]] = {}
        for shard in self.engine.shards:
            for segment in shard.segments:
                rows = np.flatnonzero(segment.alive())
                for key, holders in zip(segment.keys_at(rows), holders_at(segment, rows, SPEC, shard.number).tolist(), strict=True):
                    assert shard.number in holders
                    found[key] = (holders, found[key][1] + 1 if key in found else 1)  # type: ignore[index, assignment]
        return found

    def expected(self, keys: Any) -> dict[int, tuple[list[int], int]]:
        lists = self.engine.regions_of(VECTORS[np.array(keys)], self.engine.regions)
        return {key: (holders, 2) for key, holders in zip(keys, holders_of(lists, self.engine.regions).tolist(), strict=True)}


@pytest.fixture
def node() -> Node:
    made = Node()
    made.write(np.arange(0, 600), origin="here")
    made.write(np.arange(600, COUNT), origin="there")
    return made


@pytest.mark.parametrize("limit", [37, 400, 5_000])
def test_after_a_new_map_every_point_comes_to_its_place(node: Node, limit: int) -> None:
    assert not node.engine.moving.look()
    node.apply(MapChange(map=map_of(1, 13)))
    node.move_all(limit)
    assert node.places() == node.expected(range(COUNT))
    before = node.moved
    assert before > COUNT / 2
    assert not node.move_some(limit)
    node.apply(MapChange(map=map_of(2, 20)))
    node.move_all(limit)
    assert node.places() == node.expected(range(COUNT))
    assert node.moved > before


def test_a_moved_point_is_the_same_version(node: Node) -> None:
    segments = [segment for shard in node.engine.shards for segment in shard.segments if segment.rows]
    stamps = {key: stamp for one in segments for key, stamp in zip(one.keys_at(np.arange(one.rows)), one.stamps().tolist(), strict=True)}
    node.apply(MapChange(map=map_of(1, 13)))
    node.move_all()
    for shard in node.engine.shards:
        for segment in shard.segments:
            rows = np.flatnonzero(segment.alive())
            assert [stamps[key] for key in segment.keys_at(rows)] == segment.stamps()[rows].tolist()  # type: ignore[index]


def test_each_row_is_looked_at_once_and_what_was_found_once_more(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "LOOK_ROWS", 64)
    node.apply(MapChange(map=map_of(1, 13)))
    looked = 0
    stand = node.engine.stand_elsewhere

    def counting(vectors: Any, holders: Any) -> Any:
        nonlocal looked
        looked += len(vectors)
        return stand(vectors, holders)

    monkeypatch.setattr(node.engine, "stand_elsewhere", counting)
    node.move_all(10)
    assert node.places() == node.expected(range(COUNT))
    assert looked <= COUNT + 3 * node.moved  # each owned row, each found one again, and each moved one in its new place
    looked = 0
    assert not node.move_some(10)
    assert looked == 0


def test_what_changes_while_points_move_ends_in_its_place_too(node: Node) -> None:
    dice = np.random.default_rng(5)
    there = set(range(COUNT))
    for epoch in range(1, 5):
        node.apply(MapChange(map=map_of(epoch, 9 + 3 * epoch)))
        for _ in range(4):
            node.move_some(50)
            some = dice.choice(COUNT, 30, replace=False)
            node.write(some)
            there |= set(some.tolist())
            patched = sorted(there)[:: len(there) // 20]
            node.apply(Patch(keys=list(patched), payloads=[msgspec.msgpack.encode({"m": 1})] * len(patched), stamp=99))
            gone = dice.choice(sorted(there), 20, replace=False).tolist()
            node.apply(Remove(keys=gone, stamp=99))
            there -= set(gone)
    node.move_all()
    assert node.places() == node.expected(sorted(there))


def test_what_was_found_and_is_gone_or_changed_is_not_moved(node: Node) -> None:
    node.apply(MapChange(map=map_of(1, 13)))
    assert node.engine.moving.look()
    node.apply(Remove(keys=list(range(COUNT)), stamp=99))
    with pytest.raises(Overtaken):
        node.engine.moving.next(100)
    assert not node.engine.moving.look()


def test_a_newer_map_makes_what_was_found_worthless(node: Node) -> None:
    node.apply(MapChange(map=map_of(1, 13)))
    assert node.engine.moving.look()
    node.apply(MapChange(map=map_of(2, 20)))
    with pytest.raises(Overtaken):
        node.engine.moving.next(100)
    node.move_all()
    assert node.places() == node.expected(range(COUNT))


def test_a_segment_that_another_took_the_place_of_is_looked_at_there(node: Node) -> None:
    node.apply(MapChange(map=map_of(1, 13)))
    assert node.engine.moving.look()
    shard = node.engine.shards[0]
    (before,) = [segment for segment in shard.segments if segment.rows]
    fresh = type(before)(SPEC, NativeKernels())
    rows = np.flatnonzero(before.alive())
    for part in moving.by_origin(moving.Held(before, rows)):
        points, holders = moving.take(part, SPEC, 0)
        fresh.append(points, holders[:, 0] == 0, holders)  # type: ignore[union-attr]
    shard.segments = (fresh,)
    shard.growing = fresh  # type: ignore[assignment]
    with pytest.raises(Overtaken):
        node.engine.moving.next(100)
    node.move_all()
    assert node.places() == node.expected(range(COUNT))


def in_a_folder(foreseen: RegionMap | None) -> Node:
    """Return an engine that has taken a map, after points came and went since it was foreseen."""
    made, first = Node(alone=True), map_of(1, 13)
    made.write(np.arange(0, 500), origin="here")
    made.write(np.arange(500, 700), origin="there")
    if foreseen is not None:
        made.engine.rearranging.foresee(foreseen)
    made.write(np.arange(600, COUNT), origin="there")
    made.apply(Remove(keys=[5, 650, COUNT - 1], stamp=9))
    made.apply(MapChange(map=first if foreseen is None else foreseen))
    return made


def test_a_map_that_was_foreseen_moves_points_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    left = sorted(set(range(COUNT)) - {5, 650, COUNT - 1})
    expected = in_a_folder(None)
    assert expected.places() == expected.expected(left)
    placed: list[int] = []
    assign = Atlas.assign

    def counted(atlas: Atlas, vectors: NDArray[Any], *, copies: int = 1) -> NDArray[np.int32]:
        placed.append(len(vectors) if atlas.regions.epoch == 1 else 0)
        return assign(atlas, vectors, copies=copies)

    monkeypatch.setattr(Atlas, "assign", counted)
    node = in_a_folder(map_of(1, 13))
    assert sum(placed) == 700 + 300 - 2, "foreseen, and those that came since"
    assert node.places() == expected.places()


def test_a_map_other_than_the_one_foreseen_is_taken_too() -> None:
    node = Node(alone=True)
    node.write(np.arange(COUNT))
    node.engine.rearranging.foresee(map_of(1, 20))
    node.apply(MapChange(map=map_of(1, 13)))
    assert node.places() == node.expected(range(COUNT))
