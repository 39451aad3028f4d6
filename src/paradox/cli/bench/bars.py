"""Bars: what is measured, what is asked of it, and whether that was met. One suite measures several bars on one database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

from paradox.cli.bench.contest import WRITE_POINTS, PeerResult
from paradox.cli.bench.corpus import Corpus, Tell, recall
from paradox.cli.bench.installing import DISTRIBUTION, import_cost, installed_packages
from paradox.cli.bench.opening import Opened
from paradox.cli.bench.subject import (
    COLLECTION,
    Open,
    Subject,
    answers_of,
    asking,
    asking_many,
    recall_reached,
    recall_reached_many,
    settle,
)
from paradox.cli.bench.timing import forget_pages, in_child, measure, writing
from paradox.cli.bench.workload import SHARES, SLANTS, STEPS, filter_payloads, payloads, rank_points, selections, shuffled_buckets
from paradox.errors import ParadoxError

if TYPE_CHECKING:
    from paradox.client.sync import Collection

Sense: TypeAlias = Literal["at least", "at most", "for comparison"]
Value: TypeAlias = "float | tuple[float | None, str] | None"
Figures: TypeAlias = Iterator[tuple[str, Value]]

ASKED = 0.99
LARGE_ASKED = 0.98
PEER_RECALL = 0.95
CALLERS = 8
WRITERS = 16
MEBI = 1 << 20
PEERS_ABSENT = "no peer was measured; --peers does"


class Bar(msgspec.Struct, frozen=True):
    """What a figure should reach. bar: None when it is only for comparison."""

    name: str
    unit: str
    sense: Sense = "for comparison"
    bar: float | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A figure beside its bar. value: None when it could not be measured. met: None when there is nothing to meet, or no value."""

    name: str
    value: float | None
    unit: str
    bar: float | None
    sense: Sense
    met: bool | None
    note: str = ""


def _filter_bars() -> Iterator[Bar]:
    yield Bar("filter.unfiltered", "queries/s")
    for slant in SLANTS:
        for share in SHARES:
            name = f"filter.{slant}.{share * 100:g}%"
            yield Bar(f"{name}.recall", "share", "at least", ASKED)
            yield Bar(f"{name}.times_unfiltered", "ratio", "at least", 0.4 if share >= 0.1 else 1.0)
    for share in SHARES:
        yield Bar(f"filter.new_each_time.{share * 100:g}%.times_unfiltered", "ratio")


SUITE_BARS: Mapping[str, Sequence[Bar]] = {
    "install": (
        Bar("install.import_time", "s", "at most", 0.3),
        Bar("install.import_memory", "MB", "at most", 60.0),
        Bar("install.packages", "packages", "at most", 12.0),
    ),
    "bulk": (
        Bar("bulk.rate", "points/s", "at least", 100_000.0),
        Bar("bulk.recall", "share", "at least", ASKED),
        Bar("bulk.times_best_peer", "ratio", "at least", 12.0),
        Bar("bulk.settled_after", "s"),
    ),
    "single": (
        Bar("single.one_caller", "points/s", "at least", 1_000.0),
        Bar("single.16_threads", "points/s", "at least", 5_000.0),
    ),
    "one": (
        Bar("one.recall", "share", "at least", ASKED),
        Bar("one.p50", "ms", "at most", 0.40),
        Bar("one.p99", "ms"),
        Bar("one.rate", "queries/s"),
        Bar("one.times_best_peer", "ratio", "at least", 1.2),
    ),
    "many": (
        Bar("many.recall", "share", "at least", ASKED),
        Bar("many.rate", "queries/s", "at least", 8_000.0),
    ),
    "threads": (
        Bar("threads.rate", "queries/s", "at least", 5_000.0),
        Bar("threads.times_one_caller", "ratio", "at least", 1.0),
    ),
    "filter": tuple(_filter_bars()),
    "writer": (
        Bar("writer.read_p99", "ms", "at most", 3.0),
        Bar("writer.read_share_of_quiet", "share", "at least", 0.5),
        Bar("writer.rate", "points/s", "at least", 10_000.0),
    ),
    "large": (
        Bar("large.points", "points", "at least", 700_000.0),
        Bar("large.bulk_rate", "points/s", "at least", 60_000.0),
        Bar("large.one.recall", "share", "at least", 0.98),
        Bar("large.one.rate", "queries/s", "at least", 950.0),
        Bar("large.8_callers_95.recall", "share", "at least", 0.95),
        Bar("large.8_callers_95.rate", "queries/s", "at least", 2_200.0),
        Bar("large.8_callers_99.recall", "share", "at least", 0.99),
        Bar("large.8_callers_99.rate", "queries/s", "at least", 1_100.0),
        Bar("large.many.recall", "share", "at least", 0.98),
        Bar("large.many.rate", "queries/s", "at least", 3_000.0),
        Bar("large.resident", "bytes/point", "at most", 300.0),
        Bar("large.open", "s", "at most", 0.5),
        Bar("large.open_from_disk", "s"),
    ),
}
"""Suite → its bars, in the order they are printed. The writer comes last of those that share a database: it changes what is stored."""


class Stage:
    """What suites measure on. peers: what they reached in this invocation; empty without `--peers`."""

    def __init__(
        self,
        corpus: Callable[[str], Corpus],
        open_database: Open,
        scratch: Path,
        *,
        duration_s: float = 2.0,
        peers: Sequence[PeerResult] = (),
        tell: Tell = lambda text: None,
    ) -> None:
        self.duration_s = duration_s
        self.peers = peers
        self.tell = tell
        self._corpus = corpus
        self._open_database = open_database
        self._folder = tempfile.TemporaryDirectory(dir=scratch, prefix="bench-")

    @cached_property
    def main(self) -> Subject:
        """The small corpus in a database."""
        return Subject(self._corpus("small"), self._open_database, self.folder / "small", recall_asked=ASKED)

    @cached_property
    def large(self) -> Subject:
        """The large corpus in a database. Raises Missing when it was not prepared."""
        return Subject(self._corpus("large"), self._open_database, self.folder / "large", recall_asked=LARGE_ASKED)

    @property
    def folder(self) -> Path:
        """Where databases and scratch files lie until the stage is closed."""
        return Path(self._folder.name)

    def best_peer(self, figure: str) -> tuple[float, str] | None:
        """Return the best peer's figure, and its name, among peers that reached PEER_RECALL."""
        fit = [(getattr(peer, figure), peer.name) for peer in self.peers if peer.recall >= PEER_RECALL]
        return max(fit) if fit else None

    def close(self) -> None:
        """Close the databases and remove their files."""
        for name in ("main", "large"):
            if name in self.__dict__:
                self.__dict__[name].close()
        self._folder.cleanup()


def judge(bar: Bar, value: Value) -> Reading:
    """Return a figure beside its bar. value: a number, (number, note), or None when it could not be measured."""
    figure, note = value if isinstance(value, tuple) else (value, "")
    met = None
    if bar.bar is not None and figure is not None:
        met = figure >= bar.bar if bar.sense == "at least" else figure <= bar.bar
    return Reading(name=bar.name, value=figure, unit=bar.unit, bar=bar.bar, sense=bar.sense, met=met, note=note)


PEER_FIGURES: Mapping[str, str] = {
    "insert_per_s": "points/s",
    "searchable_per_s": "points/s",
    "effort": "candidates",
    "recall": "share",
    "p50_ms": "ms",
    "p99_ms": "ms",
    "one_per_s": "queries/s",
    "eight_per_s": "queries/s",
    "batch_per_s": "queries/s",
    "filtered_per_s": "queries/s",
    "filtered_recall": "share",
    "beside_writer_per_s": "queries/s",
    "beside_writer_p99_ms": "ms",
    "writer_per_s": "points/s",
}


def peer_readings(result: PeerResult) -> list[Reading]:
    """Return a peer's figures in the form of bars that have nothing to meet."""
    return [
        judge(Bar(f"peer.{result.name}.{figure}", unit), (getattr(result, figure), f"{result.release}; {result.settings}"))
        for figure, unit in PEER_FIGURES.items()
    ]


def suites_of(only: str | None) -> list[str]:
    """Return the suites that measure a bar whose name begins with `only`; None = all but the large one."""
    if only is None:
        return [suite for suite in SUITE_BARS if suite != "large"]
    return [suite for suite, bars in SUITE_BARS.items() if any(bar.name.startswith(only) for bar in bars)]


def measure_suite(stage: Stage, suite: str) -> Iterator[Reading]:
    """Measure one suite. A ParadoxError becomes the note of every bar that it left without a figure."""
    bars = {bar.name: bar for bar in SUITE_BARS[suite]}
    stage.tell(f"measuring {suite}")
    try:
        for name, value in SUITES[suite](stage):
            yield judge(bars.pop(name), value)
    except ParadoxError as error:
        for bar in bars.values():
            yield judge(bar, (None, error.message))


def measure_install(stage: Stage) -> Figures:
    """Measure importing and count what an installation brings."""
    cost = import_cost()
    yield "install.import_time", cost.elapsed_s
    yield "install.import_memory", cost.resident_bytes / MEBI
    packages = installed_packages()
    missing = f"{DISTRIBUTION} is not installed as a distribution"
    yield "install.packages", (None, missing) if packages is None else (float(len(packages)), "beside itself: " + ", ".join(packages))


def measure_bulk(stage: Stage) -> Figures:
    """Measure filling an empty collection until all of it is durable and found."""
    filled = stage.main.filled
    waited_s = settle(stage.main.database)
    best = stage.best_peer("searchable_per_s")
    yield "bulk.rate", filled.per_s
    yield "bulk.recall", (filled.recall, f"asked {filled.asked:g}, at once after the last point")
    yield "bulk.times_best_peer", (filled.per_s / best[0], f"{best[1]}: {best[0]:,.0f}") if best else (None, PEERS_ABSENT)
    yield "bulk.settled_after", (waited_s, "background work that goes on while searches are answered")


def measure_single(stage: Stage) -> Figures:
    """Measure adds of one point each, every one durable when it returns."""
    corpus = stage.main.corpus
    database = stage.main.database
    count = len(corpus)
    for name, callers in (("single.one_caller", 1), ("single.16_threads", WRITERS)):
        collection = database.collection(f"single-{callers}", dimensions=corpus.vectors.shape[1])

        def add(number: int, collection: Collection = collection) -> None:
            row = number % count
            collection.add(ids=[number], vectors=corpus.vectors[row : row + 1], payload=[{"text": corpus.texts[row]}])

        yield name, measure(add, callers=callers, duration_s=stage.duration_s).per_s
        database.drop(f"single-{callers}")


def measure_one(stage: Stage) -> Figures:
    """Measure one caller that asks one question at a time."""
    collection, corpus = stage.main.collection, stage.main.corpus
    yield "one.recall", recall_reached(collection, corpus, ASKED)
    speed = measure(asking(collection, corpus.questions, ASKED), duration_s=stage.duration_s)
    best = stage.best_peer("one_per_s")
    yield "one.p50", speed.p50_ms
    yield "one.p99", speed.p99_ms
    yield "one.rate", (speed.per_s, f"{speed.processor_s * 1e3:.2f} ms of processor a question")
    against = f"{best[1]} at recall {PEER_RECALL:g}: {best[0]:,.0f}" if best else ""
    yield "one.times_best_peer", (speed.per_s / best[0], against) if best else (None, PEERS_ABSENT)


def measure_many(stage: Stage) -> Figures:
    """Measure one caller that asks a hundred questions at a time."""
    collection, corpus = stage.main.collection, stage.main.corpus
    yield "many.recall", recall_reached_many(collection, corpus, ASKED)
    ask, asked = asking_many(collection, corpus.questions, ASKED)
    yield "many.rate", measure(ask, duration_s=stage.duration_s).per_s * asked


def measure_threads(stage: Stage) -> Figures:
    """Measure eight callers, and one again beside them, so that both meet the same machine."""
    collection, corpus = stage.main.collection, stage.main.corpus
    ask = asking(collection, corpus.questions, ASKED)
    one = measure(ask, duration_s=stage.duration_s)
    eight = measure(ask, callers=CALLERS, duration_s=stage.duration_s)
    yield "threads.rate", (eight.per_s, f"p99 {eight.p99_ms:.2f} ms")
    yield "threads.times_one_caller", (eight.per_s / one.per_s, f"one caller: {one.per_s:,.0f}")


def measure_filter(stage: Stage) -> Figures:
    """Measure every selectivity of every slant, in a collection whose payloads are the filtered fields."""
    corpus = stage.main.corpus
    ranks = rank_points(corpus)
    collection = stage.main.database.collection("filtered", dimensions=corpus.vectors.shape[1])
    collection.add(ids=np.arange(len(corpus)), vectors=np.asarray(corpus.vectors), payload=filter_payloads(ranks))
    settle(stage.main.database)
    short_s = stage.duration_s / 2
    quiet = measure(asking(collection, corpus.questions, ASKED), duration_s=stage.duration_s)
    yield "filter.unfiltered", quiet.per_s
    for selection in selections(corpus, ranks):
        name = f"filter.{selection.slant}.{selection.share * 100:g}%"
        found, times, rates = [], [], []
        for part in selection.parts:
            questions = corpus.questions[part.questions]
            answers = answers_of(collection, questions, ASKED, part.where)
            found.append(recall(answers, part.truth, corpus.vectors, questions, part.allowed))
            each_s = short_s / len(selection.parts)
            rates.append(measure(asking(collection, questions, ASKED, part.where), duration_s=each_s).per_s)
            times.append(rates[-1] / measure(asking(collection, questions, ASKED), duration_s=each_s).per_s)
        yield f"{name}.recall", float(np.mean(found)) if found else None
        yield f"{name}.times_unfiltered", (float(np.mean(times)), f"{np.mean(rates):,.0f} queries/s") if times else None
    for share in SHARES:
        width = round(share * STEPS)
        lows = np.linspace(0, STEPS - width, 2_000).astype(int).tolist()  # more filters than any cache of them would keep
        windows = [f"bucket >= {low} and bucket < {low + width}" for low in lows]
        rate = measure(asking(collection, corpus.questions, ASKED, windows), duration_s=short_s).per_s
        yield f"filter.new_each_time.{share * 100:g}%.times_unfiltered", (rate / quiet.per_s, f"{rate:,.0f} queries/s")


def measure_writer(stage: Stage) -> Figures:
    """Measure one reading caller while a writer replaces points without pause, WRITE_POINTS a call, each by its neighbour in the file."""
    collection, corpus = stage.main.collection, stage.main.corpus
    count = len(corpus)
    buckets = shuffled_buckets(count)
    ask = asking(collection, corpus.questions, ASKED)

    def write(turn: int) -> int:
        start = turn * WRITE_POINTS % max(1, count - WRITE_POINTS)
        rows = np.arange(start, min(start + WRITE_POINTS, count))
        fields = payloads(corpus, start, start + len(rows), buckets)
        collection.add(ids=rows, vectors=corpus.vectors[(rows - 1) % count], payload=fields)
        return len(rows)

    quiet = measure(ask, duration_s=stage.duration_s)
    with writing(write) as writer:
        beside = measure(ask, duration_s=3 * stage.duration_s)
    yield "writer.read_p99", (beside.p99_ms, f"p50 {beside.p50_ms:.2f} ms; quiet {quiet.p99_ms:.2f} ms")
    yield "writer.read_share_of_quiet", (beside.per_s / quiet.per_s, f"{beside.per_s:,.0f} of {quiet.per_s:,.0f} queries/s")
    yield "writer.rate", writer.per_s


def measure_large(stage: Stage) -> Figures:
    """Measure the large corpus: filling, searching, memory, and opening."""
    subject, corpus = stage.large, stage.large.corpus
    yield "large.points", float(len(corpus))
    yield "large.bulk_rate", (subject.filled.per_s, f"recall at once {subject.filled.recall:.4f}")
    collection = subject.collection
    yield "large.one.recall", recall_reached(collection, corpus, LARGE_ASKED)
    one = measure(asking(collection, corpus.questions, LARGE_ASKED), duration_s=stage.duration_s)
    yield "large.one.rate", (one.per_s, f"p50 {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms")
    for name, asked in (("95", 0.95), ("99", 0.99)):
        yield f"large.8_callers_{name}.recall", recall_reached(collection, corpus, asked)
        eight = measure(asking(collection, corpus.questions, asked), callers=CALLERS, duration_s=stage.duration_s)
        yield f"large.8_callers_{name}.rate", (eight.per_s, f"p99 {eight.p99_ms:.2f} ms")
    yield "large.many.recall", recall_reached_many(collection, corpus, LARGE_ASKED)
    ask, asked_at_once = asking_many(collection, corpus.questions, LARGE_ASKED)
    yield "large.many.rate", measure(ask, duration_s=stage.duration_s).per_s * asked_at_once
    subject.close()
    yield from _open_anew(stage, subject)


def _open_anew(stage: Stage, subject: Subject) -> Figures:
    """Open the large database in fresh processes: once as the system left its pages, once with them dropped."""
    questions = stage.folder / "questions.npy"
    np.save(questions, subject.corpus.questions)
    arguments = {"folder": str(subject.folder), "questions": str(questions), "collection": COLLECTION, "recall": LARGE_ASKED}
    warm = msgspec.convert(in_child("opening", **arguments), Opened)
    forget_pages(subject.folder)
    cold = msgspec.convert(in_child("opening", **arguments), Opened)
    if warm.after_bytes is None or warm.before_bytes is None:
        yield "large.resident", (None, "this system does not tell anonymous memory apart")
    else:
        ours = (warm.after_bytes - warm.before_bytes) / warm.points
        yield "large.resident", (warm.after_bytes / warm.points, f"all of the process; {ours:.0f} without Python and its imports")
    yield "large.open", (warm.answer_s, f"until a first answer; {warm.open_s:.3f} s until open")
    yield "large.open_from_disk", (cold.answer_s, f"no page in the system's cache; {cold.open_s:.3f} s until open")


SUITES: Mapping[str, Callable[[Stage], Figures]] = {
    "install": measure_install,
    "bulk": measure_bulk,
    "single": measure_single,
    "one": measure_one,
    "many": measure_many,
    "threads": measure_threads,
    "filter": measure_filter,
    "writer": measure_writer,
    "large": measure_large,
}
