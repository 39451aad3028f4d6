"""`paradox bench` itself."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paradox.cli import bench
from paradox.cli.bench import bars, contest, peers
from paradox.cli.bench.installing import import_cost, installed_packages
from paradox.errors import ExtraMissing, Missing, NumberRange


@pytest.fixture
def arguments(cache: Path, open_exact: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Namespace]:
    monkeypatch.setattr(bench, "_connect", open_exact)
    parser = ArgumentParser()
    bench.add_arguments(parser)

    def read(*words: str, json: bool = False) -> Namespace:
        return Namespace(json=json, **vars(parser.parse_args(["--cache", str(cache), "--seconds", "0.02", *words])))

    return read


def test_json_is_one_line_a_bar(arguments: Callable[..., Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(arguments("--only", "many", json=True)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == ["many.recall", "many.rate"]
    assert all({"name", "value", "unit", "bar", "met"} <= set(line) for line in lines)
    assert lines[0]["met"] is True


def test_people_get_a_table(arguments: Callable[..., Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(arguments("--only", "many.recall"))
    shown = capsys.readouterr().out
    assert "many.recall" in shown
    assert "≥ 0.99" in shown
    assert "many.rate" not in shown


def test_a_bar_that_could_not_be_measured_makes_the_answer_partial(
    arguments: Callable[..., Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "installed_packages", lambda: None)
    assert bench.run(arguments("--only", "install.packages")) == 6


def test_a_comparison_that_was_not_asked_for_is_no_failure(arguments: Callable[..., Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(arguments("--only", "one.times", json=True)) == 0
    assert json.loads(capsys.readouterr().out)["value"] is None


def test_a_name_that_no_bar_has_is_an_error(arguments: Callable[..., Namespace]) -> None:
    with pytest.raises(Missing, match="no bar's name begins with 'nothing'"):
        bench.run(arguments("--only", "nothing"))


def test_too_few_points_are_refused(arguments: Callable[..., Namespace]) -> None:
    with pytest.raises(NumberRange, match="--points 5; expected 100 or more"):
        bench.run(arguments("--points", "5"))


def test_preparing_again_says_what_is_there(arguments: Callable[..., Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(arguments("--prepare", "large", json=True)) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 640


def test_peers_that_are_not_there_are_told_and_skipped(
    arguments: Callable[..., Namespace], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "is_installed", lambda name: False)
    assert bench.run(arguments("--only", "many.rate", "--peers")) == 0
    assert "lancedb: not installed" in capsys.readouterr().out


def test_a_peer_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "is_installed", lambda name: False)
    with pytest.raises(ExtraMissing) as caught:
        peers.make("zvec")
    assert caught.value.hint == "pip install 'paradox-memory[bench]'"


def test_packages_are_counted_through_what_they_need_in_turn() -> None:
    assert installed_packages("hypothesis") == ["sortedcontainers"]
    brought = installed_packages("rich")
    assert brought is not None
    assert {"markdown-it-py", "mdurl", "pygments"} <= set(brought)
    assert "ipywidgets" not in brought


def test_a_distribution_that_is_not_there_brings_no_count() -> None:
    assert installed_packages("a-name-that-nobody-gave") is None


def test_importing_costs_something_that_can_be_measured() -> None:
    cost = import_cost()
    assert 0 < cost.elapsed_s < 10
    assert cost.resident_bytes > 1 << 20
