"""Worlds: every promise is kept in all that ever broke one, and checkers catch mistakes that are planted."""

from __future__ import annotations

import pytest

from paradox.sim.world import live_through
from sim.planted import PLANTED

BROKE_ONCE = (3, 7, 9, 12, 14, 18, 19, 1255914266, 1294877527, 1945750667)
"""Seeds that found a mistake. None is ever taken out."""

CAUGHT = {
    "the_log_acknowledges_before_it_syncs": 10,
    "the_log_ignores_conditions": 0,
    "disks_do_not_sync": 22,
    "two_nodes_write_at_once": 1,
    "a_write_asked_of_two_nodes_is_done_twice": 61,
    "copies_outlive_a_delete": 0,
    "a_node_skips_an_entry": 0,
    "reads_do_not_wait_for_what_was_written": 5,
    "answers_leave_out_who_is_down": 23,
    "nodes_are_read_wherever_they_stand": 16,
    "coverage_is_always_whole": 51,
    "manifests_that_others_need_are_deleted": 52,
    "the_log_is_trimmed_too_early": 7,
}
"""Worlds in which each planted bug shows."""


@pytest.mark.parametrize("seed", BROKE_ONCE)
def test_a_seed_that_broke_a_promise_keeps_it(seed: int) -> None:
    report = live_through(seed)
    assert not report.violations, "\n".join(report.violations)
    assert report.acknowledged > 100
    assert report.read > 10


def test_a_seed_is_one_world() -> None:
    assert live_through(11) == live_through(11)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("bug", "seed"), CAUGHT.items())
def test_checkers_catch_a_planted_bug(monkeypatch: pytest.MonkeyPatch, bug: str, seed: int) -> None:
    """In one of a dozen worlds, which all go well without it: see above, and below."""
    for one in (seed, *range(20, 32)):
        if live_through(one, twist=lambda world: PLANTED[bug](monkeypatch, world)).violations:
            return
    pytest.fail(f"nobody saw that {bug.replace('_', ' ')}")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", sorted({*CAUGHT.values(), *range(20, 33)}))
def test_a_world_of_a_planted_bug_goes_well_without_it(seed: int) -> None:
    assert not live_through(seed).violations


def test_every_planted_bug_is_looked_for() -> None:
    assert CAUGHT.keys() == PLANTED.keys()
