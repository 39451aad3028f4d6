"""Growth: what a question costs as the data grows, at equal recall, read in each of three ways.

    scan      every code of every segment is read where it stands
    regions   only the lists of the nearest regions are read, wherever a segment has such lists; the one list, where all codes are packed
    planner   whatever the planner picks by what it timed

The first two are forced by telling the planner that a row takes far longer the other way; recall is asked the same each time, and what was
reached is printed beside the cost. Sizes beyond the largest corpus are made by repeating its points with noise.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from paradox.cli.bench.bars import Bar, Reading, judge
from paradox.cli.bench.corpus import NEIGHBOURS, SEED, Corpus, Tell, find_truth, load, read_manifest, recall
from paradox.cli.bench.subject import COLLECTION, answers_of, asking, settle
from paradox.cli.bench.timing import measure
from paradox.cli.screen import Screen, size
from paradox.model.points import Matrix

if TYPE_CHECKING:
    from paradox.node.embedded import EmbeddedDatabase
    from paradox.router.scatter import Scatter
    from paradox.shard.search import Visit

SIZES = (10_000, 100_000, 1_000_000)
QUESTIONS = 200
RECALLS = (0.9, 0.95, 0.99)
WAYS = ("scan", "regions", "planner")
DEAR_US = 1e6
"""Told for a row that is not to be read: it is only where nothing else keeps the recall."""
PICK_WITHIN = 1.2
"""The planner's pick must cost at most so many times what the better way costs."""
NOISE = 0.35
"""Length of the noise added to a repeated point of unit length: enough that it is not its original's nearest neighbour every time."""
FILL_POINTS = 100_000
DURATION_S = 2.0
CODE_BITS = 4
OK = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a question costs. segments: way → how many were read so. bytes_read: codes, centroids and rescored vectors, a question."""

    points: int
    way: str
    asked: float
    recall: float
    p50_ms: float
    per_s: float
    bytes_read: float
    segments: dict[str, int]


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """How the planner's pick compares with the better of the other two ways. same: it is that way; then the times differ by chance."""

    points: int
    asked: float
    better: str
    times_better: float
    same: bool
    met: bool


def show_growth(cache: Path, screen: Screen, *, points_max: int | None = None) -> int:
    """Measure every size up to `points_max` (default: the largest corpus), print, and return the exit code."""
    costs: list[Cost] = []
    for corpus in grown_corpora(cache, points_max, screen.note):
        with tempfile.TemporaryDirectory(dir=cache, prefix="growth-") as folder:
            for cost in measure_costs(corpus, Path(folder) / "database", screen.note):
                costs.append(cost)
                for reading in cost_readings(cost):
                    screen.document(reading)
    heads = ("points", "recall asked", "way", "recall", "p50 ms", "queries/s", "read a question", "segments")
    screen.table(heads, [_row(cost) for cost in costs])
    screen.line("")
    picks = list(judge_picks(costs))
    for pick in picks:
        screen.document(pick_reading(pick))
        verdict = "as it does the same" if pick.same else f"{'within' if pick.met else 'NOT WITHIN'} {PICK_WITHIN:g}"
        screen.line(f"{pick.points:>11,} points, recall {pick.asked:g}: the pick took {pick.times_better:.2f} × {pick.better}, {verdict}")
    for line in exponents(costs):
        screen.line(line)
    return OK


def cost_readings(cost: Cost) -> Iterator[Reading]:
    """Yield a cost in the form of bars that have nothing to meet."""
    name = f"growth.{cost.points}.recall_{cost.asked:g}.{cost.way}"
    note = ", ".join(f"{count} {way}" for way, count in cost.segments.items())
    for figure, unit in (("recall", "share"), ("p50_ms", "ms"), ("per_s", "queries/s"), ("bytes_read", "bytes/query")):
        yield judge(Bar(f"{name}.{figure}", unit), (getattr(cost, figure), note))


def pick_reading(pick: Pick) -> Reading:
    """Return a pick beside its bar."""
    bar = Bar(f"growth.{pick.points}.recall_{pick.asked:g}.times_better_way", "ratio", "at most", PICK_WITHIN)
    took = f"the better way: {pick.better}"
    return judge(bar, (1.0, f"{took}, which it is; measured {pick.times_better:.2f} apart") if pick.same else (pick.times_better, took))


def grown_corpora(cache: Path, points_max: int | None, tell: Tell) -> Iterator[Corpus]:
    """Yield corpora of growing size, each with the truth of its first QUESTIONS questions."""
    name = "large" if read_manifest(cache, "large") is not None else "small"
    whole = load(cache, name, points=points_max)
    limit = points_max or len(whole)
    sizes = [each for each in SIZES if each <= limit]
    if not sizes or limit > 2 * sizes[-1]:
        sizes.append(limit)
    questions = whole.questions[:QUESTIONS]
    for count in sizes:
        tell(f"{count:,} points")
        with tempfile.TemporaryDirectory(dir=cache, prefix="repeated-") as folder:
            vectors = (
                whole.vectors[:count] if count <= len(whole) else repeat_with_noise(whole.vectors, count, Path(folder) / "vectors.npy")
            )
            truth = find_truth(vectors, questions)
            yield Corpus(name=f"{count:,} points", vectors=vectors, texts=(), sources=(), questions=questions, truth=truth)


def repeat_with_noise(vectors: Matrix, count: int, path: Path) -> Matrix:
    """Return (count, d) unit vectors in a file: those of `noisy_blocks`."""
    held = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, vectors.shape[1]))
    for start, block in noisy_blocks(vectors, count):
        held[start : start + len(block)] = block
    return held


def noisy_blocks(vectors: Matrix, count: int) -> Iterator[tuple[int, Matrix]]:
    """Yield `count` unit vectors, in blocks with where they begin: `vectors` over and over, every repeat with noise in a new direction."""
    dice = np.random.default_rng(SEED)
    for start in range(0, count, FILL_POINTS):
        rows = np.arange(start, min(start + FILL_POINTS, count))
        block = np.array(vectors[rows % len(vectors)])
        noise = dice.standard_normal(block.shape, dtype=np.float32) * np.float32(NOISE / math.sqrt(block.shape[1]))
        block += np.where(rows[:, None] >= len(vectors), noise, np.float32(0))
        yield start, block / np.linalg.norm(block, axis=1, keepdims=True)


def measure_costs(corpus: Corpus, folder: Path, tell: Tell, *, duration_s: float = DURATION_S) -> Iterator[Cost]:
    """Fill a database with the corpus, let it settle, and yield the cost of each way at each recall asked."""
    from paradox.client.sync import Database
    from paradox.node.embedded import EmbeddedDatabase, open_folder

    transport = open_folder(str(folder), read_only=False, origin="", timeout_s=5.0)
    assert isinstance(transport, EmbeddedDatabase)
    with Database(transport) as database:
        collection = database.collection(COLLECTION, dimensions=corpus.vectors.shape[1])
        for start in range(0, len(corpus), FILL_POINTS):
            stop = min(start + FILL_POINTS, len(corpus))
            collection.add(ids=np.arange(start, stop), vectors=np.array(corpus.vectors[start:stop]))
        tell(f"  settled after {settle(database):.0f} s")
        engine = transport.opened(COLLECTION).held.engine
        for asked, way in product(RECALLS, WAYS):
            with forced(engine, way):
                found = answers_of(collection, corpus.questions, asked)
                speed = measure(asking(collection, corpus.questions, asked), duration_s=duration_s)
                visits = visits_of(transport, corpus.questions[:1], asked)
            yield Cost(
                points=len(corpus),
                way=way,
                asked=asked,
                recall=recall(found, corpus.truth, corpus.vectors, corpus.questions),
                p50_ms=speed.p50_ms,
                per_s=speed.per_s,
                bytes_read=sum(bytes_read(visit, corpus.vectors.shape[1]) for visit in visits),
                segments=_count([visit.choice.way for visit in visits]),
            )


@contextmanager
def forced(engine: Scatter, way: str) -> Iterator[None]:
    """Have the segments that hold lists read one way, at whatever effort keeps the recall; the planner's own way is one too."""
    usual = engine.costs
    listed = [column for segment in engine.segments() for column in segment.vectors.values() if column.probe_curve is not None]
    timed = [(column.scan_row_us, column.list_row_us) for column in listed]
    if way == "regions":
        engine.costs = msgspec.structs.replace(usual, exact_row_us=math.inf)
    for column in listed:
        if way == "regions":
            column.scan_row_us = DEAR_US
        elif way == "scan":
            column.list_row_us = DEAR_US
    try:
        _forget_choices(engine)
        yield
    finally:
        engine.costs = usual
        for column, (scan_row_us, list_row_us) in zip(listed, timed, strict=True):
            column.scan_row_us, column.list_row_us = scan_row_us, list_row_us
        _forget_choices(engine)


def _forget_choices(engine: Scatter) -> None:
    for segment in engine.segments():
        for column in segment.vectors.values():
            column.choices.clear()


def visits_of(transport: EmbeddedDatabase, question: Matrix, asked: float) -> list[Visit]:
    """Return what a search does in each segment."""
    from paradox.model.queries import Question
    from paradox.shard.search import search_segment

    held = transport.opened(COLLECTION).held
    wanted = Question(vectors=question, using=held.spec.main, k=NEIGHBOURS, recall=asked)
    return [search_segment(segment, question, wanted, held.engine.costs)[1] for segment in held.engine.segments()]


def bytes_read(visit: Visit, dimensions: int) -> float:
    """Return the bytes of codes, centroids and vectors that a question reads in one segment."""
    choice, segment = visit.choice, visit.segment
    rescored = choice.depth * dimensions * 4.0
    code = dimensions * CODE_BITS / 8
    if choice.way == "scan":
        return segment.rows * code + rescored
    if choice.way in ("probe", "packed"):
        column: Any = next(iter(segment.vectors.values()))
        regions = len(segment.region_names) if column.probed else 0  # type: ignore[union-attr]
        listed = 0.0 if column.probe_curve is None else column.probe_curve.listed
        return (
            choice.probes * listed * (code / 2 + 8) + regions * dimensions * 4.0 + rescored
        )  # 4 bits for two dimensions, and a row number
    return rescored if choice.way == "exact" else 0.0


def judge_picks(costs: Sequence[Cost]) -> Iterator[Pick]:
    """Yield, for each size and recall, the planner's cost over that of the better way."""
    for points, asked in dict.fromkeys((cost.points, cost.asked) for cost in costs):
        here = {cost.way: cost for cost in costs if (cost.points, cost.asked) == (points, asked)}
        better = min((here[way] for way in ("scan", "regions")), key=lambda cost: cost.p50_ms)
        picked = here["planner"]
        times, same = picked.p50_ms / better.p50_ms, (picked.segments, picked.bytes_read) == (better.segments, better.bytes_read)
        yield Pick(points=points, asked=asked, better=better.way, times_better=times, same=same, met=same or times <= PICK_WITHIN)


def exponents(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield, for each recall and way, the power of the number of points with which time and bytes grow, smallest size to largest."""
    for asked, way in dict.fromkeys((cost.asked, cost.way) for cost in costs):
        line = sorted((cost for cost in costs if (cost.asked, cost.way) == (asked, way)), key=lambda cost: cost.points)
        first, last = line[0], line[-1]
        if last.points == first.points:
            continue
        steps = math.log(last.points / first.points)
        time_power = math.log(last.p50_ms / first.p50_ms) / steps
        bytes_power = math.log(last.bytes_read / first.bytes_read) / steps
        yield f"recall {asked:g}, {way}: time grows with the power {time_power:.2f} of the points, bytes read with {bytes_power:.2f}"


def _count(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}


def _row(cost: Cost) -> tuple[str, ...]:
    return (
        f"{cost.points:,}",
        f"{cost.asked:g}",
        cost.way,
        f"{cost.recall:.4f}",
        f"{cost.p50_ms:.3f}",
        f"{cost.per_s:,.0f}",
        size(cost.bytes_read),
        ", ".join(f"{count} {way}" for way, count in cost.segments.items()),
    )
