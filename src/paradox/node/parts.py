"""What a node does for a router: parts of operations, over the shards that it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from paradox.errors import NodesUnreachable
from paradox.model.points import Mask
from paradox.model.queries import Answer
from paradox.node.held import HeldCollection
from paradox.node.moments import Moment, moment_of
from paradox.node.reads import located, pages, prepare, rows_of
from paradox.node.sampling import sample_vectors
from paradox.ports.text import TextStatistics
from paradox.shard.build import Segment
from paradox.shard.engine import holders_at
from paradox.shard.manifest import map_to_plain
from paradox.shard.search import matching_of
from paradox.space.balance import SAMPLE_MAX, loads
from paradox.wire.operations import AskShards, CountShards, CountWords, FetchKeys, FindKeys, ScrollShards, Write

if TYPE_CHECKING:
    from paradox.node.database import OpenedCollection


def look(opened: OpenedCollection) -> dict[str, Any]:
    """Return what a router needs to know of a collection."""
    held = opened.held
    return {
        "id": str(opened.mark),
        "spec": msgspec.to_builtins(held.spec),
        "map": map_to_plain(held.engine.regions),
        "routing": held.engine.routing,
        "routed": held.engine.routed,
        "fields": {field: sorted(kinds) for field, kinds in held.engine.fields().items()},
        "position": held.engine.applied,
    }


def weigh_regions(held: HeldCollection) -> dict[str, Any]:
    """Return how many points each region of the map stores of those that are answered for here, copies included."""
    engine, metric = held.engine, held.spec.vectors[held.spec.main].metric
    regions = engine.regions
    stored = loads(*sample_vectors(engine, SAMPLE_MAX), regions, metric=metric, copies=held.spec.copies)
    return {"epoch": regions.epoch, "loads": stored}


def ask_shards(held: HeldCollection, asked: AskShards) -> dict[str, Any]:
    """Search shards, each alone. Raises NodesUnreachable for one that is not held here (any more)."""
    prepare(held, asked.question.after)
    engine = held.engine
    _refuse_others(held, asked.shards)
    position = engine.applied
    known = [TextStatistics(rows, {(field, word): count for field, word, count in counts}) for rows, counts in asked.words]
    answers, visits = {}, []
    for place, shard in enumerate(asked.shards):
        question, numbers = asked.question, asked.queries[place] if asked.queries else []
        if question.vectors is not None and numbers and len(numbers) < len(question.vectors):
            question = msgspec.structs.replace(question, vectors=question.vectors[numbers])
        answers[shard], visited = engine.search_shard(question, shard, known)
        visits += visited
    _refuse_others(held, asked.shards)  # again: one may have been given up meanwhile
    return {
        "shards": answers,
        "position": position,
        "moved": engine.moved,
        "epoch": engine.regions.epoch,
        "lost": {name: lost for name, lost in engine.lost.items() if lost[0] in asked.shards},
        "rows": held.engine.count() if engine.lost else 0,
        "plan": None if asked.plan is None else engine.trace(asked.question, visits).plan(asked.plan),
    }


def _refuse_others(held: HeldCollection, shards: Iterable[int]) -> None:
    if not held.engine.held.issuperset(shards):
        raise NodesUnreachable("a shard is not on this node any more", hint="ask the node that has it now")


def count_words(held: HeldCollection, asked: CountWords) -> list[Any]:
    """Return how common the words of each text are in shards."""
    found = held.engine.word_statistics(asked.texts, asked.shards)
    _refuse_others(held, asked.shards)
    return [[one.rows, [[field, word, count] for (field, word), count in one.counts.items()]] for one in found]


def fetch_keys(opened: OpenedCollection, asked: FetchKeys) -> dict[str, Any]:
    """Return points by id."""
    held = opened.held
    if asked.at:
        moment = _moment(held, asked)
        there, place = moment.find(asked.keys), {"position": moment.position, "moved": moment.moved}
    else:
        prepare(held, asked.after)
        position, there = held.engine.applied, located(held, asked.keys)
        if len(there) < len(set(asked.keys)):
            with held.committer.turn:  # so that what is missing was so at this position
                position, there = held.engine.applied, located(held, asked.keys)
        place = {"position": position, "moved": held.engine.moved}
        _refuse_others(held, asked.shards)  # afterwards: one may have been given up meanwhile
    using = (asked.using or held.spec.main) if asked.with_vectors else None
    return {"found": rows_of(list(there.values()), using=using)} | place


def count_shards(held: HeldCollection, asked: CountShards) -> dict[str, Any]:
    """Return for how many points shards answer."""
    views, place = _views(held, asked)
    return {"found": sum(int(np.count_nonzero(mask)) for _, mask in views)} | place


def find_keys(held: HeldCollection, asked: FindKeys) -> dict[str, Any]:
    """Return the ids of the points for which shards answer."""
    views, place = _views(held, asked)
    return {"found": [key for segment, mask in views for key in segment.keys_at(np.flatnonzero(mask))]} | place


def scroll_shards(held: HeldCollection, asked: ScrollShards) -> tuple[Iterator[Answer], dict[str, Any]]:
    """Return pages of the points for which shards answer, and what is told of them."""
    views, place = _views(held, asked)
    chosen = [(segment, np.flatnonzero(mask)) for segment, mask in views]
    using = (asked.using or held.spec.main) if asked.with_vectors else None
    return pages(chosen, asked.batch, using), {"total": sum(len(rows) for _, rows in chosen)} | place


def _views(held: HeldCollection, asked: CountShards | FindKeys | ScrollShards) -> tuple[list[tuple[Segment, Mask]], dict[str, Any]]:
    """Return, of each segment, the live rows that its shard answers for while others are down, and that match; and of which position."""
    moment = _moment(held, asked)
    down = np.array(asked.down, dtype=np.int16)
    taken = [part for number in asked.shards for part in _answering(held, moment, number, down)]
    place = {"position": moment.position, "moved": moment.moved}
    return [(segment, matching_of(segment, live, asked.where)) for segment, live in taken], place


def _moment(held: HeldCollection, asked: FetchKeys | CountShards | FindKeys | ScrollShards) -> Moment:
    """Return how the shards asked for stand, or stood at the position asked for. Raises NodesUnreachable when that is not known here."""
    prepare(held, max(asked.after, asked.at))
    with held.committer.turn:
        moment = held.moments.at(asked.at) if asked.at else moment_of(held.engine)
    if moment is None or not moment.shards.keys() >= set(asked.shards):
        raise NodesUnreachable("a shard is not on this node, or was not at that position", hint="ask the node that has it now")
    return moment


def _answering(held: HeldCollection, moment: Moment, number: int, down: Any) -> Iterator[tuple[Segment, Mask]]:
    """Yield the rows of a shard that it answers for: the first of a point's shards that is not down does."""
    for segment, live in moment.shards[number]:
        if not len(down):
            yield segment, live & segment.owned()[: len(live)]
            continue
        holders = holders_at(segment, np.arange(len(live)), held.spec, number)
        up = (holders >= 0) & ~np.isin(holders, down)
        first = np.where(up.any(axis=1), holders[np.arange(len(live)), up.argmax(axis=1)], -1)
        yield segment, live & (first == number)


def write(held: HeldCollection, asked: Write) -> int:
    """Log a change of points that were found to be there, and return its position."""
    if asked.payloads is None:
        return held.commit_remove(asked.keys, asked.once)
    return held.commit_patch(asked.keys, asked.payloads, asked.once)
