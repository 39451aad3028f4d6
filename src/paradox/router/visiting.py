"""Visiting: a search over shards on many nodes, the nearest first, in waves that are no larger than patience asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from paradox.model.queries import Answer, Coverage, Plan, Question
from paradox.model.topology import shard_name
from paradox.ports.text import TextStatistics
from paradox.router.joining import fused, joined
from paradox.router.layout import Layout
from paradox.router.patience import FoundByShard, Progress, next_visits, of_each_shard
from paradox.router.scatter import TEXT_DEPTH, TEXT_DEPTH_MIN
from paradox.wire.operations import Asked, AskShards, CountWords, answer_from

AskNodes = Callable[[Collection[int], Callable[[list[int]], Asked]], list[tuple[list[int], Any]]]
"""Asks the nodes that hold shards: given the shards of one node, the second argument says what to ask it. Returns the shards
and the reply of each node that answered; shards of nodes that did not are missing from it."""


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
        queries = [Progress(way, question.k, patience) for way in self._layout.ways(vectors, question)]
        found: list[list[Answer]] = [[] for _ in queries]
        asked = of_each_shard(question, patience)
        while True:
            waves, coming = next_visits(queries)
            if not coming:
                return [joined(answers, question.k) for answers in found]
            answers = self._visit(asked, coming)
            for number, wave in enumerate(waves):
                for shard in wave:
                    answer = answers.get((shard, number))
                    queries[number].take(shard, None if answer is None else answer.score)
                    if answer is not None:
                        found[number].append(answer)

    def everywhere(self, question: Question) -> FoundByShard | None:
        """Return what every shard finds for each query by vector; None when one does not answer."""
        assert question.vectors is not None
        every = list(range(len(question.vectors)))
        found = self._visit(question, dict.fromkeys(range(self._layout.spec.shards), every))
        return None if self.missing else found

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
            queries = [[numbers.index(number) for number in wanted[shard]] for shard in shards] if len(numbers) > 1 else []
            return AskShards(collection="", question=some, shards=shards, queries=queries, plan=plan)

        for shards, reply in self._ask(wanted, asked):
            for shard, told in self._note(reply, shards):
                answers |= {(shard, number): answer for number, answer in zip(wanted[shard], told, strict=True)}
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
