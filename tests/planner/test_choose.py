"""Choosing the way: the promise of recall first, then the cheapest."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradox.model.recall import Curve, Reading
from paradox.planner.choose import CODED_DIMENSIONS_MIN, NEIGHBOURS, Choice, Costs, Terrain, cautious, choose


def terrain(
    rows: int = 100_000, *, allowed: int | None = None, scan: Curve | None = None, probe: Curve | None = None, dimensions: int = 256
) -> Terrain:
    return Terrain(rows=rows, dimensions=dimensions, allowed=allowed, filtered=allowed is not None, scan_curve=scan, probe_curve=probe)


def curve(*readings: tuple[int, float, float], listed: float = 2_000.0) -> Curve:
    return Curve(readings=tuple(Reading(probes=p, depth=d, recall=r) for p, d, r in readings), listed=listed, sample=128)


SCAN = curve((0, 2.0, 0.97), (0, 4.0, 0.991), (0, 8.0, 0.9995))
PROBE = curve((4, 2.0, 0.9), (8, 2.0, 0.96), (8, 4.0, 0.97), (32, 4.0, 0.998))


def way(terrain: Terrain, *, k: int = 10, recall: float = 0.95, exact: bool = False, costs: Costs | None = None) -> Choice:
    return choose(terrain, k=k, recall=recall, exact=exact, costs=costs or Costs())


def test_where_nothing_may_answer_nothing_is_looked_at() -> None:
    assert way(terrain(allowed=0)).way == "nothing"
    assert way(terrain(0)).way == "nothing"
    assert way(terrain(allowed=0), exact=True).recall == 1.0


@pytest.mark.parametrize("asked", [{"exact": True}, {"recall": 1.0}])
def test_what_is_asked_to_be_exact_is(asked: dict[str, float]) -> None:
    choice = way(terrain(scan=SCAN, probe=PROBE), **asked)  # type: ignore[arg-type]
    assert (choice.way, choice.recall, choice.depth) == ("exact", 1.0, 100_000)


def test_few_matches_are_scored_exactly_and_many_through_the_index() -> None:
    assert way(terrain(allowed=20)).way == "exact"
    assert way(terrain(allowed=1_000)).way == "exact"
    assert way(terrain(allowed=50_000)).way == "scan"


def test_a_filter_never_probes() -> None:
    """It can leave the neighbours anywhere."""
    cheap = Costs(probe_call_us=0.0, probe_row_us=0.0, scan_row_us=100.0, masked_row_us=100.0, exact_row_us=100.0)
    assert way(terrain(probe=PROBE), costs=cheap).way == "probe"
    assert way(terrain(allowed=50_000, probe=PROBE), costs=cheap).way != "probe"


def test_a_large_segment_is_probed_and_a_small_one_scanned() -> None:
    assert way(terrain(1_000_000, scan=SCAN, probe=PROBE)).way == "probe"
    assert way(terrain(20_000, scan=SCAN, probe=PROBE)).way == "scan"


def test_what_was_measured_counts_more_than_what_is_typical() -> None:
    """A processor that reads codes slowly, and one list of all rows that it reads faster: also under filters, since it has them all."""
    packed = curve((1, 3.0, 0.998), listed=100_000.0)
    slow = msgspec.structs.replace(terrain(scan=SCAN, probe=packed), scan_row_us=0.03, list_row_us=0.006)
    assert way(slow).way == "packed"
    assert way(msgspec.structs.replace(slow, allowed=50_000, filtered=True)).way == "packed"
    assert way(msgspec.structs.replace(slow, allowed=500, filtered=True)).way == "exact"
    assert way(terrain(scan=SCAN, probe=packed)).way == "scan"
    assert way(msgspec.structs.replace(terrain(20_000, scan=SCAN, probe=PROBE), list_row_us=0.0001)).way == "probe"
    assert way(msgspec.structs.replace(terrain(1_000_000, scan=SCAN, probe=PROBE), scan_row_us=0.0001)).way == "scan"


def test_a_depth_that_needs_no_second_look_is_taken_though_it_is_deeper() -> None:
    at = curve((0, 2.0, 0.97), (0, 4.0, 0.999), (0, 8.0, 1.0))
    assert way(terrain(scan=at)).depth == 40
    assert way(terrain(scan=at, allowed=99_000)).depth == 20  # under a filter a reading is not believed, however deep


def test_the_cheapest_reading_that_keeps_the_promise_is_taken() -> None:
    cheap = Costs(scan_row_us=1.0, exact_row_us=1.0)
    at = {recall: way(terrain(probe=PROBE), recall=recall, costs=cheap) for recall in (0.8, 0.94, 0.95, 0.99)}
    assert [(choice.probes, choice.depth) for choice in at.values()] == [(4, 20), (8, 20), (8, 40), (32, 40)]


def test_a_promise_that_no_index_keeps_is_kept_exactly() -> None:
    weak = curve((0, 16.0, 0.7))
    assert way(terrain(scan=weak, probe=curve((4, 2.0, 0.6)))).way == "exact"


def test_what_is_not_measured_is_looked_at_deeply_enough() -> None:
    assert way(terrain(30_000)).depth < way(terrain(40_000)).depth, "large indexes search in stages, which lose more"
    assert way(terrain(30_000, dimensions=CODED_DIMENSIONS_MIN - 1)).way == "exact", "few dimensions make coarse codes"


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_few_nearest_need_as_many_candidates_as_recall_was_measured_with(k: int) -> None:
    assert way(terrain(scan=SCAN), k=k).depth == way(terrain(scan=SCAN), k=NEIGHBOURS).depth


curves = st.none() | st.lists(
    st.tuples(st.integers(0, 64), st.sampled_from([1.5, 2.0, 4.0, 16.0]), st.floats(0.1, 1.0)), min_size=1, max_size=6
).map(lambda readings: curve(*readings))


@given(
    rows=st.integers(0, 10**7),
    share=st.none() | st.floats(0, 1),
    scan=curves,
    probe=curves,
    k=st.integers(1, 10_000),
    recall=st.floats(0.01, 1.0),
    exact=st.booleans(),
    dimensions=st.sampled_from([2, 64, 1_024]),
)
def test_the_promise_is_always_kept_on_paper(
    rows: int, share: float | None, scan: Curve | None, probe: Curve | None, k: int, recall: float, exact: bool, dimensions: int
) -> None:
    allowed = None if share is None else int(share * rows)
    choice = way(terrain(rows, allowed=allowed, scan=scan, probe=probe, dimensions=dimensions), k=k, recall=recall, exact=exact)
    may_answer = rows if allowed is None else allowed
    assert choice.recall >= cautious(recall) or choice.recall == 1.0
    assert (choice.way == "nothing") == (may_answer == 0)
    if exact and may_answer:
        assert choice.way == "exact"
    if choice.way == "probe":
        assert allowed is None
        assert probe is not None
    if choice.way in ("scan", "probe"):
        assert choice.depth >= k
        everything = way(terrain(rows, allowed=allowed, dimensions=dimensions), k=k, exact=True)
        assert choice.cost_us <= everything.cost_us


@given(recall=st.floats(0.01, 0.999))
def test_more_is_asked_of_a_curve_than_was_promised_but_not_the_impossible(recall: float) -> None:
    assert recall < cautious(recall) <= 0.998 or recall >= 0.998
