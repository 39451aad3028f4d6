from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paradox.planner.fusion import fuse_ranks

rankings_of_numbers = st.lists(st.lists(st.integers(-5, 30), unique=True, max_size=12), max_size=4)


def fused(rankings: list[list[int]], limit: int = 100, constant: int = 60) -> list[int]:
    arrays = [np.array(ranking, dtype=np.int64) for ranking in rankings]
    return fuse_ranks(arrays, limit=limit, constant=constant)[1].tolist()


@given(rankings_of_numbers, st.integers(0, 20), st.integers(0, 100))
def test_fuses_as_the_sum_of_reciprocal_ranks(rankings: list[list[int]], limit: int, constant: int) -> None:
    wanted: dict[int, float] = {}
    for ranking in rankings:
        for place, number in enumerate(ranking, start=1):
            wanted[number] = wanted.get(number, 0.0) + 1 / (constant + place)
    arrays = [np.array(ranking, dtype=np.int64) for ranking in rankings]
    scores, numbers = fuse_ranks(arrays, limit=limit, constant=constant)
    assert scores.dtype == np.float32
    assert numbers.dtype == np.int64
    order = sorted(wanted, key=lambda number: (-np.float32(wanted[number]), number))
    assert numbers.tolist() == order[:limit]
    np.testing.assert_allclose(scores, [wanted[number] for number in order[:limit]], rtol=1e-6)


def test_what_both_rankings_name_beats_what_one_names_first() -> None:
    assert fused([[1, 2, 3], [4, 2, 5]])[0] == 2


def test_ties_come_by_number() -> None:
    assert fused([[7, 3], [3, 7], [9], [1]]) == [3, 7, 1, 9]


def test_the_order_of_the_rankings_changes_nothing() -> None:
    rankings = [[5, 2, 8, 1], [2, 9, 5], [8]]
    assert fused(rankings) == fused(rankings[::-1])


def test_a_number_named_twice_counts_at_its_better_place() -> None:
    assert fused([[4, 1, 4], [1, 4]]) == fused([[4, 1], [1, 4]])


def test_nothing_fuses_to_nothing() -> None:
    assert fused([]) == fused([[], []]) == fused([[1]], limit=0) == []
