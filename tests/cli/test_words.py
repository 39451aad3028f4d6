"""What people type, turned into values; what values look like on the screen."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from paradox.cli.screen import Screen, cut, seconds, size
from paradox.cli.words import as_typed, read_payload, read_sizes, read_time, read_vector


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [
        ("1990", datetime(1990, 1, 1, tzinfo=UTC), datetime(1990, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2024-02", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("1790-12-31", datetime(1790, 12, 31, tzinfo=UTC), datetime(1790, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2024-05-17T10:00", "2024-05-17T10:00", "2024-05-17T10:00"),
        ("-", None, None),
    ],
)
def test_a_calendar_word_stands_for_its_first_or_last_moment(word: str, first: object, last: object) -> None:
    assert read_time(word) == first
    assert read_time(word, end=True) == last


def test_values_are_read_as_json() -> None:
    assert read_payload('{"topic": "sea", "deep": [1, 2]}') == {"topic": "sea", "deep": [1, 2]}
    assert read_vector("[1, 0.5]") == [1.0, 0.5]
    assert read_sizes(["title=384", "image=512"]) == {"title": 384, "image": 512}


def test_a_long_text_is_cut_between_words() -> None:
    assert cut("The tide\n turns  at noon.", 80) == "The tide turns at noon."
    assert cut("The tide turns at noon.", 12) == "The tide…"
    assert cut("Incomprehensibilities", 10) == "Incompreh…"


def test_sizes_and_durations_are_short() -> None:
    assert [size(count) for count in (0, 1023, 1024, 5 << 20, 3 << 40)] == ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 TiB"]
    assert [seconds(each) for each in (0.000_05, 0.0123, 0.25, 31.04, 600)] == ["50 µs", "12.3 ms", "250 ms", "31.0 s", "10.0 min"]


def test_a_pipe_gets_four_lines_of_progress_on_standard_error() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(json=False, out=out, err=err)
    with screen.progress("adding", 1000) as advance:
        for _ in range(100):
            advance(10)
    assert err.getvalue() == "".join(f"  adding: {done:,} of 1,000\n" for done in (250, 500, 750, 1000))
    assert out.getvalue() == ""


def test_with_json_nothing_but_json_is_printed() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(json=True, out=out, err=err)
    screen.line("a line")
    screen.note("a note")
    screen.table(["a"], [["1"]])
    with screen.progress("adding", 10) as advance:
        advance(10)
    screen.document({"count": 3})
    assert (out.getvalue(), err.getvalue()) == ('{"count":3}\n', "")


def test_numbers_stand_to_the_right_of_their_column() -> None:
    out = io.StringIO()
    Screen(json=False, out=out, err=io.StringIO()).table(["name", "points"], [["notes", "12"], ["a", "1,234"]])
    assert out.getvalue().splitlines() == ["name   points", "notes      12", "a       1,234"]


@pytest.mark.parametrize(
    ("hint", "typed"),
    [
        ("give k=10", "give -k 10"),
        ("use scroll to read many points", "`paradox export` writes every point"),
        ("give vectors, or create a collection with encoder='text'", "give vectors, or create a collection with --encoder text"),
        ("leave dimensions= and shards= out to open it as it is", "leave --dimensions and --shards out to open it as it is"),
        ("such as text=['title', 'body']", "such as --text title,body"),
        ("give vectors={'title': 384}", "give --vector title=384"),
        ("give a text, or mode='vector'", "give a text, or --mode vector"),
        ("give a query, or like=id", "give a query, or --like id"),
        ("give recall=0.95", "give --recall 0.95"),
        ("choose one of 'text', 'words', or give a function of a list of texts", "choose one of 'text', 'words'"),
        ("give between=(start, end)", "give --between (start, end)"),
        ("give ids=[…], or where=\"topic = 'sea'\"", "give ids=[…], or --where \"topic = 'sea'\""),
        ("quote it: topic = 'sea'", "quote it: topic = 'sea'"),
        ("run verify; look at mask=3", "run verify; look at mask=3"),
    ],
)
def test_hints_of_the_library_speak_of_options(hint: str, typed: str) -> None:
    assert as_typed(hint) == typed
