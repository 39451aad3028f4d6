"""Searching one segment: which rows may answer, which candidates the index offers, and their exact scores."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.filters import Filter
from paradox.model.points import Mask, Rows
from paradox.model.queries import Question
from paradox.planner.choose import DOUBT, Choice, Costs, Terrain, choose, is_sure
from paradox.ports.index import Index
from paradox.shard.build import Segment
from paradox.shard.doubt import DEEPER, EXACT_SHARE, missed, product_of
from paradox.shard.geometry import query_form, score_pairs
from paradox.shard.growing import GrowingVectors
from paradox.shard.sealed import Sealed, SealedVectors

FILTERS_KEPT_MAX = 64
CHOICES_KEPT_MAX = 64
EXACT_BLOCK_ROWS = 16_384
LISTED = ("probe", "packed")
"""Ways by the index that has codes in lists."""
DEAD_SHARE_MASKED = 0.1
"""Above this share of dead rows the index is told which rows live; below, asking for a few more is cheaper."""


class Found(msgspec.Struct, frozen=True):
    """Candidates of one segment with exact scores: (q, c) each; row -1 and score -inf mark an empty place."""

    score: NDArray[np.float32]
    row: Rows


class Visit(msgspec.Struct, frozen=True):
    """What was done in one segment, for the plan."""

    shard: int
    segment: Segment
    choice: Choice
    allowed: int | None


def is_filtered(question: Question) -> bool:
    """Tell whether not every point may answer."""
    return question.where is not None or question.modality is not None or question.between_us is not None


def matching(segment: Segment, question: Question) -> Mask | None:
    """Return (n,) rows that pass the question's filter, modality and times, dead ones included; None when nothing is asked.

    Masks of sealed segments are kept, since their rows never change.
    """
    if not is_filtered(question):
        return None
    if isinstance(segment, Sealed):
        where = msgspec.json.encode(question.where)  # as values, 1 and true would be one key
        key = (where, question.modality, question.between_us)
        known = segment.filters.get(key)
        if known is None:
            known = _evaluate(segment, question)
            if len(segment.filters) >= FILTERS_KEPT_MAX:
                oldest, *_ = list(segment.filters)  # a list at once: other threads change it meanwhile
                segment.filters.pop(oldest, None)
            segment.filters[key] = known
        return known
    return _evaluate(segment, question)


def matching_of(segment: Segment, live: Mask, where: Filter | None) -> Mask:
    """Return which of the rows that lived at a moment match a filter. The segment may have grown since."""
    if where is None:
        return live
    question = Question(vectors=None, where=where)
    mask = matching(segment, question)
    if segment.rows > len(live):  # a key's newest row came later, and says nothing of the one that lived
        mask = _evaluate(segment, question, newest=False)
    return live if mask is None else live & mask[: len(live)]


def _evaluate(segment: Segment, question: Question, *, newest: bool = True) -> Mask:
    """newest: of a growing segment's rows with one key, the newest one may stand for all where that is quicker."""
    own = segment.own()
    if not newest:
        own = msgspec.structs.replace(own, find=None)
    mask = np.ones(len(own.at_us), dtype=np.bool_)
    if question.between_us is not None:
        low, high = question.between_us
        mask &= (own.at_us >= low) & (own.at_us <= high)
    if question.modality is not None:
        codes, names = own.modality
        mask &= codes == names.index(question.modality) if question.modality in names else False
    if question.where is not None:
        columns = segment.columns()
        passed = columns.evaluate(question.where, own, segment.payload)
        mask &= passed[: len(mask)]
    return mask


def allowed_rows(segment: Segment, question: Question, vectors: GrowingVectors | SealedVectors) -> tuple[Mask | None, bool]:
    """Return (rows that may answer, whether a filter decided): None when every row may."""
    mask = matching(segment, question)
    present = vectors.present()
    filtered = mask is not None
    if mask is None and present is None and not segment.dead:
        return None, False
    alive = segment.alive()
    if mask is None:
        mask = alive.copy() if present is None else alive[: len(present)] & present
    else:
        mask = mask & alive[: len(mask)]
        if present is not None:
            mask &= present[: len(mask)]
    return mask, filtered


def search_segment(segment: Segment, queries: NDArray[Any], question: Question, costs: Costs, *, shard: int = 0) -> tuple[Found, Visit]:
    """Return the best candidates of a segment for (q, d) queries (unit length for cosine), with exact scores."""
    vectors = segment.vectors[question.using]
    rows = segment.rows
    few_dead = 0 < segment.dead <= rows * DEAD_SHARE_MASKED and vectors.present() is None
    if few_dead and not is_filtered(question):
        allow, filtered, allowed = None, False, rows - segment.dead
    else:
        allow, filtered = allowed_rows(segment, question, vectors)
        allowed = rows if allow is None else int(np.count_nonzero(allow))
        few_dead = False
    choice = _choose(
        vectors, question, costs, rows=rows, allowed=None if allow is None else allowed, filtered=filtered or allow is not None
    )
    if vectors.spec.metric == "hamming" and choice.way != "nothing":
        choice = msgspec.structs.replace(choice, way="scan", recall=1.0, depth=min(question.k * versions(segment), allowed))
    visit = Visit(shard, segment, choice, None if allow is None else allowed)
    match choice.way:
        case "nothing":
            return Found(np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64)), visit
        case "exact":
            every = np.flatnonzero(segment.alive()[:rows] if allow is None else allow)
            return score_all(vectors, queries, every, keep=question.k * versions(segment)), visit
        case _:
            dead = segment.dead if few_dead else 0
            return _by_index(_Look(segment, vectors, question, choice, allow, rows, dead), queries), visit


def _choose(
    vectors: GrowingVectors | SealedVectors, question: Question, costs: Costs, *, rows: int, allowed: int | None, filtered: bool
) -> Choice:
    """Return the way to search, remembered for unfiltered questions of one kind."""
    key = (rows, question.k, question.recall, question.exact)
    if allowed is None and (known := vectors.choices.get(key)) is not None:
        return known
    terrain = Terrain(
        rows=rows,
        dimensions=vectors.spec.dimensions,
        allowed=allowed,
        filtered=filtered,
        scan_curve=vectors.scan_curve,
        probe_curve=vectors.probe_curve,
        scan_row_us=vectors.scan_row_us,
        list_row_us=vectors.list_row_us,
    )
    choice = choose(terrain, k=question.k, recall=question.recall, exact=question.exact, costs=costs)
    if allowed is None:
        if len(vectors.choices) >= CHOICES_KEPT_MAX:
            vectors.choices.clear()
        vectors.choices[key] = choice
    return choice


class _Look(msgspec.Struct, frozen=True):
    """One look into one segment.

    allow: the rows that may answer; None = all but the `dead`, which are few. known: the rows that there are; an index may already hold
    others, which are still being added.
    """

    segment: Segment
    vectors: GrowingVectors | SealedVectors
    question: Question
    choice: Choice
    allow: Mask | None
    known: int
    dead: int


class _Offer(msgspec.Struct, frozen=True):
    """What an index offers: (q, c) rows and its own scores; for each query its score of the last row, whether that was all it has, and
    whether the dead or what is still being added took the places of rows that may answer.
    """

    rows: Rows
    score: NDArray[np.float32]
    edge: NDArray[np.float32]
    whole: Mask
    crowded: Mask


def _by_index(look: _Look, queries: NDArray[Any]) -> Found:
    """Return an index's candidates with exact scores.

    It is asked again for queries where the dead crowd out the living, or doubt is left.
    """
    vectors, choice, metric = look.vectors, look.choice, look.vectors.spec.metric
    index = vectors.probe if choice.way in LISTED else vectors.scan
    if index is None:
        index, choice = vectors.scan, msgspec.structs.replace(choice, way="scan", probes=0, recall=0.0)  # nothing is known of this depth
    asked = np.ascontiguousarray(query_form(queries, metric, vectors.form) if choice.way == "scan" else queries)
    offer = _offer(look, index, asked, choice)
    found, doubtful = rescore(vectors, queries, offer.rows), offer.crowded
    curve = {"scan": vectors.scan_curve, "packed": vectors.probe_curve}.get(choice.way)  # of ways that read every code
    measured = curve is not None and look.allow is None  # a filter may leave only what is far away
    sure = measured and is_sure(choice.recall, look.question.recall)
    if metric != "hamming" and not sure:  # else the segment's own points showed that this depth suffices
        share = missed(offer.score, product_of(found.score, asked, metric), offer.edge, look.question.k)
        doubtful = doubtful | ((share > DOUBT * (1 - look.question.recall)) & ~offer.whole)
    again = np.flatnonzero(doubtful)
    if not len(again):
        return found
    if offer.crowded.any():  # name the living; regions near by may be empty, so look everywhere
        living = look.segment.alive()[: look.known].copy()
        # the depth was chosen for probing: nothing is known of it here
        look = msgspec.structs.replace(look, allow=living, choice=msgspec.structs.replace(choice, way="scan", probes=0, recall=0.0))
        return _joined(found, _by_index(look, queries[again]), again)
    return _joined(found, _deeper(look, queries[again], choice), again)


def _offer(look: _Look, index: Index, asked: NDArray[Any], choice: Choice) -> _Offer:
    """Return what an index offers of the rows that may answer."""
    depth = choice.depth
    if look.allow is None and look.dead:  # ask for what the dead may take, and as much again
        depth += 8 + int(2 * depth * look.dead / look.known)
    score, rows = index.search(asked, depth, allow=look.allow, probes=choice.probes)
    rows = np.asarray(rows, dtype=np.int64)
    whole, edge = (rows < 0).any(axis=1) | (rows.shape[1] < depth), score[:, -1]
    if choice.way in LISTED:
        rows, score = distinct(rows, score)
    crowded = np.zeros(len(rows), dtype=np.bool_)
    if look.allow is None and (look.dead or int(rows.max(initial=-1)) >= look.known):
        alive = look.segment.alive()[: look.known]
        offered = (rows >= 0).sum(axis=1)
        rows = np.where((rows >= 0) & (rows < look.known) & alive[np.minimum(rows, look.known - 1)], rows, -1)
        left = (rows >= 0).sum(axis=1)
        crowded = left < min(choice.depth, look.known - look.dead)
        if choice.way == "probe":  # where many have died the living nearest may stand in regions that were not visited
            crowded |= offered - left > (1 - look.question.recall) * offered
    return _Offer(rows, score, edge, whole, crowded)


def _deeper(look: _Look, queries: NDArray[Any], choice: Choice) -> Found:
    """Return candidates from further down, or score every row that may answer when that would be much of the segment."""
    live = look.known - look.dead if look.allow is None else int(np.count_nonzero(look.allow))
    depth = choice.depth * DEEPER
    if depth * EXACT_SHARE < live:
        return _by_index(msgspec.structs.replace(look, choice=msgspec.structs.replace(choice, depth=depth)), queries)
    every = np.flatnonzero(look.segment.alive()[: look.known] if look.allow is None else look.allow)
    return score_all(look.vectors, queries, every, keep=look.question.k * versions(look.segment))


def versions(segment: Segment) -> int:
    """Return how often a point may stand in a segment: one that is being replaced stands twice in a growing segment for a moment."""
    return 1 if isinstance(segment, Sealed) else 2


def _joined(found: Found, better: Found, places: Rows) -> Found:
    """Return `found` with the candidates of the queries at `places` exchanged."""
    width = max(found.row.shape[1], better.row.shape[1])
    score = np.full((len(found.row), width), -np.inf, dtype=np.float32)
    row = np.full((len(found.row), width), -1, dtype=np.int64)
    for part, at in ((found, np.arange(len(found.row))), (better, places)):
        score[at], row[at] = -np.inf, -1
        score[at, : part.row.shape[1]], row[at, : part.row.shape[1]] = part.score, part.row
    return Found(score, row)


def distinct(rows: Rows, score: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
    """Return (q, c) candidates in row order with repeats blanked to -1, and the score of each."""
    order = np.argsort(rows, axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    repeated = rows[:, 1:] == rows[:, :-1]
    if repeated.any():
        rows[:, 1:][repeated] = -1
    return rows, np.take_along_axis(score, order, axis=1)


def rescore(vectors: GrowingVectors | SealedVectors, queries: NDArray[Any], rows: Rows) -> Found:
    """Return candidates with their exact scores from the stored vectors. Cost: q · c · d, one row read a candidate."""
    matrix, inverse = vectors.matrix(), vectors.inverse()
    score = score_pairs(queries, matrix[rows], inverse[rows], vectors.spec.metric)
    score[rows < 0] = -np.inf
    return Found(score, rows)


def score_all(vectors: GrowingVectors | SealedVectors, queries: NDArray[Any], rows: Rows, *, keep: int) -> Found:
    """Return the `keep` best of `rows` for each query, every one scored exactly, ties at the edge kept. Cost: q · rows · d."""
    matrix, inverse, metric = vectors.matrix(), vectors.inverse(), vectors.spec.metric
    best = Found(np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64))
    for start in range(0, len(rows), EXACT_BLOCK_ROWS):
        block = rows[start : start + EXACT_BLOCK_ROWS]
        picked, length = matrix[block], inverse[block]
        parts = [score_pairs(query[None], picked[None], length[None], metric) for query in queries]
        score = np.concatenate((best.score, np.concatenate(parts)), axis=1)
        row = np.concatenate((best.row, np.broadcast_to(block, (len(queries), len(block)))), axis=1)
        best = best_of(score, row, keep)
    return best


def best_of(score: NDArray[np.float32], row: Rows, keep: int) -> Found:
    """Return each query's `keep` best columns, and those that tie with the last."""
    if score.shape[1] <= keep:
        return Found(score, row)
    if len(score) == 1:
        edge = np.partition(score[0], -keep)[-keep]
        chosen = np.flatnonzero(score[0] >= edge)[None]
    else:
        chosen = best_columns(score, keep)
    return Found(np.take_along_axis(score, chosen, axis=1), np.take_along_axis(row, chosen, axis=1))


def best_columns(score: NDArray[np.float32], keep: int) -> NDArray[np.int64]:
    """Return (q, ≥ keep) columns of each row of `score`: the `keep` best, and as many more as tie with the last in any row."""
    order = np.argpartition(-score, keep - 1, axis=1)[:, :keep]
    edge = np.take_along_axis(score, order, axis=1).min(axis=1, keepdims=True)
    tied = int(((score >= edge) & (score > -np.inf)).sum(axis=1).max())
    return order if tied <= keep else np.argpartition(-score, tied - 1, axis=1)[:, :tied]
