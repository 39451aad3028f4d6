"""Contest: one peer through the same work as Paradox, in a child of its own, so that nothing it leaves in memory meets the next one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
import numpy as np

from paradox.cli.bench.corpus import Corpus, Truth, find_truth, load, recall
from paradox.cli.bench.peers import PEERS, Batches, Payloads, Peer, is_installed, make, release
from paradox.cli.bench.timing import Writer, in_child, measure, writing
from paradox.cli.bench.workload import STEPS, payloads, shuffled_buckets
from paradox.errors import ParadoxError
from paradox.model.points import Matrix, Vector

EFFORTS = (10, 14, 20, 28, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768)
RECALL_ASKED = 0.95
FILTER_SHARE = 0.01
TUNE_QUESTIONS = 250
BATCH_QUESTIONS = 100
WRITE_POINTS = 100
CALLERS = 8


class Filled(Protocol):
    """What is filled with a corpus, in this process or behind a server."""

    @property
    def batch(self) -> int:
        """How many points it takes at once."""
        ...

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add points with the ids from `start` on."""
        ...

    def finish(self) -> None:
        """Build the indexes."""
        ...


class Tuned(Protocol):
    """What has an effort."""

    def set_effort(self, effort: int) -> None:
        """Set how many candidates the next searches look at."""
        ...

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        ...


class PeerResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer reached. sweep: (effort, recall) of each effort tried, in order. None: it has no such call. Speeds are a second."""

    name: str
    release: str
    settings: str
    points: int
    insert_per_s: float
    searchable_per_s: float
    effort: int
    sweep: list[tuple[int, float]]
    recall: float
    p50_ms: float
    p99_ms: float
    one_per_s: float
    eight_per_s: float
    batch_per_s: float | None
    filtered_per_s: float
    filtered_recall: float
    beside_writer_per_s: float
    beside_writer_p99_ms: float
    writer_per_s: float


def compete(cache: Path, points: int, duration_s: float, tell: Callable[[str], None]) -> tuple[list[PeerResult], dict[str, str]]:
    """Return what each installed peer reached, and why the others reached nothing."""
    results, absent = [], {}
    for name in PEERS:
        if not is_installed(name):
            absent[name] = "not installed"
            tell(f"{name}: not installed")
            continue
        tell(f"{name}: {points:,} points")
        try:
            answer = in_child("peer", name=name, cache=str(cache), points=points, duration_s=duration_s)
        except ParadoxError as error:
            absent[name] = error.message
            tell(f"{name}: {error.message}")
            continue
        results.append(msgspec.convert(answer, PeerResult))
    return results, absent


def contend(name: str, cache: str, points: int, duration_s: float) -> PeerResult:
    """Measure one peer in this process. Raises ExtraMissing, and whatever the peer raises."""
    corpus = load(Path(cache), "small" if points <= 100_000 else "large", points=points)
    peer = make(name)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        peer.open(Path(folder), corpus.vectors.shape[1])
        inserted_s, searchable_s = fill(peer, corpus)
        effort, sweep = tune(peer, corpus)
        measured = _measure(peer, corpus, duration_s)
        measured |= _measure_beside_writer(peer, corpus, duration_s)
        peer.close()
    return PeerResult(
        name=name,
        release=release(name),
        settings=peer.settings,
        points=len(corpus),
        insert_per_s=len(corpus) / inserted_s,
        searchable_per_s=len(corpus) / searchable_s,
        effort=effort,
        sweep=sweep,
        recall=sweep[-1][1],
        **measured,
    )


def fill(peer: Filled, corpus: Corpus) -> tuple[float, float]:
    """Add every point. Return seconds until all were taken and until all were searchable; making payloads is not counted."""
    buckets = shuffled_buckets(len(corpus))
    elapsed_s = 0.0
    for start in range(0, len(corpus), peer.batch):
        stop = min(start + peer.batch, len(corpus))
        vectors = np.ascontiguousarray(corpus.vectors[start:stop])
        fields = payloads(corpus, start, stop, buckets)
        before = time.perf_counter()
        peer.add(start, vectors, fields)
        elapsed_s += time.perf_counter() - before
    before = time.perf_counter()
    peer.finish()
    return elapsed_s, elapsed_s + time.perf_counter() - before


def tune(peer: Tuned, corpus: Corpus) -> tuple[int, list[tuple[int, float]]]:
    """Leave the peer at the smallest effort that reaches RECALL_ASKED on the questions themselves, or at the largest there is.

    An effort that does not reach it on the first TUNE_QUESTIONS is not tried on the others.
    """
    sweep: list[tuple[int, float]] = []
    for effort in EFFORTS:
        peer.set_effort(effort)
        for questions in (corpus.questions[:TUNE_QUESTIONS], corpus.questions):
            found = [peer.search(question) for question in questions]
            asked = Truth(rows=corpus.truth.rows[: len(questions)], floor=corpus.truth.floor[: len(questions)])
            reached = recall(found, asked, corpus.vectors, questions)
            if reached < RECALL_ASKED:
                break
        sweep.append((effort, reached))
        if reached >= RECALL_ASKED:
            break
    return sweep[-1][0], sweep


def _measure(peer: Peer, corpus: Corpus, duration_s: float) -> dict[str, Any]:
    """Measure the peer's searches while nothing is written."""
    questions, count = corpus.questions, len(corpus.questions)
    one = measure(lambda number: peer.search(questions[number % count]), duration_s=duration_s)
    eight = measure(lambda number: peer.search(questions[number % count]), callers=CALLERS, duration_s=duration_s)
    batch_per_s = None
    if hasattr(peer, "search_batch"):
        batches = np.array_split(questions, max(1, count // BATCH_QUESTIONS))
        many = measure(lambda number: cast(Batches, peer).search_batch(batches[number % len(batches)]), duration_s=duration_s)
        batch_per_s = many.per_s * count / len(batches)
    below = max(1, round(FILTER_SHARE * STEPS))
    allowed = shuffled_buckets(len(corpus)) < below
    asked = questions[:TUNE_QUESTIONS]
    truth = find_truth(corpus.vectors, asked, np.flatnonzero(allowed))
    found = [peer.search(question, below) for question in asked]
    filtered = measure(lambda number: peer.search(questions[number % count], below), duration_s=duration_s)
    return {
        "p50_ms": one.p50_ms,
        "p99_ms": one.p99_ms,
        "one_per_s": one.per_s,
        "eight_per_s": eight.per_s,
        "batch_per_s": batch_per_s,
        "filtered_per_s": filtered.per_s,
        "filtered_recall": recall(found, truth, corpus.vectors, asked, allowed),
    }


def _measure_beside_writer(peer: Peer, corpus: Corpus, duration_s: float) -> dict[str, Any]:
    """Measure one reading caller while a writer replaces points without pause, WRITE_POINTS a call, each by its neighbour."""
    count = len(corpus)
    buckets = shuffled_buckets(count)
    moved = np.roll(np.asarray(corpus.vectors), 1, axis=0)

    def write(turn: int) -> int:
        start = turn * WRITE_POINTS % max(1, count - WRITE_POINTS)
        stop = min(start + WRITE_POINTS, count)
        peer.add(start, moved[start:stop], payloads(corpus, start, stop, buckets))
        return stop - start

    writer: Writer
    with writing(write) as writer:
        questions = corpus.questions
        beside = measure(lambda number: peer.search(questions[number % len(questions)]), duration_s=duration_s)
    return {"beside_writer_per_s": beside.per_s, "beside_writer_p99_ms": beside.p99_ms, "writer_per_s": writer.per_s}
