"""The way to a cluster: a Transport that sends each part of an operation to the nodes that hold what it is about.

Searches visit few shards; what is not placed by vectors (ids, counts, words) asks all nodes at once. Writes to one collection go to the
same node while it lives, so that they share syncs and none has to be drafted twice; that two nodes write at once is slower, but right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from numpy.typing import NDArray

from paradox.errors import (
    BatchEmpty,
    Damaged,
    DeadlineExceeded,
    NodesUnreachable,
    ParadoxError,
    PointMissing,
    QueryInvalid,
)
from paradox.model import operations as ops
from paradox.model.admit import check_keys, check_payloads
from paradox.model.entries import Once
from paradox.model.filters import Filter
from paradox.model.points import Key, id_of, made_keys
from paradox.model.queries import Answer, Answers, Consistency, Plan, Question
from paradox.model.schema import CollectionSpec, Limits
from paradox.model.topology import shard_name
from paradox.planner.filter_check import check_filter
from paradox.planner.settle import settle
from paradox.ports.bus import Bus
from paradox.ports.env import Env
from paradox.router import together
from paradox.router.asking import Asker, Replies, unreachable
from paradox.router.joining import measured, picked, place_of_newest, plan_of
from paradox.router.layout import Layout, Told
from paradox.router.visiting import Visits
from paradox.space.regions import is_blank
from paradox.wire.guard import Guard
from paradox.wire.operations import (
    Barrier,
    CountShards,
    FetchKeys,
    FindKeys,
    LookAt,
    NextPage,
    ScrollShards,
    Write,
)

MEET_S = 1.0
"""How long to wait for all who live, once one is heard: what is asked of each would miss the others."""
Encode = Callable[[str, CollectionSpec, str, list[str]], NDArray[Any]]
Reply = TypeVar("Reply")
Read = TypeVar("Read", ops.GetPoints, ops.CountPoints, ops.ScrollPoints)
LOOK_AGAIN_S = 5.0
"""After which a node is asked again how far searches must go, while none has measured that for the map of now."""


class ClusterTransport:
    """A Transport to a cluster. Thread-safe."""

    def __init__(self, bus: Bus, *, env: Env, timeout_s: float, encode: Encode, limits: Limits, read_only: bool = False) -> None:
        """timeout_s: how long to wait for nodes that do not answer. encode: texts, for a collection's vector. Raises NodesUnreachable."""
        self._env = env
        self._asker = Asker(bus, env=env, timeout_s=timeout_s)
        self._encode = encode
        self._limits = limits
        self._guard = Guard(read_only=read_only)
        self._layouts: dict[str, Layout] = {}
        self._looked_s: dict[str, float] = {}
        self._fields: dict[str, dict[str, frozenset[str]]] = {}
        self._timeout_s = timeout_s
        if not self._asker.nodes.wait_for(timeout_s):
            self._asker.close()
            raise unreachable("none has said that it lives")
        self._asker.nodes.meet(min(timeout_s, MEET_S))

    # -- the Transport

    def send(self, operation: ops.Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        self._guard.check(operation)
        match operation:
            case ops.AddPoints():
                return self._add(operation)
            case ops.UpdatePoints():
                return self._update(operation)
            case ops.DeletePoints():
                return self._delete(operation)
            case ops.OpenCollection():
                return self._guard.open(operation, self._open)
            case ops.DropCollection(name=name):
                self._forget(name)
                return self._asker.one(operation, self._asker.writers(name))
            case ops.Ask():
                return self._search(operation)
            case ops.ExplainPlan():
                return self._explain(operation)
            case ops.GetPoints():
                return self._read(operation, self._get)
            case ops.CountPoints():
                return self._read(operation, self._count)
            case ops.ScrollPoints():
                return self._read(operation, self._scroll)
            case ops.SplitRegion():
                return self._split(operation)
            case ops.DescribeCollection():
                return together.collection(self._asker.each(operation))
            case ops.DescribeDatabase():
                return together.described(self._asker.each(operation))
            case ops.VerifyDatabase():
                return together.verified(self._asker.each(operation, timeout_s=None))
            case _:
                return self._asker.one(operation, self._asker.readers())

    def joins(self, collection: str) -> bool:
        """Tell that one message can carry many questions."""
        return True

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        self._guard.closed = True
        self._asker.close()

    # -- collections

    def _open(self, operation: ops.OpenCollection) -> ops.CollectionView:
        name = operation.name
        known = self._layouts.get(name)
        if known is not None and not operation.create and not operation.wanted:  # who searches hears soon enough that it was dropped
            return ops.CollectionView(name=name, spec=known.spec, id=known.id)
        view: ops.CollectionView = self._asker.one(operation, self._asker.writers(name))
        layout = self._look(name)
        if operation.create and not self._asker.nodes.wait_for(self._timeout_s, collection=layout.id, shards=layout.spec.shards):
            raise unreachable(f"not all shards of {name!r} are held by a node")
        return view

    def _forget(self, name: str) -> None:
        self._layouts.pop(name, None)
        self._fields.pop(name, None)

    def _layout(self, name: str) -> Layout:
        layout = self._layouts.get(name)
        if layout is None or self._asker.nodes.epoch(layout.id) > layout.regions.epoch:
            return self._look(name)
        if not layout.is_measured and self._env.elapsed_s() - self._looked_s.get(name, 0.0) > LOOK_AGAIN_S:
            return self._look(name)
        return layout

    def _told(self, name: str) -> Any:
        """Return what a node tells of a collection: the first that can open it."""
        nodes = self._asker.readers()
        while True:
            try:
                return self._asker.one(LookAt(collection=name), nodes)
            except Damaged:
                if len(nodes) < 2:
                    raise
                nodes = nodes[1:]

    def _look(self, name: str) -> Layout:
        """Ask a node what a collection is now. Raises CollectionMissing."""
        told = msgspec.convert(self._told(name), Told)
        self._looked_s[name] = self._env.elapsed_s()
        known = self._layouts.get(name)
        if known is not None and known.id != told.id:
            self._forget(name)
        layout = self._layouts[name] = Layout(told)
        self._learn(name, told.fields)
        return layout

    def _learn(self, name: str, fields: Mapping[str, Sequence[str]]) -> None:
        known = self._fields.setdefault(name, {})
        for field, kinds in fields.items():
            known[field] = known.get(field, frozenset()) | frozenset(kinds)

    def _check_filter(self, name: str, where: Filter) -> None:
        """Raise FilterField, FilterType when no point ever had what a filter asks about, as all nodes know it."""
        try:
            check_filter(where, self._fields.get(name, {}))
            if self._fields.get(name):
                return
        except ParadoxError:
            pass
        for told in self._asker.each(LookAt(collection=name)).values():
            self._learn(name, told["fields"])
        check_filter(where, self._fields.get(name, {}))

    # -- writes

    def _add(self, operation: ops.AddPoints) -> ops.Receipt:
        rows = operation.rows
        if operation.keys is None:  # so that asking a second node adds them once
            keys = made_keys(rows, self._env.now_us() // 1000, self._env.random_bytes(10 * rows))
            operation = msgspec.structs.replace(operation, keys=keys)
        operation = msgspec.structs.replace(operation, once=self._once(operation.collection))
        receipt: ops.Receipt = self._asker.one(operation, self._asker.writers(operation.collection))
        return receipt

    def _update(self, operation: ops.UpdatePoints) -> ops.Receipt:
        name, keys = operation.collection, operation.keys
        if not keys:
            raise BatchEmpty("the update names no point", hint="give at least one id")
        check_keys(keys)
        check_payloads(operation.payloads, self._limits)
        there = self._there(name, keys, operation.after)
        missing = next((key for key in keys if key not in there), None)
        if missing is not None:
            raise PointMissing(f"there is no point with id {id_of(missing)!r}; nothing was updated", hint="use add to create points")
        change = Write(collection=name, keys=keys, payloads=operation.payloads, once=self._once(name, operation.after))
        position = self._asker.one(change, self._asker.writers(name))
        return ops.Receipt(ids=[id_of(key) for key in keys], position=position)

    def _delete(self, operation: ops.DeletePoints) -> ops.Receipt:
        name = operation.collection
        if (operation.keys is None) == (operation.where is None):
            raise QueryInvalid("delete needs either ids or where", hint="to delete everything, drop the collection")
        if operation.where is not None:
            self._layout(name)
            self._check_filter(name, operation.where)
            gone = self._find(FindKeys(collection=name, shards=[], down=[], where=operation.where, after=self._end(name)))
        else:
            there = self._there(name, operation.keys or [], operation.after)
            gone = [key for key in dict.fromkeys(operation.keys or []) if key in there]
        if not gone:
            return ops.Receipt(ids=[], position=operation.after)
        change = Write(collection=name, keys=gone, once=self._once(name, operation.after))
        position = self._asker.one(change, self._asker.writers(name))
        return ops.Receipt(ids=[id_of(key) for key in gone], position=position)

    def _once(self, name: str, after: int = 0) -> Once:
        """Return what makes a write be done once. A node that was asked in vain may do it after another has, and after other writes."""
        return Once(self._env.random_bytes(16), max(after, self._asker.nodes.position(self._layout(name).id)))

    def _there(self, name: str, keys: Sequence[Key], after: int) -> set[Key]:
        """Return which points there are. That one is missing is believed of nodes that have seen the log's end only."""
        there = set(self._fetch(FetchKeys(collection=name, keys=list(keys), after=after), "eventual").keys)
        missing = [key for key in keys if key not in there]
        if missing:
            there |= set(self._fetch(FetchKeys(collection=name, keys=missing, after=self._end(name))).keys)
        return there

    def _split(self, operation: ops.SplitRegion) -> dict[str, Any]:
        """Let the node split a region that holds its shard; one that is not known is looked for by any node."""
        until = self._env.elapsed_s() + self._timeout_s
        while True:
            layout = self._look(operation.collection)
            shards = layout.regions.shard_of[layout.regions.names == operation.region].tolist()
            holder = self._asker.nodes.holders(layout.id, layout.spec.shards).get(shards[0]) if shards else None
            try:
                if shards and holder is None:
                    raise unreachable(f"none that lives holds shard {shard_name(shards[0])}")
                told: dict[str, Any] = self._asker.one(operation, [holder] if holder else self._asker.readers())
                return told
            except NodesUnreachable:  # the shard has just moved
                if self._env.elapsed_s() >= until:
                    raise
            self._asker.pause()

    # -- searches

    def _search(self, operation: ops.Ask) -> Answers:
        started = self._env.elapsed_s()
        name = operation.collection
        if operation.question.consistency == "strong":
            after = max(operation.question.after, self._end(name))
            operation = msgspec.structs.replace(operation, question=msgspec.structs.replace(operation.question, after=after))
        question = self._settled(operation)
        visits, found = self._if_made_anew(name, lambda: self._visited(name, question))
        answers = Answers(of=found, position=visits.position, coverage=visits.coverage(), asks_again=True)
        if operation.question.explain:
            elapsed = self._env.elapsed_s() - started
            answers.trace = lambda number=0: self._measured(name, question, number, found, elapsed)
        else:
            answers.trace = partial(self._plan, name, question)
        return answers

    def _settled(self, operation: ops.Ask | ops.ExplainPlan) -> Question:
        name = operation.collection
        spec = self._layout(name).spec
        question = operation.question
        if question.where is not None:
            self._check_filter(name, question.where)
        return settle(
            question,
            operation.like,
            spec=spec,
            limits=self._limits,
            vector_of=partial(self._vector_of, name, spec, question.after),
            encode=partial(self._encode, name, spec),
            fields=lambda: self._fields.get(name, {}),
        )

    def _vector_of(self, name: str, spec: CollectionSpec, after: int, key: Key, using: str) -> NDArray[Any] | None:
        answer = self._fetch(FetchKeys(collection=name, keys=[key], with_vectors=True, using=using, after=after))
        if not answer.keys or answer.vectors is None:
            raise KeyError(key)
        vector: NDArray[Any] = answer.vectors[0]
        return vector if vector.any() or len(spec.vectors) == 1 else None

    def _visited(self, name: str, question: Question, plan: int | None = None) -> tuple[Visits, list[Answer]]:
        layout = self._layout(name)
        until = self._env.elapsed_s() + self._timeout_s
        while True:
            visits = Visits(layout, partial(self._asker.of_nearest, name, layout, question.deadline_s), plan=plan)
            found = visits.search(question)
            if visits.answered and visits.moved > visits.position:  # a point may have left one shard unseen and not come to the other yet
                question = msgspec.structs.replace(question, after=visits.moved)
            elif not self._may_hide(layout, visits) or question.deadline_s is not None or self._env.elapsed_s() >= until:
                break
            else:
                self._asker.pause()
        if not visits.answered:
            if question.deadline_s is not None:
                what = f"no node answered within {question.deadline_s * 1000:.1f} ms"
                raise DeadlineExceeded(what, hint="allow more, or ask for less recall")
            raise unreachable(f"none that lives holds a shard of {name!r} that is asked for")
        if visits.epoch > layout.regions.epoch:
            self._look(name)
        return visits, found

    def _may_hide(self, layout: Layout, visits: Visits) -> bool:
        """Tell whether what did not answer may have the only copy of a point whose other copy did not either, but soon will.

        So it is for a moment when a server that carries messages dies. Where there is one copy of each point it is not waited for.
        """
        missing, copies = sorted(visits.missing - visits.answered), layout.spec.copies
        if not visits.answered or copies == 1 or not missing:
            return not visits.answered
        if self._asker.nodes.all_settled(layout.id, layout.regions.epoch, layout.spec.shards):
            if is_blank(layout.regions):  # then the first shards have all
                return set(range(copies)) <= set(missing)
            return layout.may_hide(missing, settled=True)
        return self._asker.nodes.gone(layout.id, missing) >= copies

    def _plan(self, name: str, question: Question, number: int = 0) -> Plan:
        """Ask again, for the plan of one query: most who search never look at it."""
        one = msgspec.structs.replace(
            question,
            vectors=None if question.vectors is None else question.vectors[number : number + 1],
            texts=question.texts[number : number + 1],
        )
        visits, _ = self._visited(name, one, 0)
        return plan_of(visits.plans, self._layout(name), one, sorted(visits.missing - visits.answered))

    def _measured(self, name: str, question: Question, number: int, found: list[Answer], elapsed_s: float) -> Plan:
        exact = None
        if question.mode == "vector":
            _, exact = self._visited(name, msgspec.structs.replace(question, exact=True, recall=1.0))
        return measured(self._plan(name, question, number), elapsed_s=elapsed_s, found=found, exact=exact)

    def _explain(self, operation: ops.ExplainPlan) -> Plan:
        question = msgspec.structs.replace(operation.question, explain=True)
        plan: Plan = self._search(ops.Ask(collection=operation.collection, question=question, like=operation.like)).trace()
        return plan

    # -- reads of all nodes

    def _get(self, operation: ops.GetPoints) -> Answer:
        name, keys, using = operation.collection, operation.keys, operation.using
        asked = FetchKeys(collection=name, keys=keys, with_vectors=operation.with_vectors, using=using, after=operation.after)
        return self._fetch(asked, operation.consistency)

    def _fetch(self, operation: FetchKeys, level: Consistency = "session") -> Answer:
        """Return points by id: the nodes are asked all at once, and two of them may have one. One that is found was there all the while."""
        keys = dict.fromkeys(operation.keys)

        def whole(replies: Replies) -> bool:
            return len({key for one in replies.values() for key in one["found"].keys}) == len(keys)

        replies = self._asker.at_once(operation, self._layout(operation.collection), level=level, whole=whole)
        answers = [one["found"] for one in replies.values()]
        place = place_of_newest(answers)
        return picked(answers, [place[key] for key in keys if key in place])

    def _count(self, operation: ops.CountPoints) -> int:
        if operation.where is not None:
            self._layout(operation.collection)
            self._check_filter(operation.collection, operation.where)
        asked = CountShards(collection=operation.collection, shards=[], down=[], where=operation.where, after=operation.after)
        replies = self._asker.at_once(asked, self._layout(operation.collection), level=operation.consistency)
        return sum(one["found"] for one in replies.values())

    def _find(self, operation: FindKeys) -> list[Key]:
        replies = self._asker.at_once(operation, self._layout(operation.collection), level="strong")
        return [key for one in replies.values() for key in one["found"]]

    def _scroll(self, operation: ops.ScrollPoints) -> ops.Scroll:
        name = operation.collection
        if operation.where is not None:
            self._layout(name)
            self._check_filter(name, operation.where)
        fields = {field: getattr(operation, field) for field in ops.ScrollPoints.__struct_fields__ if field != "consistency"}
        asked = ScrollShards(shards=[], down=[], **fields)
        replies = self._asker.at_once(asked, self._layout(name), level=operation.consistency)
        position = min(one["position"] for one in replies.values())
        scrolls = [(node, one["found"]) for node, one in replies.items()]
        return ops.Scroll(answers=self._pages(scrolls), total=sum(one["total"] for one in replies.values()), position=position)

    def _pages(self, scrolls: Sequence[tuple[str, str]]) -> Iterator[Answer]:
        for node, scroll in scrolls:
            while (page := self._asker.one(NextPage(scroll=scroll), [node])) is not None:
                yield page

    # -- how much is seen

    def _read(self, operation: Read, ask: Callable[[Read], Reply]) -> Reply:
        """Ask at the level of consistency that an operation names; what "session" means its sender knows, and says by a position."""
        name = operation.collection
        if operation.consistency == "strong":
            operation = msgspec.structs.replace(operation, after=max(operation.after, self._end(name)))
        return self._if_made_anew(name, lambda: ask(operation))

    def _end(self, name: str) -> int:
        """Return a position that is not before anything that was acknowledged to anybody, proven by an entry of the log."""
        position: int = self._asker.one(Barrier(collection=name), self._asker.writers(name))
        return position

    def _if_made_anew(self, name: str, ask: Callable[[], Reply]) -> Reply:
        """Ask, and once more where nobody had what was asked for, since somebody dropped the collection and made it anew."""
        known = self._layouts.get(name)
        try:
            return ask()
        except NodesUnreachable:
            if known is None or self._look(name).id == known.id:
                raise
            return ask()
