"""Reading operations, served against one held collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import DeadlineExceeded
from paradox.model.filters import Filter
from paradox.model.operations import Ask, CountPoints, ExplainPlan, GetPoints, Scroll, ScrollPoints
from paradox.model.points import Key, Mask
from paradox.model.queries import Answer, Answers, Plan, Question, Step
from paradox.model.schema import Limits
from paradox.node.held import HeldCollection
from paradox.planner.filter_check import check_filter
from paradox.planner.settle import settle
from paradox.router.gather import Ranking, answers_of
from paradox.shard.build import Segment
from paradox.shard.search import matching_of

if TYPE_CHECKING:
    from paradox.node.database import OpenedCollection


def ask(opened: OpenedCollection, operation: Ask, limits: Limits) -> Answers:
    """Answer a search; with `explain`, its recall is measured too."""
    held = opened.held
    prepare(held, operation.question.after)
    started = held.env.elapsed_s()
    question = settle(
        operation.question,
        operation.like,
        spec=held.spec,
        limits=limits,
        vector_of=partial(vector_of_point, held),
        encode=lambda vector, texts: opened.encoder(vector).encode(texts),
        fields=held.engine.fields,
    )
    answers = held.asking.search(question) if is_joinable(held, question) else held.engine.search(question)
    elapsed = held.env.elapsed_s() - started
    if question.deadline_s is not None and elapsed > question.deadline_s:
        raise DeadlineExceeded(
            f"the search took {elapsed * 1000:.1f} ms; {question.deadline_s * 1000:.1f} ms were allowed",
            hint="allow more, or ask for less recall",
        )
    if operation.question.explain:
        answers.trace = lambda query=0: measured_plan(held, question, answers, elapsed)
    return answers


def is_joinable(held: HeldCollection, question: Question) -> bool:
    """Tell whether one look can serve a question and others: one vector, one shard, and no exact search, for which others would wait."""
    one = question.vectors is not None and len(question.vectors) == 1 and len(held.engine.shards) == 1
    return one and question.mode == "vector" and not question.exact and not question.explain


def explain(opened: OpenedCollection, operation: ExplainPlan, limits: Limits) -> Plan:
    """Run a search as planned and exactly, and say how they compare."""
    answers = ask(opened, Ask(collection=operation.collection, question=_explained(operation.question), like=operation.like), limits)
    plan: Plan = answers.trace()
    return plan


def _explained(question: Question) -> Question:
    return msgspec.structs.replace(question, explain=True)


def measured_plan(held: HeldCollection, question: Question, answers: Answers, elapsed_s: float) -> Plan:
    """Return a search's plan with the time it took and, where a true answer is defined, the recall it had."""
    plan: Plan = held.engine.search(question).trace()
    sampled = None
    if question.mode == "vector":
        exact = held.engine.search(msgspec.structs.replace(question, exact=True, recall=1.0))
        pairs = list(zip(answers.of, exact.of, strict=True))
        wanted = sum(len(true.keys) for _, true in pairs)
        hits = sum(len(set(found.keys) & set(true.keys)) for found, true in pairs)
        sampled = hits / wanted if wanted else 1.0
    actual = {"us": elapsed_s * 1e6, "found": float(sum(len(answer.keys) for answer in answers.of))}
    if sampled is not None:
        actual["recall"] = sampled
    root = Step(what=plan.root.what, detail=plan.root.detail, estimated=plan.root.estimated, actual=actual, steps=plan.root.steps)
    return msgspec.structs.replace(plan, root=root, sampled_recall=sampled)


def prepare(held: HeldCollection, after: int) -> None:
    """Bring a reader up to date; a writer is always. Raises DeadlineExceeded when a position named was never written here."""
    if held.read_only or after > held.engine.applied:
        held.refresh()
    if after > held.engine.applied:
        raise DeadlineExceeded(
            f"position {after} was asked for, but this collection stands at {held.engine.applied}",
            hint="the receipt is from another collection",
        )


def get(opened: OpenedCollection, operation: GetPoints) -> Answer:
    """Return points by id, in the order asked."""
    held = opened.held
    prepare(held, operation.after)
    there = locate(held, operation.keys)
    keys = [key for key in dict.fromkeys(operation.keys) if key in there]
    using = (operation.using or held.spec.main) if operation.with_vectors else None
    return rows_of([there[key] for key in keys], using=using)


def locate(held: HeldCollection, keys: Sequence[Key]) -> dict[Key, tuple[Segment, int]]:
    """Return where the live version of each key stands; keys that are nowhere are left out."""
    found = located(held, keys)
    absent = [key for key in keys if key not in found]
    if absent:
        with held.committer.turn:  # a point that is just being replaced may be seen neither in its old place nor in its new one
            found |= located(held, absent)
    return found


def located(held: HeldCollection, keys: Sequence[Key]) -> dict[Key, tuple[Segment, int]]:
    """The same, as the engine is: while an entry is applied, a point that it replaces may be nowhere."""
    found: dict[Key, tuple[Segment, int]] = {}
    for live in held.engine.find_live(keys):
        for key, row in zip(live.segment.keys_at(live.rows), live.rows.tolist(), strict=True):
            found[key] = (live.segment, row)
    return found


def vector_of_point(held: HeldCollection, key: Key, using: str) -> NDArray[Any] | None:
    """Return a point's vector, as given; None where it has none of this name. Raises KeyError when there is no such point."""
    segment, row = locate(held, [key])[key]
    present = segment.vectors[using].present()
    return None if present is not None and not present[row] else np.array(segment.vectors[using].matrix()[row])


def rows_of(places: list[tuple[Segment, int]], *, using: str | None) -> Answer:
    """Return rows as an Answer in this order; scores fall, so that the order stands, and mean nothing."""
    segments: list[Segment] = []
    number: dict[int, int] = {}
    for segment, _ in places:
        if id(segment) not in number:
            number[id(segment)] = len(segments)
            segments.append(segment)
    code = np.array([[number[id(segment)] for segment, _ in places]], dtype=np.int64)
    row = np.array([[row for _, row in places]], dtype=np.int64)
    ranking = Ranking(-np.arange(len(places), dtype=np.float32)[None], code, row)
    answer = answers_of(ranking, segments, k=len(places), metric=None, using=using, with_payload=True)[0]
    answer.score = np.zeros(len(answer.keys), dtype=np.float32)
    answer.distance = np.zeros(len(answer.keys), dtype=np.float32)
    return answer


def count(opened: OpenedCollection, operation: CountPoints, limits: Limits) -> int:
    """Return how many points there are, or match."""
    held = opened.held
    prepare(held, operation.after)
    if operation.where is None:
        with held.committer.turn:  # between two writes: a point on its way to another shard is there once
            return held.engine.count()
    return sum(int(np.count_nonzero(mask)) for _, mask in _views(held, operation.where, limits))


def scroll(opened: OpenedCollection, operation: ScrollPoints, limits: Limits) -> Scroll:
    """Return pages of one view: what is written later is not in it."""
    held = opened.held
    prepare(held, operation.after)
    views = [(segment, np.flatnonzero(mask)) for segment, mask in _views(held, operation.where, limits)]
    using = (operation.using or held.spec.main) if operation.with_vectors else None
    total = sum(len(rows) for _, rows in views)
    return Scroll(answers=pages(views, operation.batch, using), total=total, position=held.engine.applied)


def pages(views: list[tuple[Segment, NDArray[np.int64]]], batch: int, using: str | None) -> Iterator[Answer]:
    """Yield pages of rows, at most `batch` points each."""
    for segment, rows in views:
        for start in range(0, len(rows), batch):
            yield rows_of([(segment, row) for row in rows[start : start + batch].tolist()], using=using)


def matching_keys(held: HeldCollection, where: Filter, limits: Limits) -> list[Key]:
    """Return the ids of all live points that match."""
    return [key for segment, mask in _views(held, where, limits) for key in segment.keys_at(np.flatnonzero(mask))]


def _views(held: HeldCollection, where: Filter | None, limits: Limits) -> list[tuple[Segment, Mask]]:
    """Return, of each segment, the live rows that this collection owns and that match, as of now."""
    if where is not None:
        check_filter(where, held.engine.fields())
    turn: Any = held.committer.turn
    with turn:  # between two writes, so that the view is of one position
        taken = [(segment, segment.alive() & segment.owned()) for segment in held.engine.segments()]
    return [(segment, matching_of(segment, live, where)) for segment, live in taken]
