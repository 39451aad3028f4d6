"""How few shards a question visits."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.conftest import encode
from paradox.cli import bench
from paradox.cli.bench import routing
from paradox.cli.bench.corpus import Corpus, load
from paradox.cli.bench.routing import Stand, Visited, figures, judged, measure_routing, sentences, stands
from paradox.errors import Missing
from paradox.model.schema import Limits


def row(**changes: object) -> Visited:
    stand = {"vectors": "static", "shards": 16, "copies": 2}
    stand |= {name: changes.pop(name) for name in tuple(stand) if name in changes}
    usual = Visited(stand=Stand(**stand), points=100, largest=1.2, wanted=0.95, recall=0.96, mean=2.5, p95=5, waves=1.5, processor=0.3)
    return msgspec.structs.replace(usual, **changes)


def test_a_row_has_the_form_of_bars_that_have_nothing_to_meet() -> None:
    names = [reading.name for reading in figures(row())]
    head = "shards.static.16_shards.2_copies.recall_0.95.asked"
    assert names == [f"{head}.{figure}" for figure in ("recall", "mean", "p95", "waves", "largest", "processor")]
    assert all(reading.met is None for reading in figures(row()))
    assert len(list(figures(row(processor=None)))) == 5


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, set()),
        ({"mean": 3.1}, {"asked.visited"}),
        ({"p95": 9}, {"asked.p95"}),
        ({"processor": 0.5}, {"asked.processor"}),
        ({"largest": 1.4}, {"largest"}),
        ({"recall": 0.94}, {"asked.recall"}),
    ],
)
def test_what_was_promised_is_judged(changes: dict[str, object], missed: set[str]) -> None:
    readings = list(judged([row(**changes)]))
    assert {reading.name.removeprefix("shards.static.16_shards.2_copies.") for reading in readings if not reading.met} == missed
    assert not list(judged([row(wanted=0.9)]))
    assert not list(judged([row(copies=1)]))


def test_growth_is_judged_by_its_power() -> None:
    grown = [row(shards=shards, mean=mean) for shards, mean in ((4, 2.0), (16, 2.5), (64, 4.0))]
    (power,) = [reading for reading in judged(grown) if reading.unit == "power"]
    assert (power.name, power.value, power.met) == ("shards.static.asked.power_of_shards", 0.25, True)
    grown[2] = row(shards=64, mean=9.0)
    assert [reading.met for reading in judged(grown) if reading.unit == "power"] == [False]


def test_visits_are_counted_and_recall_is_of_the_unsharded_answer(small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.node.embedded.Limits", lambda: Limits(growing_points_max=300, region_points_max=40, region_points_min=4))
    rows = list(measure_routing(small, tmp_path / "database", lambda text: None, Stand(vectors="static", shards=4, copies=2)))
    assert [(one.wanted, one.way) for one in rows] == [(wanted, way) for wanted in routing.RECALLS for way in ("asked", "enough")]
    for one in rows:
        assert one.recall >= one.wanted - 0.03
        assert 1 <= one.waves <= one.mean <= one.p95 <= 4
        assert 1.0 <= one.largest <= 1.5
        assert (one.processor is not None) == (one.way == "asked")
    least = [one.mean for one in rows if one.way == "enough"]
    assert least == sorted(least)


def test_texts_are_encoded_once_as_sentences(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    static = load(cache, "small")
    asked: list[int] = []

    def encoded(texts: list[str]) -> np.ndarray:
        asked.append(len(texts))
        return encode(texts) / np.linalg.norm(encode(texts), axis=1, keepdims=True)

    monkeypatch.setattr(routing, "_encoded", encoded)
    for _ in range(2):
        made = sentences(cache, static, lambda text: None)
    assert asked == [len(static) + len(static.questions)]
    np.testing.assert_allclose(made.vectors, encode(static.texts) / np.linalg.norm(encode(static.texts), axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(made.questions, static.questions, rtol=1e-5)
    assert made.truth.rows.shape == static.truth.rows.shape


def test_a_part_is_measured_by_its_name(cache: Path) -> None:
    assert len(stands(None)) == 10
    assert [(stand.shards, stand.copies) for stand in stands("shards.static.16")] == [(16, 1), (16, 2), (16, 3)]
    parser = ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(Missing, match="begins with 'one'"):
        bench.run(Namespace(json=True, **vars(parser.parse_args(["--cache", str(cache), "--shards", "--only", "one"]))))


def test_the_command_prints_a_line_a_figure(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(routing, "measure_routing", lambda corpus, folder, tell, stand: [row(**msgspec.structs.asdict(stand))])
    monkeypatch.setattr(routing, "_encoded", lambda texts: encode(texts))
    parser = ArgumentParser()
    bench.add_arguments(parser)
    assert bench.run(Namespace(json=True, **vars(parser.parse_args(["--cache", str(cache), "--shards"])))) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["name"].split(".")[1] for line in lines} == {"static", "sentences"}
    assert {line["name"] for line in lines if line["bar"] is not None} >= {
        "shards.static.16_shards.2_copies.asked.visited",
        "shards.sentences.16_shards.2_copies.largest",
        "shards.static.asked.power_of_shards",
    }
