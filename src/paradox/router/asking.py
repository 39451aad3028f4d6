"""Asking nodes: those that hold what is asked about, side by side, and others when they do not answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
import xxhash

from paradox.errors import DeadlineExceeded, LogUnavailable, NodesUnreachable, StoreClosed
from paradox.model.queries import Consistency
from paradox.model.topology import node_subject
from paradox.ports.bus import Bus, Silence
from paradox.ports.env import Env
from paradox.router.layout import Layout
from paradox.router.nodes import Nodes
from paradox.wire.operations import Asked, Barrier, LookAt, NextPage, ScrollShards, pack_operation, unpack_reply

HEDGE_READ_S, HEDGE_WRITE_S = 0.25, 3.0
"""How long one node may take before a second is asked too. A write carries a name, so that it is done once: see `entries.Once`."""
REPLY_S = 60.0
AGAIN_S = 0.05
ASKED_MAX = 3
"""Nodes that are asked one thing."""
Replies: TypeAlias = dict[str, dict[str, Any]]
"""By node."""


def _never(_: Replies) -> bool:
    return False


class Asker:
    """The nodes of a cluster, to be asked. Thread-safe."""

    def __init__(self, bus: Bus, *, env: Env, timeout_s: float, nodes: Nodes | None = None) -> None:
        """timeout_s: how long to go on while none answers. nodes: where they are heard of already."""
        self._bus = bus
        self._env = env
        self._timeout_s = timeout_s
        self.nodes = nodes or Nodes(bus, env=env)

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        self._bus.close()

    def pause(self) -> None:
        """Wait a moment before asking again."""
        self._bus.wait(AGAIN_S)

    def at_once(self, asked: Any, layout: Layout, *, level: Consistency, whole: Callable[[Replies], bool] = _never) -> Replies:
        """Ask the nodes of all shards for what they hold, so that no point is missed or seen twice because somebody writes meanwhile.

        Nodes that stand at different positions of the log are asked again; beside somebody who never pauses, for how they stood at one
        position that all keep for a moment. At "session" they answer as they are when they cannot come to one in time, as when the log
        does not answer; at "eventual" they always do, but none so far behind another that a point which was moved as it is stands on
        neither. whole: whether replies are enough though they are of different positions. Raises NodesUnreachable when nobody can
        answer for some points; at "strong" also when nodes do not come to one position.
        """
        first, until, kept = asked, self._env.elapsed_s() + self._timeout_s, False
        while True:
            try:
                replies = self._of_shards(asked, layout)
            except (LogUnavailable, DeadlineExceeded):
                if level != "session" or asked is first:
                    raise
                asked, level, until = first, "eventual", self._env.elapsed_s() + self._timeout_s
                continue
            if replies and (whole(replies) or _agree(replies, level)):
                return replies
            self._leave(asked, replies)
            if self._env.elapsed_s() >= until and (kept or level == "eventual"):
                if level != "session":
                    raise unreachable("nodes do not follow the log")
                asked, level, until = first, "eventual", self._env.elapsed_s() + self._timeout_s
                continue
            if not replies:
                self.pause()  # a node has just come, or a shard
            at, far = 0, "moved" if level == "eventual" else "position"
            if asked is not first and not asked.at and level != "eventual":
                kept = True
                with suppress(LogUnavailable):  # then nobody writes
                    at = self.one(Barrier(collection=asked.collection, kept=True), self.writers(asked.collection))
            asked = msgspec.structs.replace(first, after=max(first.after, *(one[far] for one in replies.values()), 0), at=at)

    def _leave(self, asked: Any, replies: Replies) -> None:
        """Let nodes forget scrolls that nobody will read."""
        if isinstance(asked, ScrollShards):
            self.nodes_say({node: NextPage(scroll=one["found"], leave=True) for node, one in replies.items()}, timeout_s=REPLY_S)

    def _of_shards(self, asked: Any, layout: Layout) -> Replies:
        """Ask every shard's node, each point by whoever answers for it while others are down. Raises NodesUnreachable.

        Of a position that is kept for a moment: nothing where a node that should answer does not have it any more.
        """
        until = self._env.elapsed_s() + self._timeout_s
        while True:
            holders = self.nodes.holders(layout.id, layout.spec.shards)
            down = sorted(set(range(layout.spec.shards)) - holders.keys())
            if not layout.may_hide(down, settled=self.nodes.all_settled(layout.id, layout.regions.epoch, layout.spec.shards)):
                questions = {
                    node: msgspec.structs.replace(asked, shards=sorted(shard for shard, one in holders.items() if one == node), down=down)
                    for node in sorted(set(holders.values()))
                }
                replies: Replies = self.nodes_say(questions, timeout_s=REPLY_S)
                if len(replies) == len(questions):
                    return replies
                if asked.at:
                    return {}
            if self._env.elapsed_s() >= until:
                raise unreachable(f"shards {down} of {asked.collection!r} are on no node that lives")
            self.pause()

    def of_nearest(
        self, name: str, layout: Layout, timeout_s: float | None, wanted: Collection[int], ask: Callable[[list[int]], Asked]
    ) -> list[tuple[list[int], Any]]:
        """See `visiting.AskNodes`. Shards of a node that does not answer are asked of another that has them, once."""
        left, replies = set(wanted), []
        for _ in range(2):
            holders = self.nodes.all_holders(layout.id, layout.spec.shards)
            by_nodes: dict[tuple[str, ...], list[int]] = {}
            for shard in sorted(left & holders.keys()):
                by_nodes.setdefault(holders[shard], []).append(shard)
            if not by_nodes:
                break
            questions = [(nodes, msgspec.structs.replace(ask(shards), collection=name)) for nodes, shards in by_nodes.items()]
            for shards, reply in zip(by_nodes.values(), self._say(questions, timeout_s=timeout_s or REPLY_S), strict=True):
                if reply is not None:
                    replies.append((shards, reply))
                    left -= set(shards)
            if not left or timeout_s is not None:
                break
        return replies

    def nodes_say(self, questions: Mapping[str, Asked], *, timeout_s: float | None) -> dict[str, Any]:
        """Ask nodes side by side, and return the replies of those that answer. Raises what one of them says is wrong with the question."""
        replies = self._say([((node,), question) for node, question in questions.items()], timeout_s=timeout_s)
        return {node: reply for node, reply in zip(questions, replies, strict=True) if reply is not None}

    def _say(self, questions: Sequence[tuple[Sequence[str], Asked]], *, timeout_s: float | None) -> list[Any]:
        """Ask many things side by side, each of one of some nodes, of the next one too when that is slow. None where none answers."""
        subjects = [[node_subject(node) for node in nodes[:ASKED_MAX]] for nodes, _ in questions]
        packed = [pack_operation(question) for _, question in questions]
        asked = list(zip(subjects, packed, strict=True))
        replies: list[Any] = []
        for (nodes, question), raw in zip(
            questions, self._bus.ask_all(asked, hedge_s=HEDGE_READ_S, timeout_s=timeout_s, lives=self._lives), strict=True
        ):
            replies.append(None)
            if isinstance(raw, Silence):
                if raw.nobody:
                    self.nodes.bury(nodes[:ASKED_MAX][-1])  # the one that was asked last
                continue
            with suppress(NodesUnreachable, StoreClosed):  # it stops, or a shard has just moved
                replies[-1] = unpack_reply(raw[1], question)
        return replies

    def each(self, operation: Asked, *, timeout_s: float | None = REPLY_S) -> dict[str, Any]:
        """Return the reply of each node that lives and answers. Raises NodesUnreachable when none does."""
        until = self._env.elapsed_s() + self._timeout_s
        while True:
            replies = self.nodes_say(dict.fromkeys(self.nodes.alive(), operation), timeout_s=timeout_s)
            if replies:
                return replies
            if self._env.elapsed_s() >= until:
                raise unreachable("all are silent")
            self.nodes.wait_for(until - self._env.elapsed_s())

    def one(self, operation: Asked, order: Sequence[str]) -> Any:
        """Ask the first node that answers. Raises NodesUnreachable."""
        raw = pack_operation(operation)
        hedge_s = HEDGE_READ_S if isinstance(operation, LookAt) else HEDGE_WRITE_S
        until = self._env.elapsed_s() + self._timeout_s
        asked = list(order)[:ASKED_MAX]
        while True:
            try:
                _, reply = self._bus.ask([node_subject(node) for node in asked], raw, hedge_s=hedge_s, timeout_s=REPLY_S, lives=self._lives)
                return unpack_reply(reply, operation)
            except Silence as silence:
                if not silence.nobody or isinstance(operation, NextPage) or self._env.elapsed_s() >= until:
                    raise unreachable(silence.reason) from None
                for node in asked:
                    self.nodes.bury(node)
                self.nodes.wait_for(until - self._env.elapsed_s())
                asked = [node for node in order if node in self.nodes.alive()] or self.nodes.alive()[:ASKED_MAX]

    def _lives(self, subject: str) -> bool:
        return subject.removeprefix(node_subject("")) in self.nodes.alive()

    def writers(self, name: str) -> list[str]:
        """Return the nodes in the order in which writes to a collection should be tried: the same for everybody."""
        return sorted(self.nodes.alive(), key=lambda node: xxhash.xxh3_64_intdigest(f"{name}/{node}".encode()))

    def readers(self) -> list[str]:
        """Return the nodes in any order, for what each of them can tell."""
        alive = self.nodes.alive()
        self._env.shuffle(alive)
        return alive


def _agree(replies: Replies, level: Consistency) -> bool:
    positions = {one["position"] for one in replies.values()}
    return len(positions) == 1 or (level == "eventual" and max(one["moved"] for one in replies.values()) <= min(positions))


def unreachable(reason: str) -> NodesUnreachable:
    """Return the error for nodes that do not answer."""
    return NodesUnreachable(f"no node of the cluster answers: {reason}", hint="are nodes running? `paradox status` tells")
