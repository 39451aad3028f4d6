"""The benchmark's points, questions and true answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.conftest import encode, passages
from paradox.cli.bench import corpus
from paradox.cli.bench.corpus import build, find_truth, load, prepare_large, prepare_small, read_lines, read_manifest, recall
from paradox.cli.bench.sources import Passage
from paradox.errors import Missing, SegmentCorrupt


def silent(text: str) -> None:
    """Hear nothing."""


def test_a_corpus_is_the_same_every_time_it_is_made(tmp_path: Path) -> None:
    first = build(tmp_path / "first", "large", passages(300), silent, encode)
    second = build(tmp_path / "second", "large", passages(300), silent, encode)
    assert first == second
    assert (tmp_path / "first/large.npy").read_bytes() == (tmp_path / "second/large.npy").read_bytes()


def test_every_vector_is_its_own_text_and_of_unit_length(cache: Path) -> None:
    made = read_manifest(cache, "large")
    assert made is not None
    vectors = np.load(cache / "large.npy")
    lines = read_lines(cache / "large.jsonl", made.points)
    wanted = encode([line.text for line in lines])
    np.testing.assert_allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_that_comes_twice_is_one_point_of_its_first_source(tmp_path: Path) -> None:
    twice = [*passages(50), *(Passage("late", passage.text) for passage in passages(50))]
    made = build(tmp_path, "large", twice, silent, encode)
    assert made.points == 50
    assert made.sources == {"even": 25, "odd": 25}


def test_questions_are_never_among_the_points(cache: Path) -> None:
    whole = load(cache, "large")
    assert len(whole) == 600
    assert len(whole.questions) == 40
    everything = np.load(cache / "large.npy")
    np.testing.assert_array_equal(whole.questions, everything[600:])
    np.testing.assert_array_equal(whole.vectors, everything[:600])


def test_the_small_set_is_the_beginning_of_the_large_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "SMALL_POINTS", 100)
    small, large = load(cache, "small"), load(cache, "large")
    assert len(small) == 100
    np.testing.assert_array_equal(small.vectors, large.vectors[:100])
    np.testing.assert_array_equal(small.questions, large.questions)
    assert small.texts == large.texts[:100]


def test_without_debian_and_a_large_set_a_small_one_is_made_of_the_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "small_passages", lambda: passages(500))
    monkeypatch.setattr(corpus, "SMALL_POINTS", 200)
    made = prepare_small(tmp_path, silent, encode)
    assert (made.name, made.points) == ("small", 240)
    assert len(load(tmp_path, "small")) == 200
    with pytest.raises(Missing, match="the large set is not in"):
        load(tmp_path, "large")


def test_what_is_missing_is_told_and_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_debian: None) -> None:
    monkeypatch.setattr(corpus, "large_passages", lambda debian: passages(200))
    said: list[str] = []
    made = prepare_large(tmp_path, said.append, encode)
    assert made.missing["wordnet-base"] == "this machine has no apt-get"
    assert any("without dict-gcide" in line for line in said)
    assert any("only 200 points could be made" in line for line in said)


def test_a_corpus_is_made_once(cache: Path) -> None:
    said: list[str] = []
    made = prepare_large(cache, said.append)
    assert made.points == 640
    assert said == [f"the large set is there: 640 points in {cache}"]


def test_a_set_that_was_not_prepared_is_an_error_with_the_command_that_does(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        load(tmp_path, "large")
    assert "paradox bench --prepare large" in caught.value.hint


def test_half_a_corpus_is_not_taken_for_one(cache: Path) -> None:
    np.save(cache / "large.npy", np.load(cache / "large.npy")[:10])
    with pytest.raises(SegmentCorrupt, match="its manifest says"):
        load(cache, "large")


def test_a_damaged_manifest_is_named(cache: Path) -> None:
    (cache / "large.json").write_text("{")
    with pytest.raises(SegmentCorrupt, match=r"large\.json"):
        load(cache, "large")


def test_true_answers_are_kept_and_taken_from_the_cache(cache: Path) -> None:
    first = load(cache, "large")
    (kept,) = cache.glob("truth-*-600.npz")
    before = kept.stat().st_mtime_ns
    second = load(cache, "large")
    np.testing.assert_array_equal(first.truth.rows, second.truth.rows)
    assert kept.stat().st_mtime_ns == before


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), asked=st.integers(1, 5), block=st.integers(1, 30), seed=st.integers(0, 1000), filtered=st.booleans())
def test_truth_is_what_sorting_everything_gives(count: int, asked: int, block: int, seed: int, filtered: bool) -> None:
    dice = np.random.default_rng(seed)
    vectors, questions = dice.standard_normal((count, 6)).astype(np.float32), dice.standard_normal((asked, 6)).astype(np.float32)
    rows = np.flatnonzero(dice.random(count) < 0.5) if filtered else None
    kept, corpus.BLOCK_POINTS = corpus.BLOCK_POINTS, block
    try:
        truth = find_truth(vectors, questions, rows)
    finally:
        corpus.BLOCK_POINTS = kept
    candidates = np.arange(count) if rows is None else rows
    for question, found, floor in zip(questions, truth.rows, truth.floor, strict=True):
        ordered = candidates[np.argsort(-(vectors[candidates] @ question), kind="stable")][:10]
        assert found[found >= 0].tolist() == ordered.tolist()
        assert floor == pytest.approx(vectors[ordered[-1]] @ question if len(ordered) else np.inf, rel=1e-5, abs=1e-5)


def test_recall_counts_what_was_found(small: corpus.Corpus) -> None:
    right = small.truth.rows.tolist()
    assert recall(right, small.truth, small.vectors, small.questions) == 1
    half = [rows[:5] for rows in right]
    assert recall(half, small.truth, small.vectors, small.questions) == pytest.approx(0.5)
    assert recall([[] for _ in right], small.truth, small.vectors, small.questions) == 0


def test_recall_is_not_raised_by_repeats(small: corpus.Corpus) -> None:
    repeated = [[rows[0]] * 10 for rows in small.truth.rows.tolist()]
    assert recall(repeated, small.truth, small.vectors, small.questions) == pytest.approx(0.1)


def test_recall_takes_an_equally_near_point_for_a_true_one() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8]] + [[0, 1]] * 9, dtype=np.float32)
    question = np.array([[1, 0]], dtype=np.float32)
    truth = corpus.Truth(rows=np.array([[0, 1]]), floor=np.array([0.6], dtype=np.float32))
    assert recall([[0, 2]], truth, vectors, question) == 1
    assert recall([[0, 5]], truth, vectors, question) == 0.5


def test_recall_under_a_filter_does_not_count_what_breaks_it() -> None:
    vectors = np.eye(3, dtype=np.float32)
    question = np.array([[3, 2, 1]], dtype=np.float32)
    allowed = np.array([False, True, True])
    truth = find_truth(vectors, question, np.flatnonzero(allowed))
    assert recall([[1, 2]], truth, vectors, question, allowed) == 1
    assert recall([[0, 1]], truth, vectors, question, allowed) == 0.5
