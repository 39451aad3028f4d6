"""A crowded cluster is eased as long as its fullest shard comes to hold less: maps that would follow one another in a circle do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from paradox.model.topology import RegionMap
from paradox.node.easing import WEIGH_AGAIN, Easing

CROWDED, MORE, LESS = [60, 60, 140, 60], [50, 60, 150, 60], [60, 70, 130, 60]


class Nodes:
    """What all nodes would say: points of each shard, and of each region."""

    def __init__(self, regions: int) -> None:
        self.points: list[int] | None = CROWDED
        self.answers = True
        self.asked = 0
        self._regions = regions

    def stored(self) -> list[int] | None:
        return self.points

    def loads(self) -> NDArray[np.float64] | None:
        self.asked += 1
        return np.where(np.arange(self._regions) % 4 == 2, 2.5, 1.0) if self.answers else None


@pytest.fixture
def easing() -> tuple[Easing, Any, Nodes]:
    """What one node would do with a map of 20 regions on 4 shards, where the third shard has most."""
    centroids = np.random.default_rng(1).integers(-127, 128, size=(20, 8)).astype(np.int8)
    shard_of = (np.arange(20) % 4).astype(np.int32)
    regions = RegionMap(epoch=3, names=np.arange(20), centroids=centroids, shard_of=shard_of, scale=0.01, next_name=20)
    nodes = Nodes(20)
    spec = SimpleNamespace(copies=2, shards=4, main="", vectors={"": SimpleNamespace(metric="cosine")})
    held: Any = SimpleNamespace(others=nodes, spec=spec, engine=SimpleNamespace(regions=regions), domains=None)
    return Easing(held), held, nodes


def follow(held: Any, new: RegionMap | None) -> None:
    assert new is not None
    assert new.epoch == held.engine.regions.epoch + 1
    assert not np.array_equal(new.shard_of, held.engine.regions.shard_of)
    held.engine.regions = msgspec.structs.replace(held.engine.regions, epoch=new.epoch)  # loads stay crowded, as copies can make them


@pytest.mark.parametrize("after", [CROWDED, MORE])
def test_a_change_that_did_not_help_is_the_last(easing: tuple[Easing, Any, Nodes], after: list[int]) -> None:
    worker, held, nodes = easing
    follow(held, worker.next_map())
    nodes.points = after
    assert worker.next_map() is None
    assert nodes.asked == 1


def test_a_change_that_helped_is_followed_by_another(easing: tuple[Easing, Any, Nodes]) -> None:
    worker, held, nodes = easing
    follow(held, worker.next_map())
    nodes.points = LESS
    follow(held, worker.next_map())


def test_growth_another_map_and_a_conflict_are_reasons_to_look_again(easing: tuple[Easing, Any, Nodes]) -> None:
    worker, held, nodes = easing
    follow(held, worker.next_map())
    nodes.points = [round(points * WEIGH_AGAIN) + 1 for points in MORE]
    follow(held, worker.next_map())
    assert worker.next_map() is None
    held.engine.regions = msgspec.structs.replace(held.engine.regions, epoch=held.engine.regions.epoch + 1)  # a region was cut
    follow(held, worker.next_map())
    assert worker.next_map() is None
    worker.another_did()
    follow(held, worker.next_map())


def test_nothing_is_done_while_points_move_or_a_node_does_not_answer(easing: tuple[Easing, Any, Nodes]) -> None:
    worker, held, nodes = easing
    nodes.points = None
    assert worker.next_map() is None
    nodes.points, nodes.answers = CROWDED, False
    assert worker.next_map() is None
    nodes.answers = True
    follow(held, worker.next_map())


def test_nothing_is_done_where_no_shard_holds_too_much_or_one_node_has_all(easing: tuple[Easing, Any, Nodes]) -> None:
    worker, held, nodes = easing
    nodes.points = [90, 80, 100, 80]
    assert worker.next_map() is None
    assert nodes.asked == 0
    held.others = None
    assert worker.next_map() is None
