"""What the command says when something is wrong: one line, a hint, the right exit code, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paradox.cli import main
from paradox.cli.arguments import VERB_NAMES, VERBS
from paradox.cli.verbs import VERB_FUNCTIONS

Command = Callable[..., Any]


def test_an_unknown_verb_names_the_near_one(paradox: Command) -> None:
    ran = paradox("serach", "notes", "boats")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: 'serach' is not a command of paradox\nhint:  did you mean search?\n"


def test_a_verb_like_no_other_lists_them_all(paradox: Command) -> None:
    assert paradox("xyzzy").err.splitlines()[1] == f"hint:  the commands are {', '.join(VERB_NAMES)}"


def test_an_unknown_option_names_the_near_one(paradox: Command) -> None:
    ran = paradox("search", "notes", "boats", "--wher", "year > 1")
    assert ran.code == 2
    assert ran.err == "error: unknown argument '--wher'\nhint:  did you mean --where?\n"


def test_an_unquoted_text_is_explained(paradox: Command) -> None:
    assert "quote a text that has spaces" in paradox("search", "notes", "two", "words").err


def test_with_json_an_error_is_a_document(paradox: Command) -> None:
    ran = paradox("count", "notes", "--json")
    assert (ran.code, ran.err) == (4, "")
    assert ran.json["error"]["code"] == "missing"
    assert ran.json["error"]["message"].startswith("there is no database in ")
    assert "--data DIR" in ran.json["error"]["hint"]


def test_usage_errors_are_documents_too(paradox: Command) -> None:
    ran = paradox("search", "notes", "--mode", "psychic", "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "usage.invalid"
    assert "vector" in ran.json["error"]["message"]


@pytest.mark.parametrize("verb", [verb for verb in VERB_NAMES if verb not in ("bench", "demo")])
def test_every_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  paradox {verb}" in out
    assert "--json" in out
    assert "--data DIR" in out


def test_every_verb_has_a_function() -> None:
    assert set(VERB_FUNCTIONS) == {verb.name for verb in VERBS}


def test_the_command_alone_shows_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb.name} " in out and verb.summary in out for verb in VERBS)
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import paradox

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"paradox {paradox.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["create", "notes"], 2, "create needs to know the vectors of the collection"),
        (["create", "notes", "--vector", "title"], 2, "--vector 'title' is not a name and its dimensions"),
        (["create", "../x", "--dimensions", "2"], 2, "cannot be a collection's name"),
        (["create", "notes", "--dimensions", "0"], 2, "0 dimensions"),
        (["add", "squares"], 2, "there is nothing to add"),
        (["add", "squares", "--vector", "[1"], 2, "--vector is not JSON"),
        (["add", "squares", "--vector", '{"a": 1}'], 2, "--vector is an object; expected a list of numbers"),
        (["add", "squares", "--vector", "[1, 2]", "--payload", "[1]"], 2, "--payload is a list of other things; expected an object"),
        (["add", "squares", "--vector", "[1, 2]", "--payload", "topic"], 2, "--payload is not JSON"),
        (["add", "squares", "--vector", "[1, 2]", "--id", "a", "--id", "b"], 2, "1 point came with 2 ids"),
        (["add", "squares", "--vector", "[1, 2, 3]"], 2, "3 dimensions"),
        (["add", "squares", "--vector", "[1, 2]", "--at", "1990-13"], 2, "'1990-13' is no day of the calendar"),
        (["add", "squares", "--vector", "[1, 2]", "--at", "noon"], 2, "'noon'"),
        (["add", "squares", "--file", "/no/such/file"], 4, "there is no file /no/such/file"),
        (["search", "squares"], 2, "there is nothing to search for"),
        (["search", "squares", "boats", "--like", "up"], 2, "a search asks for one thing"),
        (["search", "squares", "--like", "up", "-k", "0"], 2, "k"),
        (["search", "squares", "--like", "up", "-k", "many"], 2, "argument -k: invalid int value: 'many'"),
        (["search", "squares", "--like", "nobody"], 4, "nobody"),
        (["search", "squares", "--like", "up", "--where", "year >"], 2, "^"),
        (["search", "squares", "--like", "up", "--between", "2000", "1990"], 2, "between starts at"),
        (["search", "nowhere", "boats"], 4, "nowhere"),
        (["delete", "squares"], 2, "delete needs ids or a filter"),
        (["delete", "squares", "up", "--where", "a = 1"], 2, "delete needs ids or a filter, not both"),
        (["import", "squares", "/no/such.parquet"], 4, "there is no file /no/such.parquet"),
        (["count", "nowhere"], 4, "nowhere"),
        (["demo", "chapterless"], 2, "the demo has no chapter 'chapterless'"),
    ],
)
def test_mistakes_get_their_exit_code_and_a_message(squares: Command, words: list[str], code: int, message: str) -> None:
    ran = squares(*words)
    assert ran.code == code, ran
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert squares("count", "squares").out == "3\n"


def test_a_missing_collection_is_followed_by_the_way_to_make_it(squares: Command) -> None:
    ran = squares("count", "square")
    assert ran.code == 4
    assert "did you mean 'squares'?" in ran.err
    assert "paradox create square --encoder text" in ran.err


def test_a_file_is_no_database(paradox: Command, tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("hello")
    ran = paradox("status")
    assert ran.code == 1
    assert "is a file; expected the folder of a database" in ran.err


def test_reading_makes_no_folder(paradox: Command, tmp_path: Path) -> None:
    for words in (["status"], ["count", "notes"], ["verify"], ["add", "notes", "text"], ["drop", "notes", "--yes"]):
        assert paradox(*words).code == 4
    assert not (tmp_path / "memory").exists()


def test_a_second_writer_learns_of_the_first(squares: Command, tmp_path: Path) -> None:
    import paradox as library

    with library.connect(tmp_path / "memory"):
        ran = squares("add", "squares", "--vector", "[1, 2]")
    assert ran.code == 5
    assert "is open for writing by process" in ran.err


def test_an_unexpected_error_is_called_our_bug(paradox: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> int:
        raise RuntimeError("wheels came off")

    monkeypatch.setattr("paradox.cli.verbs.VERB_FUNCTIONS", {"count": broken})
    ran = paradox("count", "notes")
    assert ran.code == 1
    assert ran.err.splitlines()[0] == (
        "error: something unexpected happened (RuntimeError: wheels came off); this is our bug, not a mistake of yours"
    )
    assert "Traceback" not in ran.err
    assert "Traceback" in paradox("count", "notes", "--debug").err


def test_an_interrupt_is_quiet(paradox: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("paradox.cli.verbs.VERB_FUNCTIONS", {"count": interrupted})
    assert paradox("count", "notes") == (130, "", "")


def test_a_reader_that_leaves_is_no_error(notes: Path) -> None:
    search = f"{sys.executable} -m paradox.cli search notes boats -k 4 --data {notes}"
    ran = subprocess.run(["bash", "-c", f"set -o pipefail; {search} 2>&1 | true"], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_pipe_gets_no_colours(notes: Path) -> None:
    command = [sys.executable, "-m", "paradox.cli", "search", "notes", "boats", "--data", str(notes)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "\x1b" not in ran.stdout + ran.stderr
    assert "gull" in ran.stdout


@pytest.mark.parametrize("option", ["--limit", "--top-k", "--topk=5", "--limit=5"])
def test_what_others_call_k_is_named(paradox: Command, option: str) -> None:
    assert paradox("search", "notes", "boats", option, "5").err.splitlines()[1] == "hint:  give -k 5 for five points"


@pytest.mark.parametrize("verb", ["serve", "up"])
def test_a_number_that_no_port_has_is_refused(paradox: Command, verb: str) -> None:
    ran = paradox(verb, "--port", "99999")
    assert (ran.code, ran.err) == (2, "error: --port 99999; expected 0 to 65535\nhint:  give --port 6500; 0 takes any that is free\n")


def test_hints_name_options_and_counts_agree_with_their_nouns(paradox: Command, tmp_path: Path) -> None:
    paradox("create", "notes", "--dimensions", "2")
    assert "--encoder text" in paradox("add", "notes", "a text").err
    assert (
        paradox("search", "notes", "--vector", "[1, 2]", "-k", "0", "--json").json["error"]["hint"] == "`paradox export` writes every point"
    )
    assert paradox("create", "notes", "--dimensions", "3").err.splitlines()[1].startswith("hint:  leave --dimensions out")
    assert paradox("add", "notes", "--vector", "[1, 2]", "--id", "a", "--id", "b").err.startswith("error: 1 point came with 2 ids")
    paradox("add", "notes", "--vector", "[1, 2]")
    explained = paradox("explain", "notes", "--vector", "[1, 2]").out
    assert "1 segment\n" in explained or "1 segment " in explained
    assert ", 1 row" in explained
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"title": "sea"}\n{"title": "sky"}\n')
    ran = paradox("import", "notes", str(rows))
    assert ran.code == 2
    assert "has neither a column of texts nor one of vectors; its columns are title" in ran.err
    assert "name the column of the texts 'text', or that of the vectors 'vector'" in ran.err
    assert paradox("drop", "notes", "--yes").out == "dropped notes with 1 point\n"
