"""A small world in which everything may be refused, and nothing may change by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.small import NEVER_S, opened
from paradox.client.sync import Collection, Database
from paradox.errors import ParadoxError
from paradox.model.schema import Limits

ROW = [[1.0, 2.0, 3.0]]


def lengths_of(texts: list[str]) -> NDArray[np.float32]:
    """An encoder of three dimensions."""
    return np.array([[len(text), 1.0, 2.0] for text in texts], dtype=np.float32)


def vowels_of(texts: list[str]) -> NDArray[np.float32]:
    """Another encoder of three dimensions: another space."""
    return np.array([[sum(text.count(vowel) for vowel in "aeiou"), 5.0, 1.0] for text in texts], dtype=np.float32)


class World:
    """A folder with four collections. served: `db` asks over HTTP."""

    served = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db: Database
        self.db, self.embedded = opened(folder, limits=Limits(), idle_after_s=NEVER_S)
        self.notes = self.db.collection("notes", dimensions=3)
        self.notes.add(
            ids=["a", "b", 1],
            vectors=[[1, 2, 3], [2, 3, 4], [4, 5, 6]],
            payload=[
                {"topic": "sea", "year": 1990, "tags": ["x"], "open": True},
                {"topic": "sky", "year": 1991, "tags": ["y"], "open": False},
                {"topic": "sea", "year": 1992, "tags": [], "open": True},
            ],
        )
        self.bits = self.db.collection("bits", dimensions=16, metric="hamming")
        self.bits.add(ids=["bit"], vectors=np.zeros((1, 2), dtype=np.uint8))
        self.films = self.db.collection("films", vectors={"title": 3, "image": 2})
        self.films.add(ids=["f"], vectors={"title": [[1, 2, 3]]})
        self.texts = self.db.collection("texts", encoder=lengths_of, text=["text"])
        self.texts.add(["one two"], ids=["t"])

    def open_all(self) -> None:
        """Open the collections again over HTTP, as `db` now goes."""
        self.served = True
        self.notes, self.bits, self.films, self.texts = (self.db[name] for name in ("notes", "bits", "films", "texts"))

    def state(self) -> Any:
        """Return all that a refused request must leave alone: points, positions and every file, byte for byte."""
        files = {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file() and path.name != "LOCK"}
        collections: list[Collection] = [self.notes, self.bits, self.films, self.texts]
        told = [(one.count(), one.info()["position"], {str(hit.id): hit.payload for hit in one.scroll()}) for one in collections]
        return told, self.db.collections(), files


class Refusal(NamedTuple):
    """What somebody asks, and what is said of it, to the letter. here: only where client and engine are one process."""

    name: str
    ask: Callable[[World], Any]
    code: str
    message: str
    here: bool = False


def need_no_wire(world: World) -> None:
    """Skip what cannot be sent: functions, and numbers that no wire takes."""
    if world.served:
        pytest.skip("cannot be sent over HTTP")


def expect_refused(world: World, refusal: Refusal) -> None:
    if refusal.here:
        need_no_wire(world)
    before = world.state()
    with pytest.raises(ParadoxError) as caught:
        refusal.ask(world)
    assert (caught.value.code, caught.value.message) == (refusal.code, refusal.message)
    assert not caught.value.retryable
    assert world.state() == before
