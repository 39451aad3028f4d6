"""Latencies, callers, memory and children."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradox.cli.bench.timing import WARM_UP_CALLS, anonymous_bytes, in_child, measure, quantile, writing
from paradox.errors import Unavailable


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from((0.5, 0.9, 0.99, 1.0)))
def test_a_quantile_is_the_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    ascending = np.sort(np.array(values))
    assert quantile(ascending, share) == np.quantile(ascending, share, method="inverted_cdf")


def test_every_call_of_every_caller_is_counted() -> None:
    lock = threading.Lock()
    asked: list[int] = []

    def ask(number: int) -> None:
        with lock:
            asked.append(number)

    speed = measure(ask, callers=3, duration_s=0.05)
    assert speed.calls == len(asked) - WARM_UP_CALLS
    assert speed.callers == 3
    assert 0 < speed.p50_ms <= speed.p99_ms


def test_callers_never_ask_the_same_number_at_once() -> None:
    lock = threading.Lock()
    asked: list[int] = []

    def ask(number: int) -> None:
        with lock:
            asked.append(number)

    measure(ask, callers=4, duration_s=0.02)
    measured = asked[WARM_UP_CALLS:]
    assert len(set(measured)) == len(measured)


def test_a_call_that_fails_is_not_hidden() -> None:
    def ask(number: int) -> None:
        if number > 50:
            raise ValueError("fifty")

    with pytest.raises(ValueError, match="fifty"):
        measure(ask, callers=2, duration_s=5)


def test_a_writer_counts_its_points_and_stops_with_the_block() -> None:
    turns: list[int] = []

    def write(turn: int) -> int:
        turns.append(turn)
        return 7

    with writing(write) as writer:
        assert writer.points >= 7
    assert writer.points == 7 * len(turns)
    assert turns == list(range(len(turns)))
    assert writer.per_s > 0


def test_a_write_that_fails_is_not_hidden() -> None:
    def write(turn: int) -> int:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), writing(write):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
def test_memory_that_no_file_backs_is_seen() -> None:
    before = anonymous_bytes()
    held = np.ones(32 << 20, dtype=np.uint8)
    after = anonymous_bytes()
    assert before is not None
    assert after is not None
    assert after - before > held.nbytes * 0.9


def test_a_child_that_dies_is_told_with_its_last_words() -> None:
    with pytest.raises(Unavailable, match="measuring nothing failed with code 1: KeyError: 'nothing'"):
        in_child("nothing")


def test_a_child_that_meets_an_error_of_ours_says_it() -> None:
    with pytest.raises(Unavailable, match="measuring peer failed with code 1: the small set is not in nowhere"):
        in_child("peer", name="zvec", cache="nowhere", points=1, duration_s=1)
