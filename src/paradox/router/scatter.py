"""Scatter: the engine of a whole collection, over the shards of one folder. The same plan and fan-out as over many machines.

A query goes through the regions nearest first, searching the shard of each once, and stops when several in a row change nothing
(`patience.py`), since the copies of a point stand in complementary regions on other shards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.entries import Entry, MapChange, Patch, Remove, Write
from paradox.model.invariants import Invariant, ensure
from paradox.model.points import Holders, Key, Points, hash_keys
from paradox.model.queries import Answer, Answers, Coverage, Question
from paradox.model.recall import Routing
from paradox.model.schema import CollectionSpec
from paradox.model.topology import RegionMap, shard_name
from paradox.planner.choose import Choice, Costs
from paradox.planner.fusion import fuse_ranks
from paradox.ports.kernels import Kernels
from paradox.ports.text import TextStatistics
from paradox.router.gather import Ranking, answers_of, is_starved, merge
from paradox.router.moving import Moving
from paradox.router.patience import FoundByShard, Progress, Stop, any_way, choose_patience, next_visits, of_each_shard, unmeasured, way
from paradox.router.rearranging import Rearranging
from paradox.router.trace import Trace
from paradox.shard.build import Segment
from paradox.shard.engine import Held, ShardEngine
from paradox.shard.geometry import unit
from paradox.shard.sealed import Sealed
from paradox.shard.search import Found, Visit, is_filtered, matching
from paradox.space.regions import Atlas

TEXT_CHOICE = Choice(way="text", probes=0, depth=0, recall=1.0, cost_us=0.0)
NO_HASHES = np.empty(0, dtype=np.uint64)
"""Growing segments find keys without hashes."""
NO_SCORES = np.empty(0, dtype=np.float32)
FIELDS_REMEMBERED_MAX = 10_000
TEXT_DEPTH = 4
TEXT_DEPTH_MIN = 50


class Scatter:
    """All shards of one collection. `apply` is called by one thread, in log order; searches run beside it."""

    def __init__(
        self, spec: CollectionSpec, regions: RegionMap, kernels: Kernels, costs: Costs, *, held: Collection[int] | None = None
    ) -> None:
        """held: the shards whose points are kept here, where other engines may keep the others; None = there is no other."""
        self.alone = held is None
        self.held = frozenset(range(spec.shards) if held is None else held)
        self.spec = spec
        self.regions = regions
        self.costs = costs
        self.shards = [ShardEngine(number, spec, kernels) for number in range(spec.shards)]
        self.applied = 0
        self.remembered: dict[str, frozenset[str]] = {}
        self.lost: dict[str, tuple[int, int]] = {}  # what is damaged and set aside: shard and rows
        self.moved = 0  # where the log last moved points from shard to shard
        self.moves = 0  # raised when points stand in their new places, before they leave the old ones
        self.routing: tuple[Routing, ...] = unmeasured(spec.copies)
        self.routed = -1  # the epoch of the map it was measured with
        self._main = spec.vectors[spec.main]
        self._atlases: tuple[Atlas, ...] = ()
        self.moving = Moving(self)
        self.rearranging = Rearranging(self)

    # -- writes

    def assign_regions(self, points: Points) -> NDArray[np.int32]:
        """Return (n, copies) regions of the map that hold each point, nearest first.

        Where one shard has all regions, the first stands for any: which is the nearest is asked when points are sealed.
        """
        return self.regions_of(points.vectors[self.spec.main], self.regions)

    def regions_of(self, vectors: NDArray[Any], regions: RegionMap) -> NDArray[np.int32]:
        """The same, of (n, d) main vectors and any map."""
        if self._main.metric == "hamming" or len(self.shards) == 1:
            return np.array([[0] + [-1] * (self.spec.copies - 1)] * len(vectors), dtype=np.int32)
        return self._atlas(regions).assign(vectors, copies=self.spec.copies)

    def _atlas(self, regions: RegionMap) -> Atlas:
        """Return the atlas of a map; those of the two newest are kept."""
        for atlas in self._atlases:
            if atlas.regions is regions:
                return atlas
        self._atlases = (Atlas(regions, self._main.metric), *self._atlases[:1])
        return self._atlases[0]

    def apply(self, position: int, entry: Entry) -> None:
        """Apply the log entry at `position`, the next one."""
        ensure(Invariant.LOG_ORDER, position == self.applied + 1, f"entry {position} after {self.applied}")
        match entry:
            case Write(points=points, regions=regions, moved=moved):
                self._write(points, regions, position)
                self.moved = position if moved else self.moved
            case Patch(keys=keys, payloads=payloads, stamp=stamp):
                hashes, changes = hash_keys(keys), dict(zip(keys, payloads, strict=True))
                for shard in self.shards:
                    shard.patch(keys, hashes, changes, stamp, position)
            case Remove(keys=keys):
                self.kill(self.find_live(keys), position)
            case MapChange(map=new):
                self.rearranging.change(new, position)
        self.applied = position

    def find_live(self, keys: Sequence[Key]) -> list[Held]:
        """Return the live rows of the keys on every shard."""
        sealed = any(isinstance(segment, Sealed) for shard in self.shards for segment in shard.segments)
        hashes = hash_keys(keys) if sealed else NO_HASHES
        return [held for shard in self.shards for held in shard.find_live(keys, hashes)]

    def kill(self, victims: list[Held], position: int) -> None:
        """Mark rows as dead from a position on."""
        for held in victims:
            held.segment.kill(held.rows, position)

    def _write(self, points: Points, regions: NDArray[np.int32], position: int) -> None:
        victims = self.find_live(points.keys)
        self.spread(points, regions)
        self.kill(victims, position)

    def spread(self, points: Points, regions: NDArray[np.int32]) -> None:
        """Give each shard that is held here the points that it holds."""
        holders = holders_of(regions, self.regions)
        for shard in self.shards:
            if shard.number not in self.held:
                continue
            rows = np.flatnonzero((holders == shard.number).any(axis=1))
            if len(rows):
                shard.apply_points(points if len(rows) == len(points) else subset(points, rows), holders[rows])

    def stand_elsewhere(self, vectors: NDArray[Any], holders: Holders) -> NDArray[np.bool_]:
        """Return which of (n, d) points have other places by the map than (n, copies) `holders`."""
        return self.are_elsewhere(self.regions_of(vectors, self.regions), holders)

    def are_elsewhere(self, lists: NDArray[np.int32], holders: Holders) -> NDArray[np.bool_]:
        """The same, given their regions."""
        return np.asarray((holders_of(lists, self.regions) != holders).any(axis=1))

    # -- reads

    def segments(self) -> list[Segment]:
        """Return all segments of all shards."""
        return [segment for shard in self.shards for segment in shard.segments if segment.rows]

    def count(self) -> int:
        """Return the number of live points."""
        return sum(shard.count() for shard in self.shards)

    def stored(self) -> list[int]:
        """Return how many live points each shard has, copies included."""
        return [sum(segment.rows - segment.dead for segment in shard.segments) for shard in self.shards]

    def remember(self, segments: Sequence[Segment]) -> None:
        """Keep in mind the fields of segments that are about to be rewritten without their dead points."""
        for segment in segments:
            for field, kinds in segment.columns().fields().items():
                if field in self.remembered or len(self.remembered) < FIELDS_REMEMBERED_MAX:
                    self.remembered[field] = self.remembered.get(field, frozenset()) | kinds

    def fields(self) -> dict[str, frozenset[str]]:
        """Return the payload fields that any point ever had, with the kinds of their values."""
        seen = dict(self.remembered)
        for shard in self.shards:
            for field, kinds in shard.fields().items():
                seen[field] = seen.get(field, frozenset()) | kinds
        return seen

    def search(self, question: Question) -> Answers:
        """Answer a question of one or many queries."""
        while True:
            moves = self.moves
            answers = self._search(question)
            if moves == self.moves:  # else a point may have left one shard unseen and come to another that was visited before
                return answers

    def search_together(self, questions: list[Question]) -> list[Answers]:
        """Answer questions of one vector each that differ in nothing else: one look for all."""
        if len(questions) == 1:
            return [self.search(questions[0])]
        joint = self.search(msgspec.structs.replace(questions[0], vectors=np.concatenate([question.vectors for question in questions])))
        return [
            Answers(of=[answer], position=joint.position, coverage=joint.coverage, trace=partial(joint.trace, number))
            for number, answer in enumerate(joint.of)
        ]

    def search_shard(self, question: Question, number: int, known: Sequence[TextStatistics] = ()) -> tuple[list[Answer], list[Visit]]:
        """Answer from one shard alone, by vector or, with `known` of all shards, by text."""
        if question.mode == "text":
            visits, ranking = self._by_text(question, [self.shards[number]], known)
            return self._answers(ranking, [visit.segment for visit in visits], question, None), visits
        metric = self.spec.vectors[question.using].metric
        assert question.vectors is not None, "checked at admission"
        results = self.shards[number].search(unit(question.vectors, metric), question, self.costs)
        visits, found = [visit for _, visit in results], [part for part, _ in results]
        segments, ranking = [visit.segment for visit in visits], self._merged(found, question, k=question.k)
        return self._whole_answers(found, ranking, segments, question, metric), visits

    def word_statistics(self, texts: Sequence[str], shards: Collection[int]) -> list[TextStatistics]:
        """Return how common the words of each text are in these shards."""
        indexes = [index for number in shards for segment in self.shards[number].segments if (index := segment.text()) is not None]
        return [TextStatistics.together([index.statistics(text) for index in indexes]) for text in texts]

    def trace(self, question: Question, visits: Sequence[Visit]) -> Trace:
        """Return what is told of visits."""
        return Trace(self.spec, self.regions, [shard.segments for shard in self.shards], tuple(visits), question, routed=1.0)

    def _search(self, question: Question) -> Answers:
        position = self.applied
        found: list[Found] = []
        match question.mode:
            case "vector":
                visits, found, metric = self._by_vector(question)
                ranking = self._merged(found, question, k=question.k)
            case "text":
                visits, ranking = self._by_text(question)
                metric = None
            case _:
                visits, ranking = self._hybrid(question)
                metric = None
        segments = [visit.segment for visit in visits]
        answers = self._whole_answers(found, ranking, segments, question, metric)
        routed = self._routing(question).recall
        share = routed if len(self.shards) > 1 and question.mode != "text" else 1.0
        trace = Trace(self.spec, self.regions, [shard.segments for shard in self.shards], tuple(visits), question, routed=share)
        return Answers(of=answers, position=position, coverage=self._coverage(visits), trace=trace.plan)

    def _coverage(self, visits: list[Visit]) -> Coverage:
        holders = {shard_name(number): "answered" for number in sorted({visit.shard for visit in visits})}
        lost = dict(self.lost)
        if not lost:
            return Coverage(share=1.0, holders=holders)
        missing, there = sum(rows for _, rows in lost.values()), self.spec.copies * self.count()
        holders |= {f"{shard_name(shard)}/{name}": "down" for name, (shard, _) in lost.items()}
        return Coverage(share=there / max(1, there + missing), holders=holders)

    def _merged(self, found: list[Found], question: Question, *, k: int) -> Ranking:
        if not found:
            return empty_ranking(1 if question.vectors is None else len(question.vectors))
        return merge(found, k=k, copies=self.spec.copies)

    def _answers(self, ranking: Ranking, segments: list[Segment], question: Question, metric: Any) -> list[Answer]:
        return answers_of(
            ranking,
            segments,
            k=question.k,
            metric=metric,
            using=question.using if question.with_vectors else None,
            with_payload=question.with_payload,
        )

    def _whole_answers(
        self, found: list[Found], ranking: Ranking, segments: list[Segment], question: Question, metric: Any
    ) -> list[Answer]:
        """Return answers that are not short because several versions of a point took places of the ranking of `found`."""
        answers = self._answers(ranking, segments, question, metric)
        if found and is_starved(answers, ranking, k=question.k):
            answers = self._answers(self._merged(found, question, k=sum(part.row.shape[1] for part in found)), segments, question, metric)
        return answers

    def _by_vector(self, question: Question) -> tuple[list[Visit], list[Found], Any]:
        metric = self.spec.vectors[question.using].metric
        assert question.vectors is not None, "checked at admission"
        queries = unit(question.vectors, metric)
        if len(self.shards) == 1:
            results = self.shards[0].search(queries, question, self.costs)
        else:
            results = self._patiently(queries, question)
        return [visit for _, visit in results], [found for found, _ in results], metric

    def _patiently(self, queries: NDArray[Any], question: Question) -> list[tuple[Found, Visit]]:
        """Visit shards, nearest region first, until patience ends for each query; those that come to a shard together share the visit."""
        patience = self._routing(question).patience
        walks = [Progress(way, question.k, patience) for way in self.ways(queries, question)]
        asked = of_each_shard(question, patience)
        results: list[dict[int, tuple[Found, Visit]]] = [{} for _ in walks]
        while True:
            waves, coming = next_visits(walks)
            if not coming:
                return list(results[0].values()) if len(results) == 1 else stack(results)
            scores = {}
            for shard, numbers in coming.items():
                parts = self.shards[shard].search(queries[numbers], asked, self.costs)
                for place, number in enumerate(numbers):
                    own = [(Found(found.score[place : place + 1], found.row[place : place + 1]), visit) for found, visit in parts]
                    results[number] |= {id(visit.segment): (found, visit) for found, visit in own}
                    scores[shard, number] = np.concatenate([NO_SCORES, *(found.score[found.row >= 0] for found, _ in own)])
            for number, wave in enumerate(waves):
                for shard in wave:
                    walks[number].take(shard, scores[shard, number])

    def _routing(self, question: Question) -> Routing:
        """Return how long to go on visiting shards. Patience was measured with the vector that places points, and for all of them: what
        another vector or a filter leaves may stand anywhere.
        """
        anywhere = question.using != self.spec.main or is_filtered(question)
        exact = question.exact or anywhere
        return choose_patience(self.routing, k=question.k, recall=question.recall, exact=exact, shards=len(self.shards))

    def everywhere(self, question: Question) -> FoundByShard:
        """Return what every shard finds for each query by vector."""
        found = [(shard.number, self.search_shard(question, shard.number)[0]) for shard in self.shards]
        return {(shard, number): answer for shard, answers in found for number, answer in enumerate(answers)}

    def ways(self, queries: NDArray[Any], question: Question) -> list[list[Stop]]:
        """Return the way of each of (q, d) queries over all shards."""
        if question.using != self.spec.main or self._main.metric == "hamming":
            return [any_way(len(self.shards))] * len(queries)
        regions = self.regions  # one map from here on, even if a new one comes meanwhile
        ranked = self._atlas(regions).rank(queries)
        return [way(nearest, regions.shard_of, len(self.shards)) for nearest in ranked]

    def _by_text(
        self, question: Question, shards: Sequence[ShardEngine] = (), known: Sequence[TextStatistics] = ()
    ) -> tuple[list[Visit], Ranking]:
        visits, scores, rows = [], [], []
        depth = max(TEXT_DEPTH_MIN, TEXT_DEPTH * question.k)
        shards = shards or self.shards
        held = [(shard.number, segment, index) for shard in shards for segment in shard.segments if (index := segment.text()) is not None]
        # a word's weight is how rare it is everywhere, not in one segment
        known = known or self.word_statistics(question.texts, [shard.number for shard in shards])
        for shard, segment, index in held:
            if not segment.rows:
                continue
            mask = matching(segment, question)
            alive = segment.alive()
            allow = alive.copy() if mask is None else mask & alive[: len(mask)]
            visits.append(Visit(shard, segment, TEXT_CHOICE, int(np.count_nonzero(allow))))
            seen = allow if segment.dead or mask is not None else None
            parts = [index.search(text, depth, allow=seen, statistics=how) for text, how in zip(question.texts, known, strict=True)]
            width = max((len(part) for _, part in parts), default=0)
            scores.append(np.stack([np.pad(score, (0, width - len(score)), constant_values=-np.inf) for score, _ in parts]))
            rows.append(np.stack([np.pad(row, (0, width - len(row)), constant_values=-1) for _, row in parts]))
        if not visits:
            return [], empty_ranking(len(question.texts))
        found = [Found(score.astype(np.float32), row) for score, row in zip(scores, rows, strict=True)]
        return visits, merge(found, k=depth if question.mode == "hybrid" else question.k, copies=self.spec.copies)

    def _hybrid(self, question: Question) -> tuple[list[Visit], Ranking]:
        """Join the two rankings by reciprocal rank fusion, over the segments of both."""
        depth = max(TEXT_DEPTH_MIN, TEXT_DEPTH * question.k)
        near, found, _ = self._by_vector(msgspec.structs.replace(question, k=depth))
        by_vector = self._merged(found, question, k=depth)
        told, by_text = self._by_text(question)
        visits = [*near, *(visit for visit in told if all(visit.segment is not other.segment for other in near))]
        number = {id(visit.segment): place for place, visit in enumerate(visits)}
        fused = []
        for query in range(len(question.texts)):
            rankings = []
            for part, ranking in ((near, by_vector), (told, by_text)):
                valid = ranking.row[query] >= 0
                places = np.array([number[id(visit.segment)] for visit in part] or [0], dtype=np.int64)
                rankings.append((places[ranking.segment[query][valid]] << 40) | ranking.row[query][valid])
            fused.append(fuse_ranks(rankings, limit=question.k * self.spec.copies + 2))
        width = max(len(code) for _, code in fused)
        score = np.stack([np.pad(score, (0, width - len(score)), constant_values=-np.inf) for score, _ in fused]).astype(np.float32)
        code = np.stack([np.pad(code, (0, width - len(code)), constant_values=-1) for _, code in fused])
        return visits, Ranking(score, np.where(code >= 0, code >> 40, -1), np.where(code >= 0, code & ((1 << 40) - 1), -1))


def holders_of(lists: NDArray[np.int32], regions: RegionMap) -> Holders:
    """Return the shards of (n, copies) regions of a map; -1 stays -1."""
    return np.where(lists >= 0, regions.shard_of[np.maximum(lists, 0)], -1).astype(np.int16)


def subset(points: Points, rows: NDArray[np.int64]) -> Points:
    """Return chosen rows of points."""
    chosen = rows.tolist()
    return msgspec.structs.replace(
        points,
        keys=[points.keys[row] for row in chosen],
        vectors={name: column[rows] for name, column in points.vectors.items()},
        payloads=[points.payloads[row] for row in chosen],
        at_us=points.at_us[rows],
        modality=[points.modality[row] for row in chosen],
        stamp=points.stamp[rows],
        key_id=points.key_id[rows],
        present={name: mask[rows] for name, mask in points.present.items()},
    )


def empty_ranking(queries: int) -> Ranking:
    """Return a ranking without candidates."""
    return Ranking(np.empty((queries, 0), dtype=np.float32), np.empty((queries, 0), dtype=np.int64), np.empty((queries, 0), dtype=np.int64))


def stack(parts: list[dict[int, tuple[Found, Visit]]]) -> list[tuple[Found, Visit]]:
    """Join one-query results that visited different segments into results of all queries, blank where a query did not visit."""
    visits = {number: visit for part in parts for number, (_, visit) in part.items()}
    joined = []
    for number, visit in visits.items():
        width = max(part[number][0].row.shape[1] for part in parts if number in part)
        score = np.full((len(parts), width), -np.inf, dtype=np.float32)
        row = np.full((len(parts), width), -1, dtype=np.int64)
        for query, part in enumerate(parts):
            if number in part:
                found = part[number][0]
                score[query, : found.score.shape[1]], row[query, : found.row.shape[1]] = found.score[0], found.row[0]
        joined.append((Found(score, row), visit))
    return joined


def answer_of_keys(segments: Sequence[Segment], held: Sequence[Held], *, using: str | None) -> Answer:
    """Return live rows as an Answer without scores, in the order given."""
    number = np.concatenate([np.full(len(part.rows), place) for place, part in enumerate(held)]) if held else np.empty(0, dtype=np.int64)
    row = np.concatenate([part.rows for part in held]) if held else np.empty(0, dtype=np.int64)
    ranking = Ranking(np.zeros((1, len(row)), dtype=np.float32), number[None].astype(np.int64), row[None])
    return answers_of(ranking, [part.segment for part in held], k=len(row), metric=None, using=using, with_payload=True)[0]
