"""Maps: what ranking and assigning cost where there are very many regions. The centroids are synthetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import numpy as np

from paradox.cli.bench.bars import Bar, Reading, judge
from paradox.cli.bench.corpus import Tell
from paradox.cli.bench.timing import quantile
from paradox.model.points import Matrix, Rows
from paradox.model.topology import RegionMap
from paradox.router.patience import Stop, way
from paradox.space.levels import Groups
from paradox.space.regions import Atlas, levels

REGIONS, DIMENSIONS, SHARDS = 1_000_000, 256, 128
FAMILY = 100
"""Regions of one family, and families of one clan."""
SPREAD = (1.0, 0.8, 0.6)
"""Lengths of the noise of clans, of families within their clan, and of regions within their family."""
QUESTIONS, POINTS, BATCH = 500, 10_000, 500
NEAREST = (10, 100)
BLOCK = 16_384
MEBI = 1 << 20


def map_readings(tell: Tell, *, regions: int = REGIONS) -> Iterator[Reading]:
    """Yield what a map of so many regions costs, in families as those of real data are; then the recall where nothing is near anything."""
    tell(f"making {regions:,} regions of {DIMENSIONS} dimensions")
    dice = np.random.default_rng(0)
    made = synthetic_map(dice, regions, SPREAD)
    atlas = Atlas(made, "cosine")
    yield judge(Bar("map.regions", "regions"), (float(regions), f"{DIMENSIONS} dimensions, {SHARDS} shards"))
    yield judge(Bar("map.grouped_in", "s"), (_timed_ms(atlas.groups) / 1e3, "once a map, by whoever ranks or assigns"))
    groups = atlas.groups()[0]
    own, beside_it = _array_bytes(made) / MEBI, _array_bytes(groups) / MEBI
    yield judge(Bar("map.memory", "MiB"), (own + beside_it, f"{own:,.0f} the map, {beside_it:,.0f} its {len(groups):,} groups"))
    questions = beside(dice, made, QUESTIONS, SPREAD[-1])
    times = np.sort([_timed_ms(partial(_ways, atlas, question[None])) for question in questions])
    yield judge(Bar("map.rank_p50", "ms", "at most", 1.0), (quantile(times, 0.5), "one query, until all shards are in order"))
    yield judge(Bar("map.rank_p99", "ms"), quantile(times, 0.99))
    yield from _recalls("map", atlas, questions)
    points = beside(dice, made, POINTS, SPREAD[-1])
    for copies in (1, 2):
        took_s = _timed_ms(partial(atlas.assign, points, copies=copies)) / 1e3
        yield judge(Bar(f"map.assign_{copies}", "points/s"), (POINTS / took_s, f"{POINTS:,} at once, copies={copies}, one core"))
    took_s = _timed_ms(partial(atlas.assign, points[:BATCH], copies=2)) / 1e3
    yield judge(Bar("map.assign_batch", "points/s"), (BATCH / took_s, f"{BATCH} at once, copies=2"))
    tell("the same where nothing is near anything")
    apart = Atlas(synthetic_map(dice, regions, (1.0,)), "cosine")
    yield from _recalls("map.no_families", apart, beside(dice, apart.regions, QUESTIONS, SPREAD[-1]))


def _ways(atlas: Atlas, queries: Matrix) -> list[list[Stop]]:
    return [way(nearest, atlas.regions.shard_of, SHARDS) for nearest in atlas.rank(queries)]


def synthetic_map(dice: np.random.Generator, regions: int, spread: tuple[float, ...]) -> RegionMap:
    """Return a map of regions in families within families, as many as `spread` is long, neighbours on one shard."""
    vectors = np.zeros((1, DIMENSIONS), dtype=np.float32)
    for length in spread[:-1]:
        vectors = _around(dice, vectors, FAMILY, length)
    most = levels(DIMENSIONS)
    scale = 6 * float(np.sqrt(np.square(spread).sum() / DIMENSIONS)) / most  # six standard deviations
    centroids = np.empty((regions, DIMENSIONS), dtype=np.int8)
    children = -(-regions // len(vectors))
    step = max(1, BLOCK // children)
    for start in range(0, len(vectors), step):
        part = _around(dice, vectors[start : start + step], children, spread[-1])[: max(0, regions - start * children)]
        part *= np.float32(np.sqrt(np.square(spread).sum())) / np.linalg.norm(part, axis=1, keepdims=True)
        centroids[start * children : start * children + len(part)] = np.clip(np.rint(part / np.float32(scale)), -most, most)
    return RegionMap(
        epoch=1,
        names=np.arange(regions, dtype=np.int64),
        centroids=centroids,
        shard_of=(np.arange(regions) * SHARDS // regions).astype(np.int32),
        scale=scale,
        next_name=regions,
    )


def _around(dice: np.random.Generator, vectors: Matrix, each: int, length: float) -> Matrix:
    """Return `each` vectors around each of (n, d), at about this distance."""
    noise = dice.standard_normal((len(vectors) * each, vectors.shape[1]), dtype=np.float32)
    return np.repeat(vectors, each, axis=0) + noise * np.float32(length / np.sqrt(vectors.shape[1]))


def beside(dice: np.random.Generator, made: RegionMap, count: int, length: float) -> Matrix:
    """Return (count, d) vectors beside centroids of a map."""
    chosen = made.centroids[np.sort(dice.integers(0, len(made), count))].astype(np.float32) * np.float32(made.scale)
    return dice.permutation(_around(dice, chosen, 1, length))


def _recalls(name: str, atlas: Atlas, questions: Matrix) -> Iterator[Reading]:
    """Yield the shares of the truly nearest regions that the ranking has among as many."""
    true = nearest_of_all(atlas.regions, questions, max(NEAREST))
    found = list(atlas.rank(questions))
    note = f"of the nearest regions, {QUESTIONS} queries"
    for count in NEAREST:
        shares = [len(np.intersect1d(one[:count], real[:count])) / count for one, real in zip(found, true, strict=True)]
        yield judge(Bar(f"{name}.recall_{count}", "share"), (float(np.mean(shares)), note))


def nearest_of_all(made: RegionMap, questions: Matrix, count: int) -> Rows:
    """Return (q, count) regions nearest to each query by inner product, all compared."""
    best = np.full((len(questions), 0), -np.inf, dtype=np.float32)
    rows = np.empty((len(questions), 0), dtype=np.int64)
    for start in range(0, len(made), BLOCK):
        scores = questions @ made.centroids[start : start + BLOCK].astype(np.float32).T
        best = np.concatenate((best, scores), axis=1)
        rows = np.concatenate((rows, np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)), axis=1)
        kept = np.argsort(-best, axis=1, kind="stable")[:, :count] if best.shape[1] <= count else np.argpartition(-best, count)[:, :count]
        best, rows = np.take_along_axis(best, kept, axis=1), np.take_along_axis(rows, kept, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def _timed_ms(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1e3


def _array_bytes(holder: RegionMap | Groups) -> int:
    """Return the bytes of a Struct's arrays."""
    return sum(value.nbytes for value in msgspec.structs.astuple(holder) if isinstance(value, np.ndarray))
