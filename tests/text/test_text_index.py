from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradox.errors import InternalError, QueryInvalid
from paradox.index import text as text_module
from paradox.index.text import TantivyText, rarity
from paradox.ports.text import TextStatistics
from text.oracle import expect_ranked, scores

FIELDS = ("title", "body.main part")
WORDS = [f"{first}{second}" for first in "bdfgk" for second in "aou"]  # too short for any stemming rule
word_lists = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
rows_of_text = st.lists(st.dictionaries(st.sampled_from(FIELDS), word_lists), min_size=1, max_size=40)


def index_of(texts: Sequence[Mapping[str, str]], fields: tuple[str, ...] = FIELDS, *, batch: int = 1_000) -> TantivyText:
    index = TantivyText.create(None, fields)
    for first in range(0, len(texts), batch):
        index.add(first, texts[first : first + batch])
    return index


def found(index: TantivyText, query: str, depth: int = 10) -> list[int]:
    return index.search(query, depth)[1].tolist()


def bodies(*texts: str) -> TantivyText:
    return index_of([{"body": text} for text in texts], ("body",))


# Words


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("The tides turned at noon", "tide turning"),
        ("RUST never sleeps", "rust"),
        ("un café crème", "CAFE"),
        ("cafe\u0301 au lait", "café"),
        ("Ｆｕｌｌ width", "full"),
        ("海は青い", "海"),
        ("東京都に住む", "東京"),
        ("Москва не сразу строилась", "москва"),
        ("हिन्दी भाषा", "हिन्दी"),
        ("see example.com/path_to", "example"),
        ("it's 3.5 metres", "3"),
    ],
)
def test_words_are_found_however_they_are_written(text: str, query: str) -> None:
    assert found(bodies("something else", text), query) == [1]


def test_a_word_found_in_two_fields_counts_twice() -> None:
    index = index_of([{"title": "ba", "body": "do"}, {"title": "ba", "body": "ba"}, {"body": "fu"}], ("title", "body"))
    assert found(index, "ba") == [1, 0]
    assert index.search("ba", 10, fields=["body"])[1].tolist() == [1]


def test_any_word_of_the_query_is_enough_and_more_are_better() -> None:
    assert found(bodies("ba do", "do", "ba do fu", "ku"), "ba fu") == [2, 0]


@pytest.mark.parametrize(
    "query", ["", " ", '"', "((", "a:b:", "body:", "+-!*?~^", "🌊", "\\", "AND OR NOT", "\x00", "\ud800", "[1 TO", "é" * 9_000]
)
def test_odd_queries_are_only_words(query: str) -> None:
    nearness, rows = bodies("the sea", "the sky").search(query, 5)
    assert nearness.dtype == np.float32
    assert rows.dtype == np.int64
    assert len(nearness) == len(rows) == 0


def test_operators_are_words_too() -> None:
    assert found(bodies("the sea", "to be or not to be"), "sea AND NOT body:sky OR") == [1, 0]


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_and_no_query_is_ever_refused(text: str, query: str) -> None:
    index = bodies(text, "the sea")
    nearness, rows = index.search(query, 5)
    assert len(nearness) == len(rows) <= 2
    has_words = bool(index.statistics(text).counts)
    assert (0 in found(index, text)) == has_words


def test_a_query_as_long_as_a_book_is_cut_to_its_first_words() -> None:
    index = bodies("first", "last")
    assert found(index, "first " + "x" * text_module.QUERY_CHARACTERS_MAX + " last") == [0]


def test_an_undeclared_field_is_an_error_that_names_the_declared() -> None:
    with pytest.raises(QueryInvalid, match=r"'abstract' is not under full-text search.*'body'"):
        bodies("the sea").search("sea", 5, fields=["abstract"])


# Ranking


@given(rows_of_text, word_lists, st.integers(1, 12), st.sampled_from([1, 3, 1_000]))
@settings(max_examples=40, deadline=None)
def test_ranks_as_bm25_by_hand(texts: list[dict[str, str]], query: str, depth: int, batch: int) -> None:
    index = index_of(texts, batch=batch)
    expect_ranked(index, query, scores(texts, query, FIELDS), depth)


@given(rows_of_text, word_lists, st.integers(1, 12), st.integers(1, 8), st.data())
@settings(max_examples=40, deadline=None)
def test_ranks_as_bm25_by_hand_in_many_internal_segments_and_under_a_mask(
    texts: list[dict[str, str]], query: str, depth: int, batch: int, data: st.DataObject
) -> None:
    index = index_of(texts[:0])
    for first in range(0, len(texts), batch):
        index.add(first, texts[first : first + batch])
        index.search("ba", 1)
    allow = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), dtype=np.bool_)
    expect_ranked(index, query, scores(texts, query, FIELDS), depth, allow)


@pytest.mark.parametrize(("listed_max", "fetched_first_max"), [(0, 4_096), (4_000, 4_096), (4_000, 10)])
@pytest.mark.parametrize("every", [2, 50, 999])
def test_allowed_rows_are_all_found_however_rare_they_are(
    monkeypatch: pytest.MonkeyPatch, every: int, listed_max: int, fetched_first_max: int
) -> None:
    monkeypatch.setattr(text_module, "ALLOWED_ROWS_LISTED_MAX", listed_max)
    monkeypatch.setattr(text_module, "FETCHED_FIRST_MAX", fetched_first_max)
    texts = [{"title": "ba " + "do " * (row % 3)} for row in range(4_000)]
    index = index_of(texts, batch=1_000)
    allow = np.arange(4_000) % every == 1
    expect_ranked(index, "ba do", scores(texts, "ba do", FIELDS), 100, allow)


def test_rows_newer_than_the_mask_are_not_allowed() -> None:
    assert bodies("ba", "ba", "ba").search("ba", 5, allow=np.ones(2, np.bool_))[1].tolist() == [0, 1]


def equal_texts(folder: Path | None, *, commits: int) -> TantivyText:
    """Return an index of 60 equal texts for each of `commits` internal segments, which stand in no particular order."""
    index = TantivyText.create(folder, ("body",))
    for first in range(0, 60 * commits, 60):
        index.add(first, [{"body": "the same words"}] * 60)
        index.search("same", 1)
    return index


def expect_row_order(index: TantivyText) -> None:
    for depth in (1, 7, 59, 61, len(index) - 1, len(index) + 1):
        assert found(index, "same words", depth) == list(range(min(depth, len(index))))


def test_equal_texts_come_by_row_at_every_depth() -> None:
    for _ in range(3):
        index = equal_texts(None, commits=6)
        assert index._reader is not None
        assert index._reader.searcher.num_segments > 1
        expect_row_order(index)


def test_equal_texts_come_by_row_after_internal_segments_were_merged(tmp_path: Path) -> None:
    equal_texts(tmp_path / "text", commits=8).save(tmp_path / "text")
    opened = TantivyText.open(tmp_path / "text", ("body",))
    assert opened._reader is not None
    assert opened._reader.searcher.num_segments == 1
    expect_row_order(opened)


@pytest.mark.parametrize("depth", [0, -1])
def test_no_depth_finds_nothing(depth: int) -> None:
    assert found(bodies("the sea"), "sea", depth) == []


# Statistics


def test_segments_scored_with_the_statistics_of_all_rank_as_one() -> None:
    texts = [{"body": f"{WORDS[row % 4]} {WORDS[(row * row) % 7]}"} for row in range(60)]
    parts = [index_of(texts[:13], ("body",)), index_of(texts[13:], ("body",))]
    query = "ba do fa unheard"
    total = TextStatistics.together([part.statistics(query) for part in parts])
    answers = [part.search(query, 60, statistics=total) for part in parts]
    nearness = np.concatenate([score for score, _ in answers])
    rows = np.concatenate([answers[0][1], answers[1][1] + 13])
    best = np.lexsort((rows, -np.round(nearness, 5)))
    together = index_of(texts, ("body",)).search(query, 60)
    assert rows[best].tolist() == together[1].tolist()
    np.testing.assert_allclose(nearness[best], together[0], rtol=1e-5, atol=1e-6)


def test_statistics_count_the_rows_that_hold_a_word() -> None:
    told = bodies("ba do", "ba", "").statistics("ba fu")
    assert (told.rows, dict(told.counts)) == (2, {("body", "ba"): 2, ("body", "fu"): 0})


def test_a_rarer_word_weighs_more() -> None:
    assert rarity(100, 1) > rarity(100, 50) > rarity(100, 100) > 0


# Adding


def test_what_was_added_is_found_by_the_next_search() -> None:
    index = TantivyText.create(None, ("body",))
    for row in range(30):
        index.add(row, [{"body": f"unique{row}"}])
        assert found(index, f"unique{row}") == [row]


def test_an_empty_index_finds_nothing() -> None:
    index = TantivyText.create(None, ("body",))
    assert found(index, "sea") == []
    index.commit()
    assert index.statistics("sea").rows == 0


def test_rows_without_text_keep_their_numbers() -> None:
    index = index_of([{}, {"other": "sea"}, {"body": ""}, {"body": "sea"}], ("body",))
    assert found(index, "sea") == [3]
    assert len(index) == 4


def test_a_gap_in_the_rows_is_a_bug_of_ours() -> None:
    index = bodies("the sea")
    with pytest.raises(InternalError, match="row 5 added to 1 rows"):
        index.add(5, [{"body": "the sky"}])


def test_many_search_while_one_adds() -> None:
    index = TantivyText.create(None, ("body",))

    def add() -> None:
        for row in range(0, 2_000, 50):
            index.add(row, [{"body": f"sea number{row}"}] * 50)

    def search() -> list[int]:
        return [len(index.search("sea", 5_000)[1]) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        adding, *searching = [pool.submit(add), *(pool.submit(search) for _ in range(3))]
        adding.result()
        counts = [one.result() for one in searching]
    assert all(seen == sorted(seen) and all(count % 50 == 0 for count in seen) for seen in counts)
    assert len(index.search("sea", 5_000)[1]) == 2_000


def test_closing_twice_is_harmless_and_nothing_is_found_afterwards() -> None:
    index = bodies("the sea")
    index.close()
    index.close()
    with pytest.raises(InternalError, match="closed"):
        index.search("sea", 1)


# Saving


def test_a_saved_index_answers_alike(tmp_path: Path) -> None:
    texts = [{"title": f"{WORDS[row % 9]} {WORDS[row % 4]}"} for row in range(500)]
    index_of(texts).save(tmp_path / "text")
    opened = TantivyText.open(tmp_path / "text", FIELDS)
    assert len(opened) == 500
    expect_ranked(opened, "ba do", scores(texts, "ba do", FIELDS), 40)


def test_an_index_made_in_a_folder_is_searched_before_and_after_it_is_saved(tmp_path: Path) -> None:
    index = TantivyText.create(tmp_path / "text", ("body",))
    index.add(0, [{"body": "the sea"}])
    assert found(index, "sea") == [0]
    index.add(1, [{"body": "the sea again"}])
    index.save(tmp_path / "text")
    assert found(index, "sea") == found(TantivyText.open(tmp_path / "text", ("body",)), "sea") == [0, 1]


def test_an_empty_index_can_be_saved(tmp_path: Path) -> None:
    TantivyText.create(None, ("body",)).save(tmp_path / "text")
    assert found(TantivyText.open(tmp_path / "text", ("body",)), "sea") == []


def test_a_saved_index_takes_no_more_rows(tmp_path: Path) -> None:
    bodies("the sea").save(tmp_path / "text")
    with pytest.raises(InternalError, match="takes no more rows"):
        TantivyText.open(tmp_path / "text", ("body",)).add(1, [{"body": "the sky"}])


def test_an_index_in_memory_that_was_searched_cannot_be_saved(tmp_path: Path) -> None:
    index = bodies("the sea")
    found(index, "sea")
    with pytest.raises(InternalError, match="cannot be saved"):
        index.save(tmp_path / "text")
