"""Probing: the index of a sealed segment that has codes in lists, of its regions or of all rows, and the recall that its own points show
for each effort.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from paradox.model.points import Matrix, Rows
from paradox.model.recall import Curve, Reading
from paradox.model.topology import RegionMap
from paradox.planner.choose import Costs
from paradox.ports.index import Index
from paradox.ports.kernels import Kernels
from paradox.shard.build import SPILL_LISTS
from paradox.shard.geometry import query_form
from paradox.shard.sealed import Sealed, SealedVectors, probe_file
from paradox.space.regions import assign

PROBE_POINTS_MIN = 250_000
"""Below, reading every code costs no more than reading the regions that keep a recall of 0.9, and lists cost 50 µs a point to build."""
PACKED_POINTS_MIN = 32_768
SLOW_ROW_US = 0.008
"""A code of 256 dimensions that takes longer is read by a processor on which the packed kernel is faster: with AVX-512 it takes 0.002 to
0.004 µs, without 0.02 and more.
"""
TIMED = 7
"""Questions that are timed; the quickest counts."""
SAMPLE = 128
SAMPLE_OF_LISTS = 512
"""What lists lose differs much from one question to the next: of 128, a recall of 0.98 had a standard error of 0.005, where the caution
of `planner.choose` is 0.006.
"""
NEIGHBOURS = 10
PROBES = tuple(part << power for power in range(1, 10) for part in (4, 5, 6, 7))
"""8, 10, 12, 14, 16, 20, … 3,584: lists that are read because no effort in between was measured cost every search."""
DEPTHS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
ENOUGH = 0.999
BLOCK_SCORES = 8_388_608
Clock: TypeAlias = Callable[[], float]
"""Seconds that have passed, as `Env` tells them."""


def lists_worth(segment: Sealed, vector: str) -> int:
    """Return into how many lists the codes of one vector should be put besides; 0 = none.

    One a region where there are enough points and regions, and a metric under which near in space means near in rank. One of all where
    this processor reads codes slowly.
    """
    column = segment.vectors[vector]
    if column.spec.metric != "cosine":
        return 0
    if segment.rows >= PROBE_POINTS_MIN and len(segment.region_names) >= 2 * SPILL_LISTS:
        return len(segment.region_names)
    return 1 if segment.rows >= PACKED_POINTS_MIN and column.scan_row_us > SLOW_ROW_US * column.spec.dimensions / 256 else 0


def build_probe(segment: Sealed, vector: str, regions: RegionMap | None, kernels: Kernels) -> Path:
    """Write the lists of one vector beside the segment, under a name that is not in use yet, and return its path.

    regions: one list for each; None = one of all rows. Cost: about 25 µs a row and core at 256 dimensions.
    """
    vectors = segment.vectors[vector]
    matrix = unit_rows(vectors)
    if regions is None:
        centroids, lists = np.zeros((1, matrix.shape[1]), dtype=np.float32), np.zeros((len(matrix), 1), dtype=np.int32)
    else:
        centroids, lists = segment.centroids(), assign(matrix, regions, metric=vectors.spec.metric, copies=SPILL_LISTS)
    index = kernels.build_probe(matrix, centroids, lists)
    path = segment.folder / f"{probe_file(vector)}.new"
    index.save(path)
    return path


def unit_rows(vectors: SealedVectors) -> Matrix:
    """Return the vectors at unit length; no copy when they are."""
    inverse = vectors.inverse()
    if np.abs(inverse - 1).max(initial=0) < 1e-5:
        return vectors.matrix()
    return vectors.matrix() * inverse[:, None]


def sample_truth(vectors: SealedVectors, *, seed: int) -> tuple[Matrix, Rows, Rows]:
    """Return (queries, own rows, true neighbours): sampled stored points and their NEIGHBOURS nearest others. Cost: sample · n · d."""
    rows = len(vectors.matrix())
    size = SAMPLE if rows < PROBE_POINTS_MIN else SAMPLE_OF_LISTS
    own = np.sort(np.random.default_rng(seed).choice(rows, size=min(size, rows), replace=False))
    queries = queries_to(vectors, own) * vectors.inverse()[own][:, None]
    best_scores, best_rows = [], []
    step = max(BLOCK_SCORES // len(own), NEIGHBOURS)
    for start in range(0, rows, step):
        block = vectors.matrix()[start : start + step]
        if vectors.spec.metric == "euclidean":
            scores = queries_to(vectors, own) @ block.T - np.einsum("nd,nd->n", block, block) / 2
        else:
            scores = queries @ (block * vectors.inverse()[start : start + step][:, None]).T
        inside = (own >= start) & (own < start + len(block))
        scores[np.flatnonzero(inside), own[inside] - start] = -np.inf
        best = _best(scores)
        best_scores.append(np.take_along_axis(scores, best, axis=1))
        best_rows.append(best + start)
    found = np.concatenate(best_rows, axis=1)
    return queries, own, np.take_along_axis(found, _best(np.concatenate(best_scores, axis=1)), axis=1)


def _best(scores: Matrix) -> Rows:
    """Return which NEIGHBOURS columns score best, in each row."""
    few = min(NEIGHBOURS, scores.shape[1])
    return np.argpartition(scores, -few, axis=1)[:, -few:]


def queries_to(vectors: SealedVectors, own: Rows) -> Matrix:
    """Return sampled rows as they are stored, to be asked as queries."""
    return vectors.matrix()[own]


def measure_probe(index: Index, truth: tuple[Matrix, Rows, Rows], *, lists: int) -> Curve:
    """Return recall for each effort of an index of lists. Cost: one search of the sample an effort."""
    queries, own, neighbours = truth
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    readings: list[Reading] = []
    for probes in [*(p for p in PROBES if p < lists), lists]:
        places = _places(neighbours, index.search(asked, _candidates(DEPTHS[-1]), probes=probes)[1])
        readings.extend(_until_enough(probes, partial(_recall, places)))
        if readings[-1].recall >= 0.998:
            break
    return Curve(readings=tuple(readings), listed=(SPILL_LISTS if lists > 1 else 1) * len(index) / lists, sample=len(own))


def measure_scan(vectors: SealedVectors, index: Index, truth: tuple[Matrix, Rows, Rows]) -> Curve:
    """Return recall for each depth of a scan index. Cost: one search of the sample a depth.

    Each depth is asked for by itself: an index that searches in stages finds less in its first 60 of 60 than in its first 60 of 160.
    """
    _, own, neighbours = truth
    unit = queries_to(vectors, own) * vectors.inverse()[own][:, None]
    asked = np.ascontiguousarray(query_form(unit, vectors.spec.metric, vectors.form), dtype=np.float32)
    readings = _until_enough(0, lambda depth: _recall(_places(neighbours, index.search(asked, _candidates(depth))[1]), depth))
    return Curve(readings=tuple(readings), listed=float(len(index)), sample=len(own))


def time_rows(vectors: SealedVectors, elapsed_s: Clock) -> None:
    """Note what a row takes on this machine, in a scan and in lists, where there are enough. Cost: TIMED searches of each, of one query."""
    rows, vectors.timed = len(vectors.matrix()), True
    if rows < PACKED_POINTS_MIN:
        return
    own = np.linspace(0, rows - 1, TIMED, dtype=np.int64)
    unit = queries_to(vectors, own) * vectors.inverse()[own][:, None]
    asked, costs = query_form(unit, vectors.spec.metric, vectors.form), Costs()
    vectors.scan_row_us = max(0.0, _quickest_us(vectors.scan, asked, 0, elapsed_s) - costs.call_us) / rows
    lists, curve = vectors.probe, vectors.probe_curve
    if lists is not None and curve is not None:
        probes = curve.readings[-1].probes
        listed = min(probes * curve.listed, SPILL_LISTS * rows)
        vectors.list_row_us = max(0.0, _quickest_us(lists, unit, probes, elapsed_s) - costs.probe_call_us) / listed
    vectors.choices.clear()  # they were made without it


def _quickest_us(index: Index, queries: Matrix, probes: int, elapsed_s: Clock) -> float:
    took = []
    for query in np.ascontiguousarray(queries, dtype=np.float32):
        began = elapsed_s()
        index.search(query[None], 2 * NEIGHBOURS, probes=probes)
        took.append(elapsed_s() - began)
    return min(took) * 1e6


def _until_enough(probes: int, recall_at: Callable[[float], float]) -> list[Reading]:
    """Return a reading for each depth up to where it is enough."""
    readings: list[Reading] = []
    for depth in DEPTHS:
        readings.append(Reading(probes=probes, depth=depth, recall=recall_at(depth)))
        if readings[-1].recall >= ENOUGH or (len(readings) > 2 and readings[-1].recall == readings[-3].recall):
            break  # enough, or deeper finds nothing more
    return readings


def _candidates(depth: float) -> int:
    return round(depth * NEIGHBOURS) + 1  # one is the point itself


def _recall(places: Rows, depth: float) -> float:
    """Return the share of neighbours that would have been rescored."""
    return float((places < _candidates(depth)).mean())


def _places(wanted: Rows, ranked: Rows) -> Rows:
    """Return the place of each of (q, t) `wanted` rows among the different rows of (q, n) `ranked` ones, n where it is not there."""
    order = np.argsort(ranked, axis=1, kind="stable")
    sorted_rows = np.take_along_axis(ranked, order, axis=1)
    first = np.ones(ranked.shape, dtype=bool)
    np.put_along_axis(first, order[:, 1:], sorted_rows[:, 1:] != sorted_rows[:, :-1], axis=1)
    place = np.cumsum(first, axis=1) - 1
    same = ranked[:, None, :] == wanted[:, :, None]
    return np.where(same.any(axis=2), np.take_along_axis(place, same.argmax(axis=2), axis=1), ranked.shape[1])
