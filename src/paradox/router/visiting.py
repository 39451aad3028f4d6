"""Visiting: a search over shards on many nodes, the nearest first, in waves that are no larger than patience asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.queries import Answer, Coverage, Plan, Question
from paradox.model.topology import shard_name
from paradox.ports.text import TextStatistics
from paradox.router.joining import fused, joined
from paradox.router.layout import Layout
from paradox.router.scatter import TEXT_DEPTH, TEXT_DEPTH_MIN
from paradox.wire.operations import Asked, AskShards, CountWords, answer_from

AskNodes = Callable[[Collection[int], Callable[[list[int]], Asked]], list[tuple[list[int], Any]]]
"""Asks the nodes that hold shards: given the shards of one node, the second argument says what to ask it. Returns the shards
and the reply of each node that answered; shards of nodes that did not are missing from it."""


class Progress:
    """How far one query is: which shards are next, and whether they still change anything."""

    def __init__(self, order: Sequence[int], k: int) -> None:
        self._order = order
        self._at = 0
        self._k = k
        self._best: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._unchanged = 0
        self._visited = 0

    def next(self, patience: int) -> list[int]:
        """Return the shards to visit together: as many as must be visited in any case. None when it is enough."""
        if self._unchanged >= patience:
            return []
        wanted = patience - self._unchanged + (not self._visited)
        shards = list(self._order[self._at : self._at + wanted])
        self._at += len(shards)
        return shards

    def take(self, scores: NDArray[np.float32]) -> None:
        """See what one more shard found."""
        best = np.unique(np.concatenate((self._best, scores)))[-self._k :]
        self._unchanged = self._unchanged + 1 if len(best) >= self._k and np.array_equal(best, self._best) else 0
        self._best = best
        self._visited += 1


class Visits:
    """One search: what was asked, what came back, and what did not."""

    def __init__(self, layout: Layout, ask: AskNodes, *, plan: int | None = None) -> None:
        """plan: the number of the query whose plan is wanted."""
        self._layout = layout
        self._ask = ask
        self._plan = plan
        self.plans: list[Plan] = []
        self.answered: set[int] = set()
        self.missing: set[int] = set()
        self.position = 0  # which all have applied
        self.moved = 0
        self.epoch = 0
        self._lost: dict[str, tuple[int, int]] = {}
        self._rows = 0

    def search(self, question: Question) -> list[Answer]:
        """Return an answer for each query of a question."""
        match question.mode:
            case "vector":
                return self._by_vector(question)
            case "text":
                return self._by_text(question)
            case _:
                depth = max(TEXT_DEPTH_MIN, TEXT_DEPTH * question.k)
                near = self._by_vector(msgspec.structs.replace(question, mode="vector", k=depth))
                told = self._by_text(msgspec.structs.replace(question, mode="text", k=depth, vectors=None))
                return [fused(one, other, question.k) for one, other in zip(near, told, strict=True)]

    def _by_vector(self, question: Question) -> list[Answer]:
        vectors = question.vectors
        assert vectors is not None, "checked at admission"
        patience = self._layout.routing_of(question).patience
        queries = [Progress(order, question.k) for order in self._layout.order(vectors, question)]
        found: list[list[Answer]] = [[] for _ in queries]
        while True:
            wave = [query.next(patience) for query in queries]
            wanted: dict[int, list[int]] = {}
            for number, shards in enumerate(wave):
                for shard in shards:
                    wanted.setdefault(shard, []).append(number)
            if not wanted:
                return [joined(answers, question.k) for answers in found]
            answers = self._visit(question, wanted)
            for number, shards in enumerate(wave):
                for shard in shards:
                    if (shard, number) in answers:
                        found[number].append(answers[shard, number])
                        queries[number].take(answers[shard, number].score)

    def _visit(self, question: Question, wanted: Mapping[int, list[int]]) -> dict[tuple[int, int], Answer]:
        """Return the answers of shards by (shard, number of the query)."""
        vectors = question.vectors
        assert vectors is not None
        answers: dict[tuple[int, int], Answer] = {}

        def numbers_of(shards: list[int]) -> list[int]:
            return sorted({number for shard in shards for number in wanted[shard]})

        def asked(shards: list[int]) -> Asked:
            numbers = numbers_of(shards)
            some = question if len(numbers) == len(vectors) else msgspec.structs.replace(question, vectors=vectors[numbers])
            plan = numbers.index(self._plan) if self._plan in numbers else None
            return AskShards(collection="", question=some, shards=shards, plan=plan)

        for shards, reply in self._ask(wanted, asked):
            numbers = numbers_of(shards)
            for shard, told in self._note(reply, shards):
                answers |= {(shard, number): answer for number, answer in zip(numbers, told, strict=True)}
        self.missing |= wanted.keys() - self.answered
        return answers

    def _by_text(self, question: Question) -> list[Answer]:
        texts, every = list(question.texts), range(self._layout.spec.shards)
        counted = self._ask(every, lambda shards: CountWords(collection="", texts=texts, shards=shards))
        words = [
            TextStatistics.together(
                TextStatistics(reply[number][0], {(field, word): count for field, word, count in reply[number][1]}) for _, reply in counted
            )
            for number in range(len(texts))
        ]
        plain = [[one.rows, [[field, word, count] for (field, word), count in one.counts.items()]] for one in words]
        found: list[list[Answer]] = [[] for _ in texts]
        replies = self._ask(every, lambda shards: AskShards(collection="", question=question, shards=shards, words=plain, plan=self._plan))
        for shards, reply in replies:
            for _, told in self._note(reply, shards):
                for number, answer in enumerate(told):
                    found[number].append(answer)
        self.missing |= set(every) - self.answered
        return [joined(answers, question.k) for answers in found]

    def _note(self, reply: dict[str, Any], shards: list[int]) -> list[tuple[int, list[Answer]]]:
        """Note what a node said beside its answers, and return these by shard."""
        self.answered.update(shards)
        self.position = reply["position"] if not self.position else min(self.position, reply["position"])
        self.moved = max(self.moved, reply["moved"])
        self.epoch = max(self.epoch, reply["epoch"])
        self._lost |= reply["lost"]
        self._rows += reply["rows"]
        if reply["plan"] is not None:
            self.plans.append(msgspec.convert(reply["plan"], Plan))
        return [(int(shard), [answer_from(answer) for answer in told]) for shard, told in reply["shards"].items()]

    def coverage(self) -> Coverage:
        """Return how much of what should have answered did."""
        missing = self.missing - self.answered
        holders = {shard_name(shard): "answered" for shard in sorted(self.answered)}
        holders |= {shard_name(shard): "down" for shard in sorted(missing)}
        holders |= {f"{shard_name(shard)}/{name}": "down" for name, (shard, _) in self._lost.items()}
        share = len(self.answered) / max(1, len(self.answered) + len(missing))
        if self._lost:
            there = self._layout.spec.copies * self._rows
            share *= there / max(1, there + sum(rows for _, rows in self._lost.values()))
        return Coverage(share=share, holders=holders)
