"""Workload: the payloads that points carry, and filters of every selectivity that agree with a question, do not care, or go against it.

A filter that keeps a share s of the points is `field < 10,000·s` (or `>=`) over a field whose values are ranks, cut to 0 … 9,999:

    bucket             ranks of a shuffle: whether a point passes says nothing about where it lies     (independent)
    near_0 … near_3    ranks by similarity to an anchor, 0 = the points nearest to it

An anchor is the centre of one of 16 clusters (the four that most questions belong to), asked with the questions of its own cluster.
`near_a < 100` keeps the hundredth of all points that lies nearest to where the question is (correlated: 13 times as many of the true
neighbours pass as chance would let); `near_a >= 9,900` keeps the hundredth that lies farthest (opposed: hardly any of them pass, so an
index that looks near the question first finds nothing).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.cli.bench.corpus import SEED, Corpus, Truth, find_truth
from paradox.model.points import Mask, Matrix, Rows

Slant: TypeAlias = Literal["independent", "correlated", "opposed"]
SLANTS: tuple[Slant, ...] = ("independent", "correlated", "opposed")
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
STEPS = 10_000
CLUSTERS = 16
ANCHORS = 4
CLUSTER_SAMPLE = 20_000
CLUSTER_ROUNDS = 8
QUESTIONS_MAX = 200
"""A filter's recall is measured on this many questions."""


class Ranks(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that filters ask for. bucket: (n,), near: (n, ANCHORS), 0 … STEPS - 1. cluster: (q,), a question's anchor, or -1."""

    bucket: NDArray[np.int64]
    near: NDArray[np.int64]
    cluster: NDArray[np.int64]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Questions that ask with one filter, and what is true under it. questions: rows of the corpus's questions."""

    where: str
    allowed: Mask
    questions: Rows
    truth: Truth


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """One selectivity of one slant: one part, or a part for each anchor."""

    slant: Slant
    share: float
    parts: Sequence[Part]


def payloads(corpus: Corpus, start: int, stop: int, buckets: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return the payloads of rows `start` to `stop`: their text, its source and a number to filter by."""
    columns = zip(corpus.texts[start:stop], corpus.sources[start:stop], buckets[start:stop].tolist(), strict=True)
    return [{"text": text, "source": source, "bucket": bucket} for text, source, bucket in columns]


def filter_payloads(ranks: Ranks) -> list[dict[str, Any]]:
    """Return payloads with only the fields that filters ask for."""
    names = ["bucket", *(f"near_{anchor}" for anchor in range(ANCHORS))]
    return [dict(zip(names, row, strict=True)) for row in np.column_stack([ranks.bucket, ranks.near]).tolist()]


def shuffled_buckets(count: int) -> NDArray[np.int64]:
    """Return (count,) numbers 0 … STEPS - 1, as even as can be, in an order fixed by the seed."""
    return np.random.default_rng(SEED).permutation(count) * STEPS // count


def rank_points(corpus: Corpus) -> Ranks:
    """Return the fields that filters ask for. Cost: n · ANCHORS · d multiply-adds and as many sorts as anchors."""
    centres = _cluster(np.asarray(corpus.vectors[:CLUSTER_SAMPLE]))
    nearest = (corpus.questions @ centres.T).argmax(axis=1)
    chosen = np.argsort(-np.bincount(nearest, minlength=len(centres)), kind="stable")[:ANCHORS]
    near = np.empty((len(corpus), ANCHORS), dtype=np.int64)
    for anchor, centre in enumerate(chosen):
        order = np.argsort(-(corpus.vectors @ centres[centre]), kind="stable")
        near[order, anchor] = np.arange(len(corpus)) * STEPS // len(corpus)
    cluster = np.full(len(corpus.questions), -1, dtype=np.int64)
    for anchor, centre in enumerate(chosen):
        cluster[nearest == centre] = anchor
    return Ranks(bucket=shuffled_buckets(len(corpus)), near=near, cluster=cluster)


def _cluster(sample: Matrix) -> Matrix:
    """Return the unit centres of CLUSTERS clusters. Source: Dhillon, Modha, "Concept Decompositions", 2001 (spherical k-means)."""
    centres: Matrix = sample[np.random.default_rng(SEED).choice(len(sample), min(CLUSTERS, len(sample)), replace=False)]
    for _ in range(CLUSTER_ROUNDS):
        member = (sample @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, member, sample)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres).astype(np.float32)
    return centres


def selections(corpus: Corpus, ranks: Ranks) -> Iterator[Selection]:
    """Yield every slant at every share, with its truth."""
    for slant in SLANTS:
        for share in SHARES:
            yield Selection(slant=slant, share=share, parts=list(_parts(corpus, ranks, slant, share)))


def _parts(corpus: Corpus, ranks: Ranks, slant: Slant, share: float) -> Iterator[Part]:
    edge = round(share * STEPS)
    if slant == "independent":
        yield _part(corpus, f"bucket < {edge}", ranks.bucket < edge, np.arange(min(QUESTIONS_MAX, len(corpus.questions))))
        return
    for anchor in range(ANCHORS):
        asking = np.flatnonzero(ranks.cluster == anchor)[: QUESTIONS_MAX // ANCHORS]
        if not len(asking):
            continue
        values = ranks.near[:, anchor]
        if slant == "correlated":
            yield _part(corpus, f"near_{anchor} < {edge}", values < edge, asking)
        else:
            yield _part(corpus, f"near_{anchor} >= {STEPS - edge}", values >= STEPS - edge, asking)


def _part(corpus: Corpus, where: str, allowed: Mask, questions: Rows) -> Part:
    truth = find_truth(corpus.vectors, corpus.questions[questions], np.flatnonzero(allowed))
    return Part(where=where, allowed=allowed, questions=questions, truth=truth)
