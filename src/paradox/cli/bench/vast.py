"""Vast: twenty million points on one machine, in files that memory holds only the codes of; and what a thousand million would take.

The points are those of the largest set over and over, each repeat with noise; they are made, added and compared with the questions block by
block, so that the run keeps no second copy of them.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from paradox.cli.bench.bars import Bar, Reading, judge
from paradox.cli.bench.corpus import NEIGHBOURS, Tell, load, read_manifest
from paradox.cli.bench.growth import CODE_BITS, QUESTIONS, bytes_read, noisy_blocks, visits_of
from paradox.cli.bench.opening import Opened
from paradox.cli.bench.subject import COLLECTION, answers_of, asking, settle
from paradox.cli.bench.timing import Speed, in_child, measure
from paradox.errors import StoreFull
from paradox.model.points import Matrix, Rows

if TYPE_CHECKING:
    from paradox.client.sync import Database
    from paradox.node.embedded import EmbeddedDatabase

POINTS = 20_000_000
ASKED = 0.95
SETTLE_S = 7_200.0
FILES_TIMES = 1.8
"""Room on the disk, in times the vectors': what is merged is there twice for a while."""
SIZES = (100_000_000, 1_000_000_000)
VISITED_POWER = 0.6
"""With which the shards that a question visits grow with the shards there are, as `--shards` measured it."""


class Nearest:
    """The nearest of all blocks to some questions, exactly."""

    def __init__(self, questions: Matrix) -> None:
        self.questions = questions
        self._scores = np.full((len(questions), NEIGHBOURS), -np.inf, dtype=np.float32)
        self.rows: Rows = np.full((len(questions), NEIGHBOURS), -1, dtype=np.int64)

    def take(self, start: int, block: Matrix) -> None:
        """Compare a block of points, which are numbered from `start` on."""
        scores = self.questions @ block.T
        best = np.argpartition(scores, -min(NEIGHBOURS, len(block)), axis=1)[:, -NEIGHBOURS:]
        both = np.concatenate((self._scores, np.take_along_axis(scores, best, axis=1)), axis=1)
        rows = np.concatenate((self.rows, best + start), axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :NEIGHBOURS]
        self._scores, self.rows = np.take_along_axis(both, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def recall(self, found: list[list[int]]) -> float:
        """Return which share of them was found."""
        return sum(len(set(one) & set(true.tolist())) for one, true in zip(found, self.rows, strict=True)) / self.rows.size


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What questions cost once all is in order. read: bytes a question. regions: of the map. segments: how many, and how they are read."""

    recall: float
    one: Speed
    read: float
    regions: int
    segments: str


def vast_readings(cache: Path, tell: Tell, *, points: int, duration_s: float) -> Iterator[Reading]:
    """Fill a folder with so many points and yield what that took, and what it then costs.

    Raises StoreFull before it begins, DeadlineExceeded when it does not settle.
    """
    import paradox

    corpus = load(cache, "large" if read_manifest(cache, "large") is not None else "small")
    width = corpus.vectors.shape[1]
    needed, free = points * width * 4 * FILES_TIMES, shutil.disk_usage(cache).free
    if needed > free:
        raise StoreFull(
            f"{points:,} points of {width} dimensions take {needed / 1e9:.0f} GB at times, and {free / 1e9:.0f} GB are free in {cache}",
            hint="give --points fewer, or --cache another folder",
        )
    with tempfile.TemporaryDirectory(dir=cache, prefix="vast-") as scratch:
        folder = Path(scratch) / "database"
        nearest = Nearest(np.ascontiguousarray(corpus.questions[:QUESTIONS]))
        with paradox.connect(folder) as database:
            added_s = fill(database, corpus.vectors, points, nearest, tell)
            repeats = f"{len(corpus):,} real points and repeats of them with noise"
            yield judge(Bar("vast.points", "points"), (float(points), repeats))
            yield judge(Bar("vast.bulk_rate", "points/s"), (points / added_s, "until durable and searchable"))
            tell("waiting until it stands still")
            yield judge(Bar("vast.settled_after", "s"), settle(database, SETTLE_S))
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        yield judge(Bar("vast.disk", "bytes/point"), stored / points)
        asked_file = Path(scratch) / "questions.npy"
        np.save(asked_file, nearest.questions)
        tell("opening it in a fresh process")
        told = in_child("opening", folder=str(folder), questions=str(asked_file), collection=COLLECTION, recall=ASKED)
        opened = msgspec.convert(told, Opened)
        yield judge(Bar("vast.open", "s"), (opened.answer_s, f"until a first answer; {opened.open_s:.2f} s until open"))
        resident = None if opened.after_bytes is None else opened.after_bytes / points
        yield judge(Bar("vast.resident", "bytes/point"), (resident, "all of the process but mapped files"))
        tell("asking")
        asked = ask(folder, nearest, duration_s)
        yield judge(Bar("vast.recall", "share", "at least", ASKED), (asked.recall, f"{ASKED:g} asked"))
        yield judge(Bar("vast.one.p50", "ms"), (asked.one.p50_ms, f"p99 {asked.one.p99_ms:.1f} ms"))
        yield judge(Bar("vast.one.rate", "queries/s"), asked.one.per_s)
        yield judge(Bar("vast.read", "MiB/query"), (asked.read / 2**20, f"{asked.regions:,} regions; segments: {asked.segments}"))
        yield from projected(points, width, stored / points, resident or math.nan, asked)


def fill(database: Database, vectors: Matrix, points: int, nearest: Nearest, tell: Tell) -> float:
    """Add so many points, compare each with the questions, and return how many seconds the adding alone took."""
    added_s = 0.0
    collection = database.collection(COLLECTION, dimensions=vectors.shape[1])
    for start, block in noisy_blocks(vectors, points):
        nearest.take(start, block)
        before = time.perf_counter()
        collection.add(ids=np.arange(start, start + len(block)), vectors=block)
        added_s += time.perf_counter() - before
        if (start + len(block)) % (points // 10 or 1) < len(block):
            tell(f"  {start + len(block):,} points added, {(start + len(block)) / added_s:,.0f}/s")
    return added_s


def ask(folder: Path, nearest: Nearest, duration_s: float) -> Asked:
    """Open a folder and ask it."""
    from paradox.client.sync import Database
    from paradox.node.embedded import EmbeddedDatabase, open_folder

    transport = open_folder(str(folder), read_only=True, origin="", timeout_s=5.0)
    assert isinstance(transport, EmbeddedDatabase)
    with Database(transport) as database:
        collection = database[COLLECTION]
        found = answers_of(collection, nearest.questions, ASKED)
        one = measure(asking(collection, nearest.questions, ASKED), duration_s=duration_s)
        return Asked(
            recall=nearest.recall(found),
            one=one,
            read=_read(transport, nearest.questions),
            regions=len(transport.opened(COLLECTION).held.engine.regions.names),
            segments=_segments(transport, nearest.questions),
        )


def _read(transport: EmbeddedDatabase, questions: Matrix) -> float:
    visits = visits_of(transport, questions[:1], ASKED)
    return sum(bytes_read(visit, questions.shape[1]) for visit in visits)


def _segments(transport: EmbeddedDatabase, questions: Matrix) -> str:
    ways = [visit.choice.way for visit in visits_of(transport, questions[:1], ASKED)]
    return ", ".join(f"{ways.count(way)} {way}" for way in dict.fromkeys(ways))


def projected(points: int, width: int, stored: float, resident: float, asked: Asked) -> Iterator[Reading]:
    """Yield what more points would take, by their sizes alone: shards of as many points as were measured here, one a machine, one copy."""
    for total in SIZES:
        shards, regions = math.ceil(total / points), round(asked.regions * total / points)
        visited = min(float(shards), shards**VISITED_POWER)
        name = f"vast.projected.{total}"
        note = f"{shards} shards as large as this one; nothing of this was measured"
        yield judge(Bar(f"{name}.memory", "GiB"), (resident * total / 2**30, note))
        yield judge(Bar(f"{name}.disk", "GiB"), (stored * total / 2**30, note))
        yield judge(Bar(f"{name}.map", "MiB"), (2 * regions * width / 2**20, f"{regions:,} regions, on each node"))
        yield judge(Bar(f"{name}.visited", "shards"), (visited, f"{shards} to the power {VISITED_POWER:g}, as --shards measured it"))
        yield judge(Bar(f"{name}.processor", "ms/query"), (visited * asked.one.processor_s * 1e3, "of all machines together"))
        yield judge(Bar(f"{name}.read", "MiB/query"), (visited * asked.read / 2**20, f"codes have {CODE_BITS} bits a dimension"))
