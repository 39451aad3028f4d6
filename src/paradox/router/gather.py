"""Gathering: candidates of many segments become one ranking, and the ranking becomes points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Key, Rows
from paradox.model.queries import Answer
from paradox.model.schema import Metric
from paradox.shard.build import Segment
from paradox.shard.geometry import distance_of
from paradox.shard.search import Found, best_columns

SLACK = 2
"""Ranked beyond k, so that a point seen twice, in its old and its new version, does not cost a place."""


class Ranking(msgspec.Struct, frozen=True):
    """Candidates of every query, best first: (q, c) scores, and the segment and row of each; -1 = empty place."""

    score: NDArray[np.float32]
    segment: NDArray[np.int64]
    row: Rows


def merge(found: Sequence[Found], *, k: int, copies: int) -> Ranking:
    """Return the best of all segments' candidates, k · copies and a few more, ties at the edge included."""
    score, row, segment = found[0].score, found[0].row, np.zeros(found[0].row.shape[1], dtype=np.int64)
    if len(found) > 1:
        score = np.concatenate([part.score for part in found], axis=1)
        row = np.concatenate([part.row for part in found], axis=1)
        segment = np.repeat(np.arange(len(found)), [part.row.shape[1] for part in found])
    keep = k * copies + SLACK
    if len(score) == 1:
        return _merge_one(score[0], row[0], segment, keep)
    if score.shape[1] > keep:
        order = best_columns(score, keep)
        order = np.take_along_axis(order, np.argsort(-np.take_along_axis(score, order, axis=1), axis=1, kind="stable"), axis=1)
    else:
        order = np.argsort(-score, axis=1, kind="stable")
    rows = np.take_along_axis(row, order, axis=1)
    return Ranking(np.take_along_axis(score, order, axis=1), np.where(rows >= 0, segment[order], -1), rows)


def is_starved(answers: Sequence[Answer], ranking: Ranking, *, k: int) -> bool:
    """Tell whether an answer is short because several versions of its points took places, and candidates were left out for them."""
    if ranking.row.shape[1] <= k:
        return False
    return any(len(answer.keys) < k and bool((rows >= 0).all()) for answer, rows in zip(answers, ranking.row, strict=True))


def _merge_one(score: NDArray[np.float32], row: Rows, segment: NDArray[np.int64], keep: int) -> Ranking:
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    if len(order) > keep:
        keep += int(np.count_nonzero(ranked[keep:] == ranked[keep - 1]))
        order, ranked = order[:keep], ranked[:keep]
    rows = row[order]
    return Ranking(ranked[None], np.where(rows >= 0, segment[order], -1)[None], rows[None])


class Fetched(msgspec.Struct, frozen=True):
    """Columns of chosen rows, in any order asked."""

    keys: list[Any]
    payloads: list[Any]
    modality: list[Any]
    at_us: list[Any]
    origin: list[Any]


def fetch(segments: Sequence[Segment], segment: NDArray[np.int64], row: Rows, *, with_payload: bool) -> Fetched:
    """Return what a user sees of rows given by segment number and row number, one bulk read a segment."""
    count = len(row)
    columns: tuple[list[Any], ...] = ([None] * count, [None] * count, [None] * count, [None] * count, [None] * count)
    for number in range(len(segments)) if len(segments) > 1 else (0,):
        places = np.flatnonzero(segment == number).tolist() if len(segments) > 1 else range(count)
        if not len(places):
            continue
        part, rows = segments[number], row[list(places)] if len(segments) > 1 else row
        modality, at_us, origin = part.own_at(rows)
        values = (part.keys_at(rows), part.payloads_at(rows) if with_payload else columns[1], modality, at_us, origin)
        if len(segments) == 1:
            return Fetched(*values)
        for column, new in zip(columns, values, strict=True):
            for place, value in zip(places, new, strict=False):
                column[place] = value
    return Fetched(*columns)


def answers_of(
    ranking: Ranking, segments: Sequence[Segment], *, k: int, metric: Metric | None, using: str | None, with_payload: bool
) -> list[Answer]:
    """Return one Answer a query: k different points, best first, ties by id. metric None: scores that are no distances (text, fused)."""
    valid = ranking.row >= 0
    counts = valid.sum(axis=1).tolist()
    full = min(counts, default=0) == valid.shape[1]
    taken: Any = slice(None) if full else valid
    segment, row, score = ranking.segment[taken].ravel(), ranking.row[taken].ravel(), ranking.score[taken].ravel()
    fetched = fetch(segments, segment, row, with_payload=with_payload)
    distance = distance_of(score, metric) if metric is not None else -score
    stamp = _stamps(segments, segment, row)
    tied = bool((score[1:] == score[:-1]).any())
    answers, start = [], 0
    for count in counts:
        end = start + count
        chosen: Any = slice(start, min(end, start + k))
        pick: Callable[[list[Any]], list[Any]] = itemgetter(chosen)
        if tied or len(set(fetched.keys[start:end])) < count:
            chosen = _places(fetched.keys, score, start, end, k)
            pick = partial(_picked, chosen)
        answers.append(
            Answer(
                keys=pick(fetched.keys),
                score=score[chosen],
                distance=distance[chosen],
                payloads=pick(fetched.payloads) if with_payload else None,
                vectors=_vectors(segments, segment[chosen], row[chosen], using) if using is not None else None,
                modality=pick(fetched.modality),
                at_us=pick(fetched.at_us),
                origin=pick(fetched.origin),
                stamp=stamp[chosen],
            )
        )
        start = end
    return answers


def _stamps(segments: Sequence[Segment], segment: NDArray[np.int64], row: Rows) -> NDArray[np.uint64]:
    if len(segments) == 1:
        return segments[0].stamps()[row]
    stamps = np.zeros(len(row), dtype=np.uint64)
    for number, part in enumerate(segments):
        here = segment == number
        stamps[here] = part.stamps()[row[here]]
    return stamps


def _places(keys: list[Key], scores: NDArray[np.float32], start: int, end: int, k: int) -> list[int]:
    """Return up to k places between start and end, best first: each key once, equal scores in the order of their ids."""
    first: dict[Key, int] = {}
    for place in sorted(range(start, end), key=lambda place: (-scores[place], sortable(keys[place]))):
        first.setdefault(keys[place], place)
    return list(first.values())[:k]


def _picked(places: list[int], column: list[Any]) -> list[Any]:
    return [column[place] for place in places]


def sortable(key: Key) -> tuple[int, Any]:
    """Return what orders ids of all types: integers, then strings, then UUIDs."""
    return (0, key) if isinstance(key, int) else (1, key) if isinstance(key, str) else (2, key)


def _vectors(segments: Sequence[Segment], segment: NDArray[np.int64], row: Rows, using: str) -> NDArray[Any]:
    rows = [segments[number].vectors[using].matrix()[at] for number, at in zip(segment.tolist(), row.tolist(), strict=True)]
    return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)
