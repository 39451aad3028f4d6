"""A tiny corpus that needs no package, and an exact database in place of the engine."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paradox.cli.bench import corpus
from paradox.cli.bench.sources import Passage
from paradox.model.points import Matrix

DIMENSIONS = 16
CONDITION = re.compile(r"(\w+) (<|>=) (\d+)")


def encode(texts: Sequence[str]) -> Matrix:
    """Return a vector that depends on a text's letters alone; texts that share words lie near each other."""
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row] += word_vector(word)
    return vectors


@cache
def word_vector(word: str) -> Matrix:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIMENSIONS).astype(np.float32)


def passages(count: int) -> Iterator[Passage]:
    dice = np.random.default_rng(1)
    for number in range(count):
        words = " ".join(f"word{code}" for code in dice.integers(0, 60, size=6))
        yield Passage("even" if number % 2 == 0 else "odd", f"{words} of text {number}")


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    """Ask few questions, and no package for its version."""
    patch.setattr(corpus, "package_versions", lambda: {"encoder": "1"})
    patch.setattr(corpus, "QUESTIONS", 40)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        corpus.build(folder, "large", passages(640), lambda text: None, encode)
        corpus.load(folder, "large")
    return folder


@pytest.fixture(name="cache")
def own_cache(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "cache"))


@pytest.fixture
def small(cache: Path) -> corpus.Corpus:
    return corpus.load(cache, "small")


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


class ExactCollection:
    """Points in dicts, searched by reading all of them."""

    def __init__(self) -> None:
        self.points: dict[int, tuple[Any, dict[str, Any]]] = {}

    def add(self, *, ids: Any, vectors: Any, payload: Sequence[dict[str, Any]]) -> None:
        for id, vector, fields in zip(np.asarray(ids).tolist(), np.asarray(vectors), payload, strict=True):
            self.points[id] = (np.array(vector), dict(fields))

    def search(self, query: Any, k: int = 10, *, where: str | None = None, recall: float = 0.95) -> list[SimpleNamespace]:
        ids = [id for id, (_, fields) in list(self.points.items()) if passes(fields, where)]
        if not ids:
            return []
        scores = np.stack([self.points[id][0] for id in ids]) @ query
        return [SimpleNamespace(id=ids[place], payload=self.points[ids[place]][1]) for place in np.argsort(-scores)[:k]]

    def search_many(self, queries: Any, k: int = 10, *, recall: float = 0.95) -> list[list[SimpleNamespace]]:
        return [self.search(query, k) for query in queries]


def passes(fields: dict[str, Any], where: str | None) -> bool:
    if where is None:
        return True
    return all(
        fields[name] < int(bound) if operator == "<" else fields[name] >= int(bound) for name, operator, bound in CONDITION.findall(where)
    )


class ExactDatabase:
    """What the benchmark uses of a database."""

    def __init__(self) -> None:
        self.collections: dict[str, ExactCollection] = {}
        self.closed = False

    def collection(self, name: str, *, dimensions: int) -> ExactCollection:
        return self.collections.setdefault(name, ExactCollection())

    def __getitem__(self, name: str) -> ExactCollection:
        return self.collections[name]

    def status(self) -> dict[str, Any]:
        return {"settled": True}

    def drop(self, name: str) -> None:
        del self.collections[name]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def open_exact() -> Callable[[Path], Any]:
    return lambda folder: ExactDatabase()
