"""What is asked of figures, and a whole run over an exact database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paradox.cli.bench import bars, subject
from paradox.cli.bench.bars import SUITE_BARS, SUITES, Bar, Stage, judge, measure_suite, peer_readings, suites_of
from paradox.cli.bench.contest import PeerResult
from paradox.cli.bench.corpus import load
from paradox.errors import Unavailable


@pytest.fixture
def stage(cache: Path, open_exact: Callable[[Path], Any], tmp_path: Path) -> Iterator[Stage]:
    made = Stage(lambda name: load(cache, name, points=150), open_exact, tmp_path, duration_s=0.02)
    yield made
    made.close()


def peer_result(**changes: Any) -> PeerResult:
    result = PeerResult(
        name="other",
        release="1.0",
        settings="HNSW",
        points=300,
        insert_per_s=1000.0,
        searchable_per_s=500.0,
        effort=40,
        sweep=[(40, 0.96)],
        recall=0.96,
        p50_ms=0.5,
        p99_ms=0.9,
        one_per_s=2000.0,
        eight_per_s=2500.0,
        batch_per_s=None,
        filtered_per_s=100.0,
        filtered_recall=1.0,
        beside_writer_per_s=50.0,
        beside_writer_p99_ms=9.0,
        writer_per_s=100.0,
    )
    return msgspec.structs.replace(result, **changes)


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [("at least", 5.0, True), ("at least", 4.9, False), ("at most", 5.0, True), ("at most", 5.1, False), ("at least", None, None)],
)
def test_a_bar_is_met_at_its_edge_and_beyond(sense: Any, value: float | None, met: bool | None) -> None:
    assert judge(Bar("speed", "calls/s", sense, 5.0), value).met is met


def test_a_figure_without_a_bar_has_nothing_to_meet() -> None:
    reading = judge(Bar("speed", "calls/s"), (3.0, "a note"))
    assert (reading.value, reading.met, reading.note) == (3.0, None, "a note")


def test_suites_are_chosen_by_the_beginning_of_a_bar() -> None:
    assert "large" not in suites_of(None)
    assert suites_of("filter.correlated") == ["filter"]
    assert suites_of("one.p50") == ["one"]
    assert suites_of("nothing of that name") == []


def test_every_suite_has_bars_and_every_name_is_used_once() -> None:
    assert list(SUITES) == list(SUITE_BARS)
    names = [bar.name for suite in SUITE_BARS.values() for bar in suite]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("suite", ["bulk", "single", "one", "many", "threads", "filter", "writer"])
def test_a_suite_gives_every_figure_it_promised(stage: Stage, suite: str) -> None:
    readings = list(measure_suite(stage, suite))
    assert [reading.name for reading in readings] == [bar.name for bar in SUITE_BARS[suite]]
    unmeasured = [reading.name for reading in readings if reading.value is None and "peer" not in reading.name]
    assert unmeasured == []
    assert all(reading.value == 1 for reading in readings if reading.name.endswith("recall"))


def test_a_database_that_finds_the_wrong_points_does_not_meet_recall(
    cache: Path, tmp_path: Path, open_exact: Callable[[Path], Any]
) -> None:
    def open_backward(folder: Path) -> Any:
        database = open_exact(folder)
        collection = database.collection("points", dimensions=16)
        right = collection.search
        collection.search = lambda query, k=10, **options: right(-query, k, **options)
        return database

    stage = Stage(lambda name: load(cache, name, points=300), open_backward, tmp_path, duration_s=0.02)
    reading = next(measure_suite(stage, "one"))
    stage.close()
    assert reading.name == "one.recall"
    assert reading.met is False


def test_paradox_is_compared_with_the_best_peer_that_finds_enough(stage: Stage) -> None:
    stage.peers = [
        peer_result(name="fast but blind", recall=0.5, one_per_s=1e9),
        peer_result(name="good", one_per_s=10.0),
        peer_result(one_per_s=5.0),
    ]
    readings = {reading.name: reading for reading in measure_suite(stage, "one")}
    against, rate = readings["one.times_best_peer"], readings["one.rate"].value
    assert rate is not None
    assert against.value == pytest.approx(rate / 10)
    assert against.note.startswith("good")


def test_a_peers_figures_have_the_form_of_bars() -> None:
    readings = peer_readings(peer_result())
    assert readings[0].name == "peer.other.insert_per_s"
    assert all(reading.bar is None and reading.met is None for reading in readings)


def test_a_suite_that_fails_says_why_for_each_bar_it_leaves(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*unused: object) -> float:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(bars, "recall_reached_many", fail)
    readings = list(measure_suite(stage, "many"))
    assert {reading.note for reading in readings} == {"the disk is gone"}
    assert all(reading.value is None and reading.met is None for reading in readings)


def test_payloads_are_read_as_a_user_reads_them(stage: Stage) -> None:
    collection = stage.main.collection
    found = subject.asking(collection, stage.main.corpus.questions, 0.9)(0)
    assert found == stage.main.corpus.truth.rows[0].tolist()
