"""How the cost of a question grows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from paradox.cli.bench import growth
from paradox.cli.bench.corpus import Corpus
from paradox.cli.bench.growth import Cost, exponents, judge_picks, measure_costs, repeat_with_noise
from paradox.cli.bench.subject import COLLECTION, settle
from paradox.client.sync import Database
from paradox.node.embedded import EmbeddedDatabase, open_folder
from paradox.shard import probing


def cost(**changes: object) -> Cost:
    usual = Cost(points=100, way="scan", asked=0.9, recall=1.0, p50_ms=1.0, per_s=1000.0, bytes_read=100.0, segments={"scan": 1})
    return msgspec.structs.replace(usual, **changes)


def test_the_pick_is_compared_with_the_better_way() -> None:
    costs = [cost(p50_ms=3.0), cost(way="regions", p50_ms=2.0, segments={"probe": 1}), cost(way="planner", p50_ms=2.5)]
    (pick,) = judge_picks(costs)
    assert (pick.better, pick.times_better, pick.same, pick.met) == ("regions", 1.25, False, False)


def test_a_pick_that_does_what_the_better_way_does_is_not_judged_by_chance() -> None:
    (pick,) = judge_picks([cost(p50_ms=3.0), cost(way="regions", p50_ms=2.0), cost(way="planner", p50_ms=2.5)])
    assert (pick.times_better, pick.same, pick.met) == (1.25, True, True)
    assert growth.pick_reading(pick).value == 1.0


def test_costs_and_picks_have_the_form_of_bars() -> None:
    names = [reading.name for reading in growth.cost_readings(cost())]
    assert names == [f"growth.100.recall_0.9.scan.{figure}" for figure in ("recall", "p50_ms", "per_s", "bytes_read")]
    (pick,) = judge_picks([cost(), cost(way="regions", p50_ms=2.0), cost(way="planner", p50_ms=1.2, bytes_read=90.0)])
    reading = growth.pick_reading(pick)
    assert (reading.name, reading.bar, reading.met) == ("growth.100.recall_0.9.times_better_way", 1.2, True)


def test_growth_is_told_as_a_power() -> None:
    (line,) = exponents([cost(), cost(points=10_000, p50_ms=10.0, bytes_read=10_000.0)])
    assert line == "recall 0.9, scan: time grows with the power 0.50 of the points, bytes read with 1.00"


def test_repeats_lie_near_their_originals_but_are_others(tmp_path: Path, small: Corpus) -> None:
    count = len(small)
    more = repeat_with_noise(small.vectors, 2 * count + 7, tmp_path / "more.npy")
    np.testing.assert_allclose(more[:count], small.vectors, atol=1e-6)
    nearness = np.einsum("nd,nd->n", more[count : 2 * count], more[:count])
    assert 0.8 < nearness.mean() < 0.99
    np.testing.assert_allclose(np.linalg.norm(more, axis=1), 1, atol=1e-5)


def test_costs_are_measured_in_each_way_at_each_recall(small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "RECALLS", (0.9,))
    costs = list(measure_costs(small, tmp_path / "database", lambda text: None, duration_s=0.02))
    assert [measured.way for measured in costs] == ["scan", "regions", "planner"]
    assert all(measured.recall > 0.9 and measured.bytes_read > 0 for measured in costs)


def test_a_segment_with_lists_of_regions_is_read_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(0)
    monkeypatch.setattr(probing, "PROBE_POINTS_MIN", 10_000)
    transport = open_folder(str(tmp_path / "database"), read_only=False, origin="", timeout_s=5.0)
    assert isinstance(transport, EmbeddedDatabase)
    centres = dice.standard_normal((40, 64))
    vectors = (centres[dice.integers(0, 40, 20_000)] + 0.5 * dice.standard_normal((20_000, 64))).astype(np.float32)
    with Database(transport) as database:
        database.collection(COLLECTION, dimensions=64).add(vectors=vectors)
        settle(database)
        engine = transport.opened(COLLECTION).held.engine
        usual, picked = engine.costs, {}
        for way in growth.WAYS:
            with growth.forced(engine, way):
                picked[way] = {visit.choice.way for visit in growth.visits_of(transport, vectors[:1], 0.9)}
        timed = [column.scan_row_us for segment in engine.segments() for column in segment.vectors.values()]
    assert picked["scan"] == {"scan"}
    assert picked["regions"] == {"probe"}
    assert picked["planner"] <= {"scan", "probe"}
    assert engine.costs == usual
    assert growth.DEAR_US not in timed


def test_a_packed_segment_is_read_where_its_codes_stand_or_by_its_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PACKED_POINTS_MIN", 10_000)
    monkeypatch.setattr(probing, "SLOW_ROW_US", 0.0)  # as on a processor without AVX-512
    transport = open_folder(str(tmp_path / "database"), read_only=False, origin="", timeout_s=5.0)
    assert isinstance(transport, EmbeddedDatabase)
    vectors = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
    with Database(transport) as database:
        collection = database.collection(COLLECTION, dimensions=64)
        collection.add(vectors=vectors)
        settle(database)
        collection.search(vectors[0])  # codes that nobody asks for are not timed, and so not packed
        settle(database)
        engine, picked = transport.opened(COLLECTION).held.engine, {}
        for way in ("scan", "regions"):
            with growth.forced(engine, way):
                picked[way] = {visit.choice.way for visit in growth.visits_of(transport, vectors[:1], 0.9)}
    assert picked == {"scan": {"scan"}, "regions": {"packed"}}
