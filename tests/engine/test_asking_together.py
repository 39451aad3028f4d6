"""Callers that ask at the same time share one look, and each gets its own answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from engine.small import opened, settle
from paradox.errors import QueryInvalid
from paradox.model.queries import Answers, Coverage, Question, alike
from paradox.node.asking import Asking
from paradox.node.env import RealEnv

CALLERS = 24


def question(number: int, *, k: int = 10) -> Question:
    return Question(vectors=np.array([[number]], dtype=np.float32), k=k)


def answers(position: int) -> Answers:
    return Answers(of=[], position=position, coverage=Coverage(share=1.0, holders={}))


class Held:
    """A search that stands still until it is let go, and remembers what it was asked."""

    def __init__(self) -> None:
        self.go = Event()
        self.asked: list[list[int]] = []

    def __call__(self, questions: list[Question]) -> list[Answers]:
        numbers = [int(each.vectors[0, 0]) for each in questions]  # type: ignore[index]
        self.asked.append(numbers)
        assert self.go.wait(30)
        if -1 in numbers:
            raise QueryInvalid("one of them is odd")
        return [answers(number) for number in numbers]


def all_at_once(held: Held, numbers: list[int]) -> list[int | Exception]:
    """Ask so that all but the first few wait for each other."""
    asking = Asking(held, env=RealEnv())

    def ask(number: int) -> int | Exception:
        try:
            return asking.search(question(number)).position
        except QueryInvalid as error:
            return error

    with ThreadPoolExecutor(len(numbers)) as threads:
        asked = [threads.submit(ask, number) for number in numbers]
        while sum(map(len, held.asked)) + len(asking._waiting) < len(numbers):
            pass
        held.go.set()
        found = [each.result() for each in asked]
    assert not asking._waiting
    assert asking._leaders == 0
    return found


def test_callers_that_wait_are_answered_together_and_each_with_its_own() -> None:
    held = Held()
    assert all_at_once(held, list(range(CALLERS))) == list(range(CALLERS))
    assert sorted(number for numbers in held.asked for number in numbers) == list(range(CALLERS))
    assert max(map(len, held.asked)) > 1
    assert len(held.asked) < CALLERS


def test_an_error_reaches_those_it_concerns_and_no_caller_waits_for_ever() -> None:
    held = Held()
    found = all_at_once(held, [*range(CALLERS), -1])
    concerned = next(numbers for numbers in held.asked if -1 in numbers)
    for number, each in zip([*range(CALLERS), -1], found, strict=True):
        assert isinstance(each, QueryInvalid) if number in concerned else each == number


def test_only_questions_that_differ_in_nothing_else_are_joined() -> None:
    assert alike([question(number, k=k) for number, k in enumerate([10, 3, 10, 3, 10])]) == [[0, 2, 4], [1, 3]]


def test_an_interrupted_leader_leaves_the_others_to_themselves() -> None:
    asking = Asking(lambda questions: [answers(0) for _ in questions], env=RealEnv())
    calls = 0

    def interrupted(questions: list[Question]) -> list[Answers]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        return [answers(int(each.vectors[0, 0])) for each in questions]  # type: ignore[index]

    asking._search = interrupted
    with pytest.raises(KeyboardInterrupt):
        asking.search(question(1))
    assert asking.search(question(2)).position == 2
    assert asking._leaders == 0


def test_many_threads_get_what_one_would(tmp_path: Path) -> None:
    database, embedded = opened(tmp_path)
    points = database.collection("points", dimensions=16)
    dice = np.random.default_rng(5)
    points.add(ids=list(range(500)), vectors=dice.normal(size=(500, 16)))
    settle(embedded)  # plans are those of what is stored by then
    queries = dice.normal(size=(200, 16)).astype(np.float32)
    alone = [[hit.id for hit in points.search(query, 7)] for query in queries]
    plans = [points.search(query, 7).plan for query in queries[:3]]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda query: points.search(query, 7), queries))
    assert [[hit.id for hit in hits] for hits in together] == alone
    assert [hits.plan for hits in together[:3]] == plans
    database.close()
