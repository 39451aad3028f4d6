"""Routing: how few shards a question visits for its recall, with one, two and three copies of each point, and as shards become more.

    asked     what a user gets who asks for a recall: the patience that the collection's own points showed to keep it
    enough    the least patience with which the questions themselves had that recall: what is possible

All shards are in one process, which does what a cluster does: the same maps, the same copies, the same patience. Recall is against the
unsharded exact answer. Two sets: the static vectors that everything here is measured with, and the same texts under the sentence
encoder "text".
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np

from paradox.cli.bench.bars import Bar, Reading, judge
from paradox.cli.bench.corpus import NEIGHBOURS, Corpus, Tell, Truth, cached_truth, load, read_lines, read_manifest, recall
from paradox.cli.bench.subject import COLLECTION, FILL_POINTS, asking, read_all, settle
from paradox.cli.screen import Screen
from paradox.errors import Missing
from paradox.model.points import Matrix

if TYPE_CHECKING:
    from paradox.client.sync import Collection
    from paradox.router.patience import Walk
    from paradox.router.scatter import Scatter

Way: TypeAlias = Literal["asked", "enough"]
SHARDS = 16
COPIES = (1, 2, 3)
GROWING = (4, 16, 64)
RECALLS = (0.9, 0.95, 0.98)
QUESTIONS = 400
LARGEST_MAX = 1.3
VISITED_MAX, P95_MAX = 3.0, 8
PROMISED: Mapping[int, float] = {2: 0.95, 3: 0.98}
"""Copies → the recall that so few visits should be enough for."""
PROCESSOR_MAX = 0.4
POWER_MAX = 0.5
TURN_QUESTIONS = 50
"""Asked one way before as many are asked the other way, so that both meet the same machine."""
ENCODE_TEXTS = 8_192
OK = 0


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: vectors of one kind over some shards, with some copies."""

    vectors: str
    shards: int
    copies: int

    @property
    def name(self) -> str:
        """What the names of its figures begin with."""
        return f"shards.{self.vectors}.{self.shards}_shards.{self.copies}_copies"


class Visited(msgspec.Struct, frozen=True, kw_only=True):
    """What questions visited. largest: points in the fullest shard over the average. waves: how often shards were waited for, a question.

    processor: time of the processor, over that of visiting every shard with the same recall asked; None where it was not measured.
    """

    stand: Stand
    points: int
    largest: float
    way: Way = "asked"
    wanted: float = 0.0
    recall: float = 0.0
    mean: float = 0.0
    p95: float = 0.0
    waves: float = 0.0
    processor: float | None = None


def stands(only: str | None) -> list[Stand]:
    """Return what is measured. only: what names begin with; None = everything."""
    each = [(SHARDS, copies) for copies in COPIES] + [(shards, 2) for shards in GROWING if shards != SHARDS]
    every = [Stand(vectors=vectors, shards=shards, copies=copies) for vectors in ("static", "sentences") for shards, copies in each]
    return [stand for stand in every if only is None or stand.name.startswith(only)]


def show_routing(cache: Path, screen: Screen, *, points_max: int | None = None, large: bool = False, only: str | None = None) -> int:
    """Measure, print, and return the exit code. Raises Missing when nothing has a name that begins with `only`."""
    chosen = [stand for stand in stands(only) if not large or stand.vectors == "static"]  # a million sentences take an hour to encode
    if not chosen:
        raise Missing(f"nothing that is measured over shards has a name that begins with {only!r}", hint="try --only shards.static")
    static = load(cache, "large" if large else "small", points=points_max)
    rows: list[Visited] = []
    for stand in chosen:
        corpus = static if stand.vectors == "static" else sentences(cache, static, screen.note)
        screen.note(f"{stand.name}: {len(corpus):,} points")
        with tempfile.TemporaryDirectory(dir=cache, prefix="routing-") as folder:
            for row in measure_routing(corpus, Path(folder) / "database", screen.note, stand):
                rows.append(row)
                for reading in figures(row):
                    screen.document(reading)
    heads = ("vectors", "shards", "copies", "", "recall", "had", "visited", "p95", "waves", "largest", "processor")
    screen.table(heads, [_row(row) for row in rows])
    screen.line("")
    for reading in judged(rows):
        screen.document(reading)
        verdict = "met" if reading.met else "MISSED"
        screen.line(f"{reading.name}: {_figure(reading.value)} {reading.unit}, bar {reading.bar:g}: {verdict} {reading.note}")
    return OK


def sentences(cache: Path, static: Corpus, tell: Tell) -> Corpus:
    """Return the same texts and questions under the encoder "text", from the cache when they are there. Cost: a minute for 100,000."""
    made = read_manifest(cache, "large") or read_manifest(cache, "small")
    assert made is not None, "the static set is made of it"
    count, key = len(static), f"sentences-{made.vectors_sha256[:12]}-{len(static)}"
    path = cache / f"{key}.npy"
    if not path.exists():
        lines = read_lines(cache / f"{made.name}.jsonl", made.points)
        tell(f"encoding {count + len(static.questions):,} texts as sentences")
        np.save(path, _encoded([line.text for line in (*lines[:count], *lines[made.points - made.questions :])]))
    vectors = np.load(path, mmap_mode="r")
    questions = np.ascontiguousarray(vectors[count:])
    return Corpus(
        name=key,
        vectors=vectors[:count],
        texts=static.texts,
        sources=static.sources,
        questions=questions,
        truth=cached_truth(cache, key, vectors[:count], questions),
    )


def _encoded(texts: Sequence[str]) -> Matrix:
    """Return (n, d) vectors of unit length."""
    from paradox.node.encoders import resolve

    encoder = resolve("text")
    vectors = np.concatenate([encoder.encode(texts[start : start + ENCODE_TEXTS]) for start in range(0, len(texts), ENCODE_TEXTS)])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure_routing(corpus: Corpus, folder: Path, tell: Tell, stand: Stand) -> Iterator[Visited]:
    """Fill a database with the corpus, let it settle, and yield what its questions visit for each recall, in each way."""
    from paradox.client.sync import Database
    from paradox.node.embedded import EmbeddedDatabase, open_folder

    transport = open_folder(str(folder), read_only=False, origin="", timeout_s=5.0)
    assert isinstance(transport, EmbeddedDatabase)
    truth = Truth(rows=corpus.truth.rows[:QUESTIONS], floor=corpus.truth.floor[:QUESTIONS])
    corpus = msgspec.structs.replace(corpus, questions=corpus.questions[:QUESTIONS], truth=truth)
    with Database(transport) as database:
        collection = database.collection(COLLECTION, dimensions=corpus.vectors.shape[1], shards=stand.shards, copies=stand.copies)
        for start in range(0, len(corpus), FILL_POINTS):
            stop = min(start + FILL_POINTS, len(corpus))
            collection.add(ids=np.arange(start, stop), vectors=np.array(corpus.vectors[start:stop]))
        settled_s = settle(database)
        engine = transport.opened(COLLECTION).held.engine
        tell(f"  settled after {settled_s:.0f} s, {len(engine.regions):,} regions")
        stored = engine.stored()
        walks = walks_of(engine, corpus.questions)
        row = Visited(stand=stand, points=len(corpus), largest=max(stored) * stand.shards / sum(stored))
        for wanted in RECALLS:
            row = msgspec.structs.replace(row, wanted=wanted)
            yield _asked(row, collection, engine, corpus, walks)
            yield _enough(row, corpus, walks)


def walks_of(engine: Scatter, questions: Matrix) -> list[Walk]:
    """Return each question's way over the shards, and what every shard finds for it."""
    from paradox.model.queries import Question
    from paradox.router.patience import SAMPLE_RECALL, TOGETHER, Walk

    walks = []
    for start in range(0, len(questions), TOGETHER):
        part = questions[start : start + TOGETHER]
        question = Question(vectors=part, using=engine.spec.main, k=NEIGHBOURS, recall=SAMPLE_RECALL, with_payload=False)
        found = engine.everywhere(question)
        for number, way in enumerate(engine.ways(part, question)):
            answers = {stop.shard: found[stop.shard, number] for stop in way}
            walks.append(Walk(way, {shard: (answer.keys, answer.score) for shard, answer in answers.items()}))
    return walks


def _asked(row: Visited, collection: Collection, engine: Scatter, corpus: Corpus, walks: Sequence[Walk]) -> Visited:
    """Return a row with what questions that ask for its recall find and visit, and what that costs."""
    from paradox.router.patience import choose_patience, visited

    hits = [collection.search(question, k=NEIGHBOURS, recall=row.wanted) for question in corpus.questions]
    visits = [0 if found.plan is None else len(found.plan.shards) for found in hits]
    chosen = choose_patience(engine.routing, k=NEIGHBOURS, recall=row.wanted, exact=False, shards=len(engine.shards))
    return msgspec.structs.replace(
        row,
        way="asked",
        recall=recall([read_all(found) for found in hits], corpus.truth, corpus.vectors, corpus.questions),
        mean=float(np.mean(visits)),
        p95=float(np.quantile(visits, 0.95, method="inverted_cdf")),
        waves=float(np.mean([len(visited(walk, NEIGHBOURS, chosen.patience)) for walk in walks])),
        processor=processor_share(collection, engine, corpus.questions, row.wanted),
    )


def _enough(row: Visited, corpus: Corpus, walks: Sequence[Walk]) -> Visited:
    """Return a row with what the least patience visits that has its recall; all shards when none has."""
    from paradox.router.patience import EVERYWHERE, PATIENCES, visited

    for patience in (*PATIENCES, EVERYWHERE):
        waves = [visited(walk, NEIGHBOURS, patience) for walk in walks]
        shards = [[shard for wave in each for shard in wave] for each in waves]
        found = [_best(walk, seen) for walk, seen in zip(walks, shards, strict=True)]
        had = recall(found, corpus.truth, corpus.vectors, corpus.questions)
        if had >= row.wanted:
            break
    counts = [len(seen) for seen in shards]
    return msgspec.structs.replace(
        row,
        way="enough",
        recall=had,
        mean=float(np.mean(counts)),
        p95=float(np.quantile(counts, 0.95, method="inverted_cdf")),
        waves=float(np.mean([len(each) for each in waves])),
    )


def _best(walk: Walk, shards: Sequence[int]) -> list[int]:
    """Return the rows of the nearest points that these shards found."""
    scores = {key: float(score) for shard in shards for key, score in zip(*walk.found[shard], strict=True)}
    return sorted(scores, key=lambda key: -scores[key])[:NEIGHBOURS]


def processor_share(collection: Collection, engine: Scatter, questions: Matrix, wanted: float) -> float:
    """Return the processor time of a question over that of the same question to every shard, asked in turns."""
    ask, usual = asking(collection, questions, wanted), engine.routing
    used = {True: 0.0, False: 0.0}
    for start in range(0, len(questions), TURN_QUESTIONS):
        for routed in used:
            engine.routing = usual if routed else ()
            before = time.process_time()
            for number in range(start, min(start + TURN_QUESTIONS, len(questions))):
                ask(number)
            used[routed] += time.process_time() - before
    engine.routing = usual
    return used[True] / used[False]


def figures(row: Visited) -> Iterator[Reading]:
    """Yield a row in the form of bars that have nothing to meet."""
    name = f"{row.stand.name}.recall_{row.wanted:g}.{row.way}"
    units = {"recall": "share", "mean": "shards", "p95": "shards", "waves": "waves", "largest": "ratio", "processor": "ratio"}
    for figure, unit in units.items():
        if getattr(row, figure) is not None:
            yield judge(Bar(f"{name}.{figure}", unit), getattr(row, figure))


def judged(rows: Sequence[Visited]) -> Iterator[Reading]:
    """Yield the figures that have something to meet, beside it."""
    for row in rows:
        name = row.stand.name
        if row.stand.shards == SHARDS and PROMISED.get(row.stand.copies) == row.wanted:
            yield judge(Bar(f"{name}.{row.way}.recall", "share", "at least", row.wanted), row.recall)
            note = f"at recall {row.recall:.3f}"
            yield judge(Bar(f"{name}.{row.way}.visited", "shards", "at most", VISITED_MAX), (row.mean, note))
            yield judge(Bar(f"{name}.{row.way}.p95", "shards", "at most", P95_MAX), (row.p95, note))
            if row.processor is not None:
                yield judge(Bar(f"{name}.{row.way}.processor", "ratio", "at most", PROCESSOR_MAX), (row.processor, note))
                yield judge(Bar(f"{name}.largest", "ratio", "at most", LARGEST_MAX), row.largest)
    for vectors, way in dict.fromkeys((row.stand.vectors, row.way) for row in rows):
        mine = [row for row in rows if (row.stand.vectors, row.way, row.stand.copies, row.wanted) == (vectors, way, 2, PROMISED[2])]
        grown = sorted(mine, key=lambda row: row.stand.shards)
        if len(grown) > 1:
            first, last = grown[0], grown[-1]
            power = math.log(last.mean / first.mean) / math.log(last.stand.shards / first.stand.shards)
            note = f"{first.mean:.1f} of {first.stand.shards}, {last.mean:.1f} of {last.stand.shards}"
            yield judge(Bar(f"shards.{vectors}.{way}.power_of_shards", "power", "at most", POWER_MAX), (power, note))


def _row(row: Visited) -> tuple[str, ...]:
    return (
        row.stand.vectors,
        str(row.stand.shards),
        str(row.stand.copies),
        row.way,
        f"{row.wanted:g}",
        f"{row.recall:.3f}",
        f"{row.mean:.2f}",
        f"{row.p95:.0f}",
        f"{row.waves:.1f}",
        f"{row.largest:.2f}",
        _figure(row.processor),
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
