"""Subject: Paradox under measurement, through its public API alone; it is told a recall and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from paradox.cli.bench.corpus import NEIGHBOURS, Corpus, recall
from paradox.cli.bench.timing import Ask
from paradox.cli.bench.workload import payloads, shuffled_buckets
from paradox.errors import DeadlineExceeded

if TYPE_CHECKING:
    from paradox.client.hits import Hits
    from paradox.client.sync import Collection, Database

Open: TypeAlias = "Callable[[Path], Database]"

COLLECTION = "points"
FILL_POINTS = 100_000
"""Points a call of `add` while filling; the payloads of a call are made before its clock starts."""
BATCH_QUESTIONS = 100
SETTLE_S = 3_600.0
SETTLE_STEP_S = 0.05


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """How filling went. elapsed_s: calls of `add` and one search that answers. recall: at once afterwards, nothing awaited."""

    points: int
    elapsed_s: float
    recall: float
    asked: float

    @property
    def per_s(self) -> float:
        """Points a second until durable and searchable."""
        return self.points / self.elapsed_s


class Subject:
    """A database with the corpus in one collection; opened and filled when first needed."""

    def __init__(self, corpus: Corpus, open_database: Open, folder: Path, *, recall_asked: float) -> None:
        self.corpus = corpus
        self.folder = folder
        self._open_database = open_database
        self._recall_asked = recall_asked

    @cached_property
    def database(self) -> Database:
        """The open database."""
        return self._open_database(self.folder)

    @cached_property
    def filled(self) -> Filled:
        """Fill the collection, once, and tell how it went."""
        corpus = self.corpus
        collection = self.database.collection(COLLECTION, dimensions=corpus.vectors.shape[1])
        buckets = shuffled_buckets(len(corpus))
        elapsed_s = 0.0
        for start in range(0, len(corpus), FILL_POINTS):
            stop = min(start + FILL_POINTS, len(corpus))
            ids = np.arange(start, stop)
            vectors, fields = np.array(corpus.vectors[start:stop]), payloads(corpus, start, stop, buckets)
            before = time.perf_counter()
            collection.add(ids=ids, vectors=vectors, payload=fields)
            elapsed_s += time.perf_counter() - before
        before = time.perf_counter()
        collection.search(corpus.questions[0], k=NEIGHBOURS, recall=self._recall_asked)
        elapsed_s += time.perf_counter() - before
        found = recall_reached(collection, corpus, self._recall_asked)
        return Filled(points=len(corpus), elapsed_s=elapsed_s, recall=found, asked=self._recall_asked)

    @property
    def collection(self) -> Collection:
        """The filled collection, once background work is done."""
        assert self.filled is not None
        settle(self.database)
        return self.database[COLLECTION]

    def close(self) -> None:
        """Close the database if it was opened."""
        if "database" in self.__dict__:
            self.database.close()


def settle(database: Database, within_s: float = SETTLE_S) -> float:
    """Wait until the database does nothing in the background. Return how long that took, in seconds. Raises DeadlineExceeded."""
    before = time.perf_counter()
    while not database.status()["settled"]:
        if time.perf_counter() - before > within_s:
            raise DeadlineExceeded(
                f"the database was still at work after {within_s:,.0f} s; expected it to settle before it is measured",
                hint="give --points fewer, or leave the machine alone",
            )
        time.sleep(SETTLE_STEP_S)
    return time.perf_counter() - before


def read_all(hits: Hits) -> list[int]:
    """Return the rows that were found, having read every payload as a user would."""
    read = [(int(hit.id), hit.payload) for hit in hits]
    return [row for row, _ in read]


def asking(collection: Collection, questions: Any, recall_asked: float, where: str | Sequence[str] | None = None) -> Ask:
    """Return a call that asks one question and reads the payloads found. where: one filter, or one for each question in turn."""
    count = len(questions)
    filters = [where] if where is None or isinstance(where, str) else list(where)

    def ask(number: int) -> list[int]:
        chosen = filters[number % len(filters)]
        return read_all(collection.search(questions[number % count], k=NEIGHBOURS, where=chosen, recall=recall_asked))

    return ask


def asking_many(collection: Collection, questions: Any, recall_asked: float) -> tuple[Ask, float]:
    """Return a call that asks BATCH_QUESTIONS at once and reads the payloads found, and how many it asks on average."""
    batches = np.array_split(questions, max(1, len(questions) // BATCH_QUESTIONS))

    def ask(number: int) -> list[list[int]]:
        return [read_all(hits) for hits in collection.search_many(batches[number % len(batches)], k=NEIGHBOURS, recall=recall_asked)]

    return ask, len(questions) / len(batches)


def answers_of(collection: Collection, questions: Any, recall_asked: float, where: str | None = None) -> list[list[int]]:
    """Return the rows found for each question, asked one by one."""
    ask = asking(collection, questions, recall_asked, where)
    return [ask(number) for number in range(len(questions))]  # type: ignore[misc]


def recall_reached(collection: Collection, corpus: Corpus, recall_asked: float) -> float:
    """Return the recall that the corpus's questions get when asked one by one."""
    return recall(answers_of(collection, corpus.questions, recall_asked), corpus.truth, corpus.vectors, corpus.questions)


def recall_reached_many(collection: Collection, corpus: Corpus, recall_asked: float) -> float:
    """Return the recall that the corpus's questions get when asked many at once."""
    found: list[list[int]] = []
    for start in range(0, len(corpus.questions), BATCH_QUESTIONS):
        batch = corpus.questions[start : start + BATCH_QUESTIONS]
        found += [[int(hit.id) for hit in hits] for hits in collection.search_many(batch, k=NEIGHBOURS, recall=recall_asked)]
    return recall(found, corpus.truth, corpus.vectors, corpus.questions)
