"""Joining: what several shards found becomes one answer, and what several nodes tell of their work one plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from paradox.model.points import Key
from paradox.model.queries import Answer, Plan, Question, Step
from paradox.model.topology import shard_name
from paradox.planner.fusion import fuse_ranks
from paradox.router.gather import sortable
from paradox.router.layout import Layout


def joined(answers: Sequence[Answer], k: int) -> Answer:
    """Return the k nearest different points of several answers, ties by id; of a point that was found in several versions, the newest."""
    newest = newest_of(answers)
    places = [
        (score, place, row)
        for place, answer in enumerate(answers)
        for row, (score, key, stamp) in enumerate(zip(answer.score.tolist(), answer.keys, stamps_of(answer), strict=True))
        if stamp == newest[key]
    ]
    places.sort(key=lambda one: (-one[0], sortable(answers[one[1]].keys[one[2]])))
    first: dict[Key, tuple[int, int]] = {}
    for _, place, row in places:
        first.setdefault(answers[place].keys[row], (place, row))
        if len(first) == k:
            break
    return picked(answers, list(first.values()))


def newest_of(answers: Sequence[Answer]) -> dict[Key, int]:
    """Return the stamp of the newest version of each point that was found: one copy of it may be on a node that lags."""
    newest: dict[Key, int] = {}
    for answer in answers:
        for key, stamp in zip(answer.keys, stamps_of(answer), strict=True):
            if newest.get(key, -1) < stamp:
                newest[key] = stamp
    return newest


def stamps_of(answer: Answer) -> list[int]:
    """Return the stamp of each row; zeros where an answer has none."""
    return [0] * len(answer.keys) if answer.stamp is None else answer.stamp.tolist()


def place_of_newest(answers: Sequence[Answer]) -> dict[Key, tuple[int, int]]:
    """Return where the newest version of each point stands: the number of an answer, and its row."""
    newest = newest_of(answers)
    places: dict[Key, tuple[int, int]] = {}
    for number, answer in enumerate(answers):
        for row, (key, stamp) in enumerate(zip(answer.keys, stamps_of(answer), strict=True)):
            if stamp == newest[key]:
                places.setdefault(key, (number, row))
    return places


def picked(answers: Sequence[Answer], places: Sequence[tuple[int, int]]) -> Answer:
    """Return chosen rows of answers, each named by the number of its answer and its row."""

    def column(name: str) -> list[Any]:
        return [getattr(answers[place], name)[row] for place, row in places]

    stamps = [stamps_of(answer) for answer in answers]
    payloads = all(answer.payloads is not None for answer in answers)
    vectors = bool(places) and all(answer.vectors is not None for answer in answers)
    return Answer(
        keys=column("keys"),
        score=np.array(column("score"), dtype=np.float32),
        distance=np.array(column("distance"), dtype=np.float32),
        payloads=column("payloads") if payloads else None,
        vectors=np.stack(column("vectors")) if vectors else None,
        modality=column("modality"),
        at_us=column("at_us"),
        origin=column("origin"),
        stamp=np.array([stamps[place][row] for place, row in places], dtype=np.uint64),
    )


def fused(near: Answer, told: Answer, k: int) -> Answer:
    """Return the k best points of two rankings by reciprocal rank fusion."""
    place = place_of_newest((near, told))
    keys = list(place)
    number = {key: place for place, key in enumerate(keys)}
    newest = newest_of((near, told))
    rankings = [
        np.array([number[key] for key, stamp in zip(answer.keys, stamps_of(answer), strict=True) if stamp == newest[key]], dtype=np.int64)
        for answer in (near, told)
    ]
    scores, numbers = fuse_ranks(rankings, limit=k)
    answer = picked((near, told), [place[keys[one]] for one in numbers.tolist()])
    answer.score, answer.distance = scores, -scores
    return answer


def plan_of(plans: Sequence[Plan], layout: Layout, question: Question, missing: Sequence[int]) -> Plan:
    """Return one plan of what each node did."""
    shards = [name for plan in plans for name in plan.shards]
    routed = layout.routing_of(question).recall if question.mode != "text" and layout.spec.shards > 1 else 1.0
    recall = routed * (sum(plan.expected_recall for plan in plans) / len(plans) if plans else 0.0)
    steps = tuple(step for plan in plans for step in plan.root.steps)
    steps += tuple(Step(what=f"shard {shard_name(shard)}", detail="no node that lives has it") for shard in missing)
    root = Step(
        what=f"search top {question.k}",
        detail=f"{question.mode}, recall {question.recall:g} asked, {len(shards)} of {layout.spec.shards} shards",
        estimated={"recall": recall, "us": sum(plan.root.estimated.get("us", 0.0) for plan in plans)},
        steps=steps,
    )
    return Plan(
        expected_recall=recall,
        shards=tuple(sorted(shards)),
        shards_total=layout.spec.shards,
        regions=tuple(dict.fromkeys(name for plan in plans for name in plan.regions)),
        regions_total=len(layout.regions),
        partitions_skipped=sum(plan.partitions_skipped for plan in plans),
        partitions_total=sum(plan.partitions_total for plan in plans),
        root=root,
    )


def measured(plan: Plan, *, elapsed_s: float, found: Sequence[Answer], exact: Sequence[Answer] | None) -> Plan:
    """Return a plan with what happened: the time, and the recall where the true answer is known."""
    actual = {"us": elapsed_s * 1e6, "found": float(sum(len(answer.keys) for answer in found))}
    sampled = None
    if exact is not None:
        wanted = sum(len(true.keys) for true in exact)
        hits = sum(len(set(answer.keys) & set(true.keys)) for answer, true in zip(found, exact, strict=True))
        sampled = actual["recall"] = hits / wanted if wanted else 1.0
    return msgspec.structs.replace(plan, root=msgspec.structs.replace(plan.root, actual=actual), sampled_recall=sampled)
