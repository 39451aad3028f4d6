"""Asking nodes: those that hold what is asked about, side by side, and others when they do not answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
import xxhash

from paradox.errors import LogUnavailable, NodesUnreachable, StoreClosed
from paradox.model.topology import node_subject
from paradox.ports.bus import Bus, Silence
from paradox.ports.env import Env
from paradox.router.layout import Layout
from paradox.router.nodes import Nodes
from paradox.wire.operations import Asked, Barrier, LookAt, NextPage, pack_operation, unpack_reply

HEDGE_READ_S, HEDGE_WRITE_S = 0.25, 3.0
"""How long one node may take before a second is asked too. A write carries a name, so that it is done once: see `entries.Once`."""
REPLY_S = 60.0
AGAIN_S = 0.05
ASKED_MAX = 3
"""Nodes that are asked one thing."""
Replies: TypeAlias = dict[str, dict[str, Any]]
"""By node."""


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

    def at_once(self, asked: Any, layout: Layout, *, agree: Callable[[Replies], bool]) -> Replies:
        """Ask the nodes of all shards for what they hold, and again while what they say does not agree: see `agreeing`.

        Who writes meanwhile keeps nodes from standing at one position; then they are asked for how they stood at one. Raises
        NodesUnreachable when nobody can answer for some points.
        """
        until = self._env.elapsed_s() + self._timeout_s
        catches_up = True
        while True:
            replies = self._of_shards(asked, layout, until_s=until)
            if replies and agree(replies):
                return replies
            if self._env.elapsed_s() >= until:
                raise unreachable("a node does not follow the log")
            if not replies:
                self.pause()  # a node has just come, or a shard
            at, last = 0, max((reply["position"] for reply in replies.values()), default=asked.after)
            if not catches_up:
                with suppress(LogUnavailable):  # then nobody writes
                    at = self.one(Barrier(collection=asked.collection, kept=True), self.writers(asked.collection))
            asked = msgspec.structs.replace(asked, after=max(asked.after, last), at=at)
            catches_up = not catches_up

    def _of_shards(self, asked: Any, layout: Layout, *, until_s: float) -> Replies:
        """Ask every shard's node, each point by whoever answers for it while others are down. Raises NodesUnreachable.

        Of a position that is kept for a moment: nothing where a node that should answer does not have it any more.
        """
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
            if self._env.elapsed_s() >= until_s:
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


def agreeing(consistency: str) -> Callable[[Replies], bool]:
    """Return what tells whether replies are enough at a level of consistency.

    At "eventual" none may be so far behind another that a point is seen by neither because it was moved to another shard as it is. At
    the others all must stand at one position, so that no point is missed or seen twice because somebody replaces it meanwhile.
    """
    if consistency == "eventual":
        return lambda replies: max(one["moved"] for one in replies.values()) <= min(one["position"] for one in replies.values())
    return lambda replies: len({one["position"] for one in replies.values()}) == 1


def unreachable(reason: str) -> NodesUnreachable:
    """Return the error for nodes that do not answer."""
    return NodesUnreachable(f"no node of the cluster answers: {reason}", hint="are nodes running? `paradox status` tells")
