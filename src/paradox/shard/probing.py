"""Probing: the index of a sealed segment that has codes in lists, of its regions or of all rows, and the recall that its own points show
for each effort.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

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
NEIGHBOURS = 10
PROBES = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 1_536, 2_048, 3_072)
DEPTHS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
ENOUGH = 0.999
BLOCK = 65_536
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
    """Return (queries, own rows, true neighbours): sampled stored points and their NEIGHBOURS nearest others. Cost: SAMPLE · n · d."""
    rows = len(vectors.matrix())
    own = np.sort(np.random.default_rng(seed).choice(rows, size=min(SAMPLE, rows), replace=False))
    queries = vectors.matrix()[own] * vectors.inverse()[own][:, None]
    best_score = np.full((len(own), 0), 0, dtype=np.float32)
    best_row = np.full((len(own), 0), 0, dtype=np.int64)
    for start in range(0, rows, BLOCK):
        block = vectors.matrix()[start : start + BLOCK]
        if vectors.spec.metric == "euclidean":
            scores = queries_to(vectors, own) @ block.T - np.einsum("nd,nd->n", block, block) / 2
        else:
            scores = queries @ (block * vectors.inverse()[start : start + BLOCK][:, None]).T
        inside = (own >= start) & (own < start + len(block))
        scores[np.flatnonzero(inside), own[inside] - start] = -np.inf
        best_score = np.concatenate((best_score, scores), axis=1)
        best_row = np.concatenate((best_row, np.broadcast_to(np.arange(start, start + len(block)), scores.shape)), axis=1)
        keep = np.argpartition(-best_score, min(NEIGHBOURS, best_score.shape[1] - 1), axis=1)[:, :NEIGHBOURS]
        best_score, best_row = np.take_along_axis(best_score, keep, axis=1), np.take_along_axis(best_row, keep, axis=1)
    return queries, own, best_row


def queries_to(vectors: SealedVectors, own: Rows) -> Matrix:
    """Return sampled rows as they are stored, to be asked as queries."""
    return vectors.matrix()[own]


def measure_probe(index: Index, truth: tuple[Matrix, Rows, Rows], *, lists: int) -> Curve:
    """Return recall for each effort of an index of lists. Cost: SAMPLE searches an effort."""
    queries, own, neighbours = truth
    readings: list[Reading] = []
    for probes in [*(p for p in PROBES if p < lists), lists]:
        readings.extend(_measure(index, queries, own, neighbours, probes=probes))
        if readings[-1].recall >= 0.998:
            break
    return Curve(readings=tuple(readings), listed=(SPILL_LISTS if lists > 1 else 1) * len(index) / lists, sample=len(own))


def measure_scan(vectors: SealedVectors, index: Index, truth: tuple[Matrix, Rows, Rows]) -> Curve:
    """Return recall for each depth of a scan index. Cost: SAMPLE searches a depth."""
    _, own, neighbours = truth
    asked = query_form(queries_to(vectors, own) * vectors.inverse()[own][:, None], vectors.spec.metric, vectors.form)
    return Curve(readings=tuple(_measure(index, asked, own, neighbours)), listed=float(len(index)), sample=len(own))


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


def _measure(index: Index, queries: Matrix, own: Rows, neighbours: Rows, *, probes: int = 0) -> list[Reading]:
    """Return a reading for each depth up to where it is enough: a candidate counts if it would have been rescored.

    Each depth is asked for by itself: an index that searches in stages finds less in its first 60 of 60 than in its first 60 of 160.
    """
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    readings: list[Reading] = []
    for depth in DEPTHS:
        count = round(depth * NEIGHBOURS) + 1
        _, rows = index.search(asked, count, probes=probes)
        hits = sum(len(np.intersect1d(_first_distinct(found, count), true)) for found, true in zip(rows, neighbours, strict=True))
        readings.append(Reading(probes=probes, depth=depth, recall=hits / neighbours.size))
        if readings[-1].recall >= ENOUGH or (len(readings) > 2 and readings[-1].recall == readings[-3].recall):
            break  # enough, or deeper finds nothing more
    return readings


def _first_distinct(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the first `count` different rows of a ranking; -1 is no row."""
    _, first = np.unique(rows, return_index=True)
    ordered = rows[np.sort(first)]
    return ordered[ordered >= 0][:count]
