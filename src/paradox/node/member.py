"""A member: one node of a cluster. It follows the logs of all collections, and answers what it is asked over the bus."""

from __future__ import annotations

import sys
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Any

import msgspec

from paradox.errors import CollectionMissing, InternalError, LogConflict, LogCorrupt, ParadoxError, QueryInvalid
from paradox.log.jetstream import APPENDED, Streams
from paradox.log.register import Register
from paradox.model import operations as ops
from paradox.model.queries import Answer, Answers
from paradox.model.schema import Limits
from paradox.model.topology import ALIVE, SILENT_S, WHO, node_subject
from paradox.node import copying
from paradox.node.cluster_catalogue import CHANGED, ClusterCatalogue
from paradox.node.database import HeldDatabase, OpenedCollection
from paradox.node.env import RealEnv
from paradox.node.held import HeldCollection
from paradox.node.worker import Worker
from paradox.objects.disk import RealDisk
from paradox.objects.local import LocalStore
from paradox.ports.bus import Bus, Silence
from paradox.ports.log import Log
from paradox.wire.operations import Asked, CopyPiece, CopySnapshot, pack_error, pack_operation, pack_reply, unpack_operation, unpack_reply

THREADS = 16
BEAT_S = 0.5
FOLLOW_S, LOOK_S = 0.5, 1.0
"""How long a follower sleeps when nobody tells it that there is something to read, and how often it reads the catalogue."""
PEER_S = 30.0
COPIES_TRIED = 10
SNAPSHOTS_MIN = 2
"""Nodes that must have a snapshot of what is trimmed, where there are so many."""
NODES = "nodes"
SCROLLS_MAX = 256


class Peer(msgspec.Struct, kw_only=True):
    """What a node says of itself. snapshots: of each collection, up to which position it needs no log. heard_s: when it was said."""

    name: str
    failure: str = ""
    snapshots: dict[str, int] = {}
    heard_s: float = 0.0


class Member:
    """A running node."""

    def __init__(self, name: str, folder: Path, bus: Bus, *, limits: Limits, log_replicas: int) -> None:
        """folder: where it keeps segments; all of it can be rebuilt. Raises LogUnavailable."""
        self.name = name
        self._bus = bus
        self._env = RealEnv()
        streams = Streams(bus, env=self._env)
        register = Register(streams, replicas=log_replicas)
        self._catalogue = ClusterCatalogue(streams, register, folder, env=self._env, replicas=log_replicas)
        self.database = HeldDatabase(self._catalogue, path=name, disk=RealDisk(), env=self._env, limits=limits, worker=Worker(self._env))
        self.database.bring_up = self._bring_up
        self.database.held_anew = self._held_anew
        self._register = register
        self._peers: dict[str, Peer] = {}
        self._scrolls = Scrolls()
        self._news = Condition()
        self._told = False
        self._closed = False
        self.failure = ""
        bus.hear(APPENDED, self._wake)
        bus.hear(CHANGED, self._wake)
        bus.hear(WHO, self._beat)
        bus.hear(ALIVE, self._hear)
        with suppress(LogConflict):  # it is registered already
            register.put(f"{NODES}.{name}", b"", revision=0)
        bus.serve(node_subject(name), self._answer, threads=THREADS)
        self._threads = [Thread(target=work, name="paradox-member", daemon=True) for work in (self._follow, self._live)]
        for thread in self._threads:
            thread.start()

    # -- following

    def _wake(self, _: bytes) -> None:
        with self._news:
            self._told = True
            self._news.notify_all()

    def _follow(self) -> None:
        looked = -LOOK_S
        while not self._closed:
            try:
                if self._env.elapsed_s() - looked > LOOK_S:
                    looked = self._env.elapsed_s()
                    self._look()
                self._follow_once()
                self.failure = ""
            except ParadoxError as error:
                self.failure = error.message
            with self._news:
                if not self._told and not self._closed:
                    self._news.wait(FOLLOW_S)
                self._told = False

    def _follow_once(self) -> None:
        try:
            self.database.follow()
        except ParadoxError:
            self._catalogue.look()  # a collection that was dropped has no log any more
            self.database.follow()

    def _look(self) -> None:
        """See which collections there are, and hold all of them. Raises ParadoxError of the last that cannot be held."""
        self._catalogue.look()
        failure: ParadoxError | None = None
        for name in self._catalogue.names():
            try:
                self.database.opened(name)
            except CollectionMissing:
                continue  # dropped since
            except ParadoxError as error:
                failure = error
        if failure is not None:
            raise failure

    # -- living among others

    def _live(self) -> None:
        while not self._closed:
            self._beat(b"")
            self._bus.wait(BEAT_S)

    def _beat(self, _: bytes) -> None:
        snapshots = {id: held.covered for id, held in self._by_id().items()}
        self._bus.tell(ALIVE, msgspec.msgpack.encode(Peer(name=self.name, failure=self.failure, snapshots=snapshots)))

    def _by_id(self) -> dict[str, HeldCollection]:
        return {str(opened.mark): opened.held for opened in self.database.all_opened()}

    def _hear(self, raw: bytes) -> None:
        peer = msgspec.msgpack.decode(raw, type=Peer)
        peer.heard_s = self._env.elapsed_s()
        if peer.name != self.name:
            self._peers[peer.name] = peer

    def _alive(self) -> list[Peer]:
        now = self._env.elapsed_s()
        return [peer for peer in list(self._peers.values()) if now - peer.heard_s < SILENT_S]

    # -- snapshots and the log

    def _held_anew(self, opened: OpenedCollection) -> None:
        opened.held.trim = partial(self._trim, str(opened.mark), opened.held.log)

    def _trim(self, collection: str, log: Log, through: int) -> None:
        """Trim a log as far as every node that lives can do without it, if that is not only this one of many."""
        peers = self._alive()
        if len(peers) + 1 >= min(SNAPSHOTS_MIN, len(self._register.keys(NODES))):
            log.trim(min([through, *(peer.snapshots.get(collection, 0) for peer in peers)]))

    def _bring_up(self, name: str, log: Log, store: LocalStore) -> None:
        """Copy the snapshot of another node when the log no longer holds what this one lacks. Raises LogCorrupt."""
        for again in reversed(range(COPIES_TRIED)):
            if copying.position_of(store) + 1 >= log.first:
                return
            for peer in self._alive():
                with suppress(Silence, KeyError, ParadoxError):  # it dies, makes a newer one, or lacks the collection: ask another
                    self._copy(name, store, peer.name, log.first)
                    return
            if again:
                self._bus.wait(BEAT_S)  # until those who live have said so
        raise LogCorrupt(
            f"entries up to {log.first - 1} of {name!r} were trimmed from its log, and no node that lives has a snapshot of them",
            hint="start the other nodes",
        )

    def _copy(self, name: str, store: LocalStore, peer: str, first: int) -> None:
        told = self._ask(peer, CopySnapshot(collection=name))
        if told is None or told["position"] + 1 < first:
            raise KeyError(name)

        def fetch(file: str, offset: int) -> bytes:
            piece: bytes | None = self._ask(peer, CopyPiece(collection=name, file=file, offset=offset))
            if piece is None:
                raise KeyError(file)
            return piece

        copying.copy_snapshot(store, copying.Snapshot(**told), fetch)

    def _ask(self, peer: str, question: Asked) -> Any:
        _, raw = self._bus.ask([node_subject(peer)], pack_operation(question), hedge_s=PEER_S, timeout_s=PEER_S)
        return unpack_reply(raw, question)

    # -- answering

    def _answer(self, raw: bytes) -> bytes:
        try:
            operation, beside = unpack_operation(raw)
            return self._reply(operation, beside)
        except ParadoxError as error:
            return pack_error(error)
        except Exception:
            traceback.print_exc(file=sys.stderr)  # the operator's; the caller learns only that it was our fault
            return pack_error(InternalError("a node failed on this request", hint="its log says more; please report it"))

    def _reply(self, operation: Asked, beside: dict[str, Any]) -> bytes:
        if isinstance(operation, CopySnapshot):
            return pack_reply(copying.snapshot_of(self.database.opened(operation.collection).held))
        if isinstance(operation, CopyPiece):
            return pack_reply(copying.read_piece(self.database.opened(operation.collection).held, operation.file, operation.offset))
        if isinstance(operation, ops.ScrollPoints):
            if "page" in beside:
                return pack_reply(self._scrolls.next(beside["page"]))
            scroll: ops.Scroll = self.database.send(operation)
            number = self._scrolls.add(self._env.random_bytes(8).hex(), scroll.answers)
            return pack_reply({"scroll": number, "total": scroll.total, "position": scroll.position})
        reply = self.database.send(operation)
        if isinstance(operation, ops.DescribeDatabase):
            reply = self._describe(reply)
        plan = reply.trace(beside["plan"]) if isinstance(reply, Answers) and "plan" in beside else None
        return pack_reply(reply, plan=plan)

    def _describe(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return what the database says of itself, with what a node knows beside."""
        told |= {"nodes": [key.removeprefix(f"{NODES}.") for key in self._register.keys(NODES)]}
        if self.failure and told["healthy"]:
            told |= {"healthy": False, "sentence": f"working, but cannot follow: {self.failure}"}
        return told

    def close(self) -> None:
        """Stop answering, finish the running piece of background work, and let go. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._wake(b"")
        self._bus.stop_serving()
        self.database.close()
        self._bus.close()
        for thread in self._threads:
            thread.join()


class Scrolls:
    """Scrolls that are being read. The one that was not read for longest is given up when there are too many."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, Iterator[Answer]] = OrderedDict()
        self._guard = Lock()

    def add(self, name: str, pages: Iterator[Answer]) -> str:
        """Keep a scroll under a name, and return the name."""
        with self._guard:
            self._pages[name] = pages
            if len(self._pages) > SCROLLS_MAX:
                self._pages.popitem(last=False)
        return name

    def next(self, name: str) -> Answer | None:
        """Return the next page of a scroll; None after the last, and it is forgotten. Raises QueryInvalid."""
        with self._guard:
            pages = self._pages.pop(name, None)
        if pages is None:
            raise QueryInvalid("this scroll is not there any more", hint="scroll again")
        page = next(pages, None)
        if page is not None:
            self.add(name, pages)
        return page
