"""Patience: how many regions in a row may change nothing before a query stops, and the recall that stored points show for it.

A query goes through the regions nearest first. A shard is searched whole when the first of its regions comes up; all further ones cost
nothing. Shards that come up before patience could end are visited together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.queries import Answer, Question
from paradox.model.recall import Routing

PATIENCES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32, 48, 64)
EVERYWHERE = 1 << 31
"""More regions than there are: every shard is visited."""
DEFAULT = (
    Routing(patience=4, recall=0.9, shards=3.5),
    Routing(patience=8, recall=0.95, shards=5.0),
    Routing(patience=16, recall=0.98, shards=8.0),
)
"""Before anything is measured: two copies on static text vectors, on the low side."""
SAMPLES = (((1, 10), 768), ((100,), 128))
"""How many neighbours are looked for, of how many stored points: who looks for one stops sooner than who looks for ten, and where points
stand in clusters, ten come from one region and a hundred do not. Of recall 0.95 the neighbours of 768 tell within 0.009.
"""
TOGETHER = 64
"""Of which so many at a time."""
DOUBTS = 2.0
"""Standard errors that a reading may be too high. Where points stand in clusters few of the sample miss anything, and those miss all."""
INSIDE = 0.1
"""The share of what may be lost that shards which are visited may lose. Looking closer there costs less than visiting more of them."""
SAMPLE_RECALL = 0.995
"""Asked of each shard, for one that is measured is visited like one that is asked for 0.95."""


class Stop(NamedTuple):
    """A shard on a query's way, and how many regions are nearer than its nearest."""

    shard: int
    place: int


FoundByShard: TypeAlias = Mapping[tuple[int, int], Answer]
"""What each shard found for each query: by shard, and number of the query."""


def way(nearest: NDArray[np.int64], shard_of: NDArray[np.int32], shards: int) -> list[Stop]:
    """Return a query's way over all shards. nearest: regions, nearest first."""
    places = np.full(shards, len(nearest), dtype=np.int64)
    places[shard_of[nearest][::-1]] = np.arange(len(nearest) - 1, -1, -1)  # of a place that is set twice the last value stays
    return sorted((Stop(shard, place) for shard, place in enumerate(places.tolist())), key=lambda stop: (stop.place, stop.shard))


def any_way(shards: int) -> list[Stop]:
    """Return the way of a query that may find anything anywhere."""
    return [Stop(shard, 0) for shard in range(shards)]


class Progress:
    """How far one query is: which shards are next, and whether they still change anything."""

    def __init__(self, way: Sequence[Stop], k: int, patience: int) -> None:
        """way: every shard once, places ascending."""
        self._way = way
        self._place = dict(way)
        self._k = k
        self._patience = patience
        self._until = patience  # the region that is looked at last if nothing changes
        self._at = 0
        self._best: NDArray[np.float32] = np.empty(0, dtype=np.float32)

    def next(self) -> list[int]:
        """Return the shards to visit together: those that must be visited in any case. None when it is enough."""
        start = self._at
        if len(self._best) < self._k and start and start < len(self._way):  # there are fewer near by than are wanted
            self._until = max(self._until, self._way[start].place + self._patience)
        while self._at < len(self._way) and self._way[self._at].place <= self._until:
            self._at += 1
        return [stop.shard for stop in self._way[start : self._at]]

    def take(self, shard: int, scores: NDArray[np.float32] | None) -> None:
        """See what a shard found. None: it did not answer, so that others are to be looked at for copies of what it has."""
        best = self._best if scores is None else np.unique(np.concatenate((self._best, scores)))[-self._k :]
        if scores is None or not np.array_equal(best, self._best):
            self._until = max(self._until, self._place[shard] + self._patience)
        self._best = best


def next_visits(queries: Sequence[Progress]) -> tuple[list[list[int]], dict[int, list[int]]]:
    """Return the shards that each query visits next, to be taken in this order, and the queries of each shard; none when it is enough."""
    waves = [query.next() for query in queries]
    coming: dict[int, list[int]] = {}
    for number, wave in enumerate(waves):
        for shard in wave:
            coming.setdefault(shard, []).append(number)
    return waves, coming


def unmeasured(copies: int) -> tuple[Routing, ...]:
    """Return what is taken for granted before anything is measured: where points have one copy, nothing is."""
    return DEFAULT if copies > 1 else ()


def choose_patience(readings: Sequence[Routing], *, k: int, recall: float, exact: bool, shards: int) -> Routing:
    """Return the cheapest reading that keeps `recall`; a visit to all shards when none does.

    Of readings for several k those for the least that is not below `k` count, else those for the largest.
    """
    looked_for = {reading.k for reading in readings}
    nearest = min((one for one in looked_for if one >= k), default=max(looked_for, default=k))
    kept = [] if exact else [reading for reading in readings if reading.k == nearest and keeps(reading, recall)]
    return min(kept, key=lambda reading: reading.shards, default=Routing(patience=EVERYWHERE, recall=1.0, shards=float(shards)))


def keeps(reading: Routing, recall: float) -> bool:
    """Tell whether a reading leaves shards their share of what may be lost, and keeps `recall` also where the sample was lucky."""
    return reading.recall >= recall + INSIDE * (1 - recall) and reading.recall - DOUBTS * reading.doubt >= recall


def of_each_shard(question: Question, patience: int) -> Question:
    """Return what shards are asked: where not all are visited, for a recall that leaves `choose_patience` its share of what may be lost."""
    return question if patience == EVERYWHERE else msgspec.structs.replace(question, recall=1 - INSIDE * (1 - question.recall))


def measure(
    queries: NDArray[Any],
    own: Sequence[Any],
    *,
    using: str,
    ways: Callable[[NDArray[Any], Question], Sequence[Sequence[Stop]]],
    ask: Callable[[Question], FoundByShard | None],
) -> tuple[Routing, ...]:
    """Return a reading for each patience and each of SAMPLES, from stored points asked for theirs; none when shards do not answer.

    own: their keys. ways: see `way`. ask: asks every shard. Cost: every query at every shard, once.
    """
    measured: list[Routing] = []
    for counts, most in SAMPLES:
        k, walks = max(counts), []
        for start in range(0, min(most, len(queries)), TOGETHER):
            part = queries[start : min(most, start + TOGETHER)]
            question = Question(vectors=part, using=using, k=k + 1, recall=SAMPLE_RECALL, with_payload=False)
            found = ask(question)
            if found is None:
                return ()
            walks += [
                Walk(way, {stop.shard: others(found[stop.shard, number], own[start + number]) for stop in way})
                for number, way in enumerate(ways(part, question))
            ]
        measured += [reading for count in counts for reading in readings([first(walk, count) for walk in walks], count)]
    return tuple(measured)


class Walk(NamedTuple):
    """A query that was asked everywhere: its way, and the keys and scores that each shard found, best first, itself left out."""

    way: Sequence[Stop]
    found: Mapping[int, tuple[Sequence[Any], NDArray[np.float32]]]


def first(walk: Walk, k: int) -> Walk:
    """Return a walk with the best k that each shard found."""
    return Walk(walk.way, {shard: (keys[:k], scores[:k]) for shard, (keys, scores) in walk.found.items()})


def others(answer: Answer, own: Any) -> tuple[list[Any], NDArray[np.float32]]:
    """Return keys and scores of an answer without those of one point."""
    rows = [row for row, key in enumerate(answer.keys) if key != own]
    return [answer.keys[row] for row in rows], np.asarray(answer.score[rows], dtype=np.float32)


class Steps(NamedTuple):
    """What a walk finds step by step, for n stops: whatever the patience, its visits are the first of them.

    changes (n,): whether the stop changes the best. found (n + 1,): how many of the best are known after so many stops. share (n + 1,):
    how much of what is nearest of all was found.
    """

    places: list[int]
    changes: list[bool]
    found: list[int]
    share: list[float]


def readings(walks: Iterable[Walk], k: int) -> tuple[Routing, ...]:
    """Return a reading for each patience, of which of the k nearest it would have found. Pure."""
    steps = [steps_of(walk, k) for walk in walks]
    if not steps:
        return ()
    made = []
    for patience in PATIENCES:
        visits = [visits_of(one, k, patience) for one in steps]
        shares = [one.share[count] for one, count in zip(steps, visits, strict=True)]
        doubt = float(np.std(shares)) / len(shares) ** 0.5
        made.append(Routing(k=k, patience=patience, recall=float(np.mean(shares)), doubt=doubt, shards=sum(visits) / len(visits)))
    return tuple(made)


def steps_of(walk: Walk, k: int) -> Steps:
    """Return what a walk finds step by step, of the k nearest."""
    true = nearest_keys(walk, k)
    best: list[float] = []
    seen: set[Any] = set()
    changes, found, share = [], [0], [0.0]
    for stop in walk.way:
        keys, scores = walk.found[stop.shard]
        now = sorted({*best, *scores.tolist()})[-k:]
        changes.append(now != best)
        best = now
        seen |= true.intersection(keys)
        found.append(len(best))
        share.append(len(seen) / max(1, len(true)))
    return Steps([stop.place for stop in walk.way], changes, found, share)


def visits_of(steps: Steps, k: int, patience: int) -> int:
    """Return how many stops `Progress` visits with a patience."""
    places, changes, found, _ = steps
    until, at = patience, 0
    while True:
        start = at
        if start and start < len(places) and found[start] < k:
            until = max(until, places[start] + patience)
        while at < len(places) and places[at] <= until:
            at += 1
        if at == start:
            return at
        until = max([until, *(places[stop] + patience for stop in range(start, at) if changes[stop])])


def nearest_keys(walk: Walk, k: int) -> set[Any]:
    """Return the keys of the k nearest that any shard found."""
    scores = {key: float(score) for keys, found in walk.found.values() for key, score in zip(keys, found.tolist(), strict=True)}
    return set(sorted(scores, key=lambda key: (-scores[key], str(key)))[:k])


def visited(walk: Walk, k: int, patience: int) -> list[list[int]]:
    """Return the shards that a query would have visited with this patience: those together that nothing had to be known for."""
    progress, waves = Progress(walk.way, k, patience), []
    while wave := progress.next():
        for shard in wave:
            progress.take(shard, walk.found[shard][1])
        waves.append(wave)
    return waves
