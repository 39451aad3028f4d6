"""When a query has seen enough: after so many regions that changed nothing, and not before k points are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paradox.model.recall import Routing
from paradox.router.patience import (
    DEFAULT,
    EVERYWHERE,
    PATIENCES,
    Progress,
    Stop,
    Walk,
    any_way,
    choose_patience,
    readings,
    steps_of,
    unmeasured,
    visited,
    visits_of,
    way,
)


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def test_a_way_names_each_shard_once_where_its_nearest_region_comes() -> None:
    shard_of = np.array([2, 0, 2, 1, 0], dtype=np.int32)
    assert way(np.array([3, 2, 0, 1, 4]), shard_of, 4) == [Stop(1, 0), Stop(2, 1), Stop(0, 3), Stop(3, 5)]
    assert any_way(3) == [Stop(0, 0), Stop(1, 0), Stop(2, 0)]


def test_shards_that_are_visited_in_any_case_are_visited_together() -> None:
    progress = Progress([Stop(5, 0), Stop(3, 2), Stop(8, 3), Stop(1, 9)], k=2, patience=2)
    assert progress.next() == [5, 3]
    progress.take(5, scores(0.9, 0.8))
    progress.take(3, scores(0.85))  # the region at place 2 changed something, so that places 3 and 4 are looked at
    assert progress.next() == [8]
    progress.take(8, scores(0.1))
    assert progress.next() == []


def test_further_regions_of_visited_shards_end_patience_without_a_visit() -> None:
    progress = Progress([Stop(0, 0), Stop(1, 7)], k=1, patience=6)
    assert progress.next() == [0]
    progress.take(0, scores(0.5))
    assert progress.next() == []


def test_a_query_goes_on_until_it_has_found_as_many_as_are_wanted() -> None:
    progress = Progress([Stop(shard, 10 * shard) for shard in range(4)], k=3, patience=0)
    for shard in range(3):
        assert progress.next() == [shard]
        progress.take(shard, scores(0.9 - shard / 10))
    assert progress.next() == []


def test_shards_that_do_not_answer_are_made_up_for_by_others() -> None:
    """Copies of what they have are on shards whose regions come next."""
    progress = Progress([Stop(0, 0), Stop(1, 1), Stop(2, 2), Stop(3, 3)], k=1, patience=1)
    assert progress.next() == [0, 1]
    progress.take(0, scores(0.9))
    progress.take(1, None)
    assert progress.next() == [2]
    progress.take(2, scores(0.1))
    assert progress.next() == []


def test_without_end_of_patience_every_shard_is_visited_at_once() -> None:
    progress = Progress([Stop(0, 0), Stop(1, 500), Stop(2, 900)], k=1, patience=EVERYWHERE)
    assert progress.next() == [0, 1, 2]
    for shard in range(3):
        progress.take(shard, scores(0.5))
    assert progress.next() == []


def walk() -> Walk:
    """Three shards; of the ten nearest, six are on the first, three on the second, one on the third."""
    first, second, third = list(range(6)), [6, 7, 8, *range(6)], [9, *range(3)]
    score = scores(*(1 - number / 10 for number in range(10)))
    stops = [Stop(0, 0), Stop(1, 3), Stop(2, 4)]
    return Walk(stops, {shard: (keys, score[keys]) for shard, keys in enumerate((first, second, third))})


def test_readings_tell_what_each_patience_would_have_found() -> None:
    made = readings([walk()], 10)
    assert [reading.patience for reading in made] == list(PATIENCES)
    assert visited(walk(), 10, 0) == [[0], [1], [2]]  # six and nine are fewer than ten
    assert made[0] == Routing(patience=0, recall=1.0, shards=3.0)
    far, low = [f"far{row}" for row in range(10)], scores(*(-row / 10 for row in range(10)))
    enough = Walk(walk().way, {shard: ([*keys, *far], np.append(found, low)) for shard, (keys, found) in walk().found.items()})
    made = readings([enough], 10)
    assert [(reading.recall, reading.shards) for reading in made[:4]] == [(0.6, 1.0), (0.6, 1.0), (0.6, 1.0), (1.0, 3.0)]
    assert readings([], 10) == ()


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12))
def test_what_is_measured_visits_what_a_query_visits(seed: int, k: int) -> None:
    dice = np.random.default_rng(seed)
    places = np.sort(dice.integers(0, 30, size=8))
    order = dice.permutation(8).tolist()
    score = np.sort(dice.random(40).astype(np.float32))[::-1]
    held = [np.sort(dice.choice(40, size=dice.integers(0, 12), replace=False)) for _ in range(8)]
    one = Walk(
        [Stop(shard, int(place)) for shard, place in zip(order, places, strict=True)],
        {shard: (rows.tolist(), score[rows]) for shard, rows in enumerate(held)},
    )
    steps = steps_of(one, k)
    for patience in PATIENCES:
        assert visits_of(steps, k, patience) == sum(map(len, visited(one, k, patience)))


@pytest.mark.parametrize(("recall", "patience"), [(0.8, 4), (0.9, 8), (0.95, 16), (0.999, EVERYWHERE)])
def test_the_cheapest_patience_that_keeps_recall_is_chosen(recall: float, patience: int) -> None:
    assert choose_patience(DEFAULT, k=10, recall=recall, exact=False, shards=16).patience == patience
    assert choose_patience(DEFAULT, k=10, recall=recall, exact=True, shards=16) == Routing(patience=EVERYWHERE, recall=1.0, shards=16.0)


def test_the_patience_is_one_that_was_measured_for_at_least_as_many_neighbours() -> None:
    measured = (Routing(k=10, patience=1, recall=1.0, shards=1.2), Routing(k=100, patience=6, recall=1.0, shards=3.0))
    chosen = {k: choose_patience(measured, k=k, recall=0.95, exact=False, shards=16).patience for k in (1, 10, 11, 100, 1_000)}
    assert chosen == {1: 1, 10: 1, 11: 6, 100: 6, 1_000: 6}


def test_a_sample_that_may_have_been_lucky_is_not_believed() -> None:
    """Two of 256 stored points that miss everything: the share is 0.992, and another 256 may show 0.98."""
    lumps = Routing(patience=0, recall=0.9931, doubt=0.005, shards=1.0)
    sure = Routing(patience=1, recall=1.0, shards=1.2)
    chosen = {recall: choose_patience((lumps, sure), k=10, recall=recall, exact=False, shards=16).patience for recall in (0.95, 0.99)}
    assert chosen == {0.95: 0, 0.99: 1}


def test_nothing_is_taken_for_granted_of_points_with_one_copy() -> None:
    assert unmeasured(1) == ()
    assert unmeasured(2) == DEFAULT
