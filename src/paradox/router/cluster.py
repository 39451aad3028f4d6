"""The way to a cluster: a Transport that sends each operation to a node that lives, and to the next one when that does not answer.

Any node can do anything. Writes to one collection go to the same node while it lives, so that they share syncs and none has to be drafted
twice; that two nodes write at once is slower, but right.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from threading import Condition
from typing import Any

import msgspec
import xxhash

from paradox.errors import DeadlineExceeded, NodesUnreachable, StoreClosed, StoreReadOnly
from paradox.model import operations as ops
from paradox.model.points import made_keys
from paradox.model.queries import Answer, Answers, Plan
from paradox.model.topology import ALIVE, SILENT_S, WHO, node_subject
from paradox.ports.bus import Bus, Silence
from paradox.ports.env import Env
from paradox.router import together
from paradox.wire.operations import answer_from, pack_operation, unpack_reply

WRITES = (ops.AddPoints, ops.UpdatePoints, ops.DeletePoints, ops.DropCollection)
AT_WRITER = (*WRITES, ops.OpenCollection)
HEDGE_READ_S, HEDGE_WRITE_S = 0.25, 3.0
"""How long one node may take before a second is asked too. A write that both do is done once: it has one id, or sets the same again."""
REPLY_S = 60.0
ASKED_MAX = 3
"""Nodes that are asked one thing."""


class Nodes:
    """Which nodes live, by what they say. Thread-safe."""

    def __init__(self, bus: Bus, *, env: Env) -> None:
        self._env = env
        self._heard: dict[str, float] = {}
        self._changed = Condition()
        bus.hear(ALIVE, self._hear)
        bus.tell(WHO, b"")

    def _hear(self, raw: bytes) -> None:
        name = msgspec.msgpack.decode(raw)["name"]
        with self._changed:
            self._heard[name] = self._env.elapsed_s()
            self._changed.notify_all()

    def alive(self) -> list[str]:
        """Return the names of nodes that were heard of lately, sorted."""
        now = self._env.elapsed_s()
        with self._changed:
            return sorted(name for name, at in self._heard.items() if now - at < SILENT_S)

    def bury(self, name: str) -> None:
        """Count a node as dead until it says something."""
        with self._changed:
            self._heard.pop(name, None)

    def wait(self, timeout_s: float) -> bool:
        """Wait until some node lives, and tell whether one does."""
        until = self._env.elapsed_s() + timeout_s
        while not self.alive():
            left = until - self._env.elapsed_s()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(left)
        return True


class ClusterTransport:
    """A Transport to a cluster. Thread-safe."""

    def __init__(self, bus: Bus, *, env: Env, timeout_s: float, read_only: bool = False) -> None:
        """timeout_s: how long to wait for a node to live. Raises NodesUnreachable."""
        self._bus = bus
        self._env = env
        self._read_only = read_only
        self._nodes = Nodes(bus, env=env)
        self._written: dict[str, int] = {}
        self._closed = False
        self._timeout_s = timeout_s
        if not self._nodes.wait(timeout_s):
            bus.close()
            raise self._unreachable("none has said that it lives")

    # -- the Transport

    def send(self, operation: ops.Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        if self._closed:
            raise StoreClosed("the database was closed", hint="connect again")
        if self._read_only and isinstance(operation, WRITES):
            raise StoreReadOnly("this database was opened with read_only=True", hint="connect without read_only to write")
        match operation:
            case ops.AddPoints(keys=None, rows=rows):
                keys = made_keys(rows, self._env.now_us() // 1000, self._env.random_bytes(10 * rows))
                return self.send(msgspec.structs.replace(operation, keys=keys))
            case ops.AddPoints() | ops.UpdatePoints() | ops.DeletePoints():
                receipt: ops.Receipt = self._ask(operation)
                self._written[operation.collection] = max(receipt.position, self._written.get(operation.collection, 0))
                return receipt
            case ops.DropCollection(name=name):
                self._written.pop(name, None)
                return self._ask(operation)
            case ops.Ask():
                answers: Answers = self._read(operation)
                answers.trace = partial(self._plan, operation)
                return answers
            case ops.ScrollPoints():
                return self._scroll(operation)
            case ops.GetPoints() | ops.CountPoints() | ops.ExplainPlan():
                return self._read(operation)
            case ops.DescribeDatabase():
                return together.described(self._ask_each(operation))
            case ops.VerifyDatabase():
                return together.verified(self._ask_each(operation, timeout_s=None))
            case _:
                return self._ask(operation)

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        self._closed = True
        self._bus.close()

    # -- reading what was written before

    def _read(self, operation: Any, **beside: Any) -> Any:
        """Ask for nothing older than what was written through here."""
        after = self._written.get(operation.collection, 0)
        asked = operation.question.after if hasattr(operation, "question") else operation.after
        if after <= asked:
            return self._ask(operation, **beside)
        try:
            return self._ask(_after(operation, after), **beside)
        except DeadlineExceeded:
            self._written.pop(operation.collection, None)  # somebody dropped the collection, and made it anew
            return self._ask(operation, **beside)

    def _plan(self, operation: ops.Ask, number: int = 0) -> Plan | None:
        """Ask again, for the plan of one query: most who search never look at it."""
        answers: Answers = self._read(operation, plan=number)
        plan: Plan | None = answers.trace()
        return plan

    def _scroll(self, operation: ops.ScrollPoints) -> ops.Scroll:
        after = max(operation.after, self._written.get(operation.collection, 0))
        operation = msgspec.structs.replace(operation, after=after)
        node, raw = self._exchange(operation, {})
        head = unpack_reply(raw, operation)
        return ops.Scroll(answers=self._pages(operation, node, head["scroll"]), total=head["total"], position=head["position"])

    def _pages(self, operation: ops.ScrollPoints, node: str, scroll: str) -> Iterator[Answer]:
        while True:
            _, raw = self._exchange(operation, {"page": scroll}, nodes=[node])
            page = unpack_reply(raw, operation)
            if page is None:
                return
            yield answer_from(page)

    # -- asking

    def _ask(self, operation: ops.Operation, **beside: Any) -> Any:
        return unpack_reply(self._exchange(operation, beside)[1], operation)

    def _ask_each(self, operation: ops.Operation, *, timeout_s: float | None = REPLY_S) -> dict[str, Any]:
        """Return the reply of each node that lives and answers. Raises NodesUnreachable when none does."""
        replies = {}
        for node in self._nodes.alive():
            with suppress(NodesUnreachable):
                replies[node] = unpack_reply(self._exchange(operation, {}, nodes=[node], timeout_s=timeout_s)[1], operation)
        if not replies:
            raise self._unreachable("all are silent")
        return replies

    def _exchange(
        self, operation: ops.Operation, beside: dict[str, Any], *, nodes: list[str] | None = None, timeout_s: float | None = REPLY_S
    ) -> tuple[str, bytes]:
        """Return which node answered, and what. Raises NodesUnreachable."""
        raw = pack_operation(operation, **beside)
        hedge_s = HEDGE_WRITE_S if isinstance(operation, AT_WRITER) else HEDGE_READ_S
        until = self._env.elapsed_s() + self._timeout_s
        while True:
            asked = nodes or self._order(operation)[:ASKED_MAX]
            try:
                subject, reply = self._bus.ask([node_subject(node) for node in asked], raw, hedge_s=hedge_s, timeout_s=timeout_s)
                return subject.removeprefix(node_subject("")), reply
            except Silence as silence:
                if not silence.nobody or nodes or self._env.elapsed_s() > until:
                    raise self._unreachable(silence.reason) from None
                for node in asked:
                    self._nodes.bury(node)
                self._nodes.wait(until - self._env.elapsed_s())

    def _order(self, operation: ops.Operation) -> list[str]:
        """Return the nodes in the order in which they should be asked: for writes always the same one first."""
        alive = self._nodes.alive()
        if not isinstance(operation, AT_WRITER):
            random.shuffle(alive)
            return alive
        name = operation.name if isinstance(operation, ops.OpenCollection | ops.DropCollection) else operation.collection
        return sorted(alive, key=lambda node: xxhash.xxh3_64_intdigest(f"{name}/{node}".encode()))

    def _unreachable(self, reason: str) -> NodesUnreachable:
        return NodesUnreachable(f"no node of the cluster answers: {reason}", hint="are nodes running? `paradox status` tells")


def _after(operation: Any, after: int) -> Any:
    if hasattr(operation, "question"):
        return msgspec.structs.replace(operation, question=msgspec.structs.replace(operation.question, after=after))
    return msgspec.structs.replace(operation, after=after)
