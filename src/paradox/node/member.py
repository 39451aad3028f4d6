"""A member: one node of a cluster. It follows the logs of all collections, and answers what it is asked over the bus."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any

import msgspec
import numpy as np

from paradox.errors import CollectionMissing, InternalError, LogConflict, LogUnavailable, ParadoxError, QueryInvalid
from paradox.log.jetstream import APPENDED, JetStreamLog
from paradox.log.register import Register
from paradox.log.streams import STREAM, Streams
from paradox.model import operations as ops
from paradox.model.queries import Answer
from paradox.model.schema import Limits
from paradox.model.topology import ALIVE, SILENT_S, WHO, node_subject
from paradox.node import parts
from paradox.node.cluster_catalogue import CHANGED, ClusterCatalogue, check_store
from paradox.node.database import HeldDatabase, OpenedCollection
from paradox.node.others import Others
from paradox.node.sweep import Sweep
from paradox.node.watchdog import LogWatch
from paradox.node.worker import Worker
from paradox.objects.local import LocalStore
from paradox.ports.bus import Bus
from paradox.ports.disk import Disk
from paradox.ports.env import Env
from paradox.router.asking import Asker
from paradox.router.layout import Layout, Told
from paradox.router.nodes import LONG_AGO_S, Beat, Nodes
from paradox.router.placement import domains
from paradox.shard.chain import difference_of
from paradox.wire.operations import (
    Asked,
    AskShards,
    Barrier,
    CountShards,
    CountWords,
    FetchKeys,
    FindKeys,
    LookAt,
    NextPage,
    ScrollShards,
    WeighRegions,
    Write,
    pack_error,
    pack_reply,
    unpack_operation,
)

THREADS = 16
BEAT_S = 0.5
TEND_S = 0.5
"""How often a node compares what it holds with what is placed on it, and tries again what failed. It asks nobody for that."""
POLL_S = 10.0
"""How often the catalogue and the logs are read though nobody told of a change."""
DOWN_AFTER_S = 5.0
"""After which the shards of a node that says nothing are placed elsewhere."""
NODES = "nodes"
OPEN_S = 60.0
"""How long log servers that have just come may take until one leads: an election takes up to 9 s, and may have to be repeated."""
SWEEP_S = 60.0
"""How often the store is looked through for what nobody needs."""
DIFFER_HINT = "their answers cannot both be right: run verify, export what you need, and restore from a snapshot before that position"
SCROLLS_MAX = 256


class Member:
    """A running node."""

    def __init__(
        self,
        name: str,
        store: Path,
        bus: Bus,
        *,
        limits: Limits,
        log_replicas: int,
        log_monitors: Sequence[str] = (),
        zone: str = "",
        env: Env,
        disk: Disk,
    ) -> None:
        """store: the folder where all nodes keep segments. log_monitors: where log servers tell how they are. zone: fails alone.

        Raises LogUnavailable, StoreUnreadable.
        """
        self.name = name
        self._zone = zone
        self._bus = bus
        self._env = env
        streams = Streams(bus, env=self._env)
        register = Register(streams, replicas=log_replicas, timeout_s=OPEN_S)
        check_store(register, LocalStore(store, disk), env=self._env)
        self._nodes = Nodes(bus, env=self._env)
        self._asker = Asker(bus, env=self._env, timeout_s=DOWN_AFTER_S, nodes=self._nodes)
        self._started_s = self._env.elapsed_s()
        self._catalogue = ClusterCatalogue(streams, register, store, node=name, alive=self._living, env=self._env, replicas=log_replicas)
        self.database = HeldDatabase(self._catalogue, path=name, disk=disk, env=self._env, limits=limits, worker=Worker(self._env))
        self.database.held_anew = self._held_anew
        self._register = register
        self._scrolls = Scrolls()
        self._sweeps: dict[str, tuple[float, Sweep | None]] = {}
        self._news = env.condition()
        self._grown: set[str] = set()
        self._told_holds: dict[str, list[int]] = {}
        self._looked_s = self._read_s = LONG_AGO_S
        self._closed = False
        self.holding = Event()  # set once it has all that was placed on it when it started
        self.failure = ""
        bus.hear(APPENDED, self._appended)
        bus.hear(CHANGED, self._catalogue_changed)
        bus.hear(WHO, self._beat)
        with suppress(LogConflict):  # it is registered already
            register.put(f"{NODES}.{name}", b"", revision=0)
        bus.serve(node_subject(name), self._answer, threads=THREADS)
        self._watch = LogWatch(streams, log_monitors, env=self._env, logs=self._logs)
        self._threads = [env.start(work, "paradox-member") for work in (self._follow, self._live, self._guard)]

    # -- following

    def _appended(self, log: bytes) -> None:
        with self._news:
            self._grown.add(log.decode())
            self._news.notify_all()

    def _catalogue_changed(self, _: bytes) -> None:
        with self._news:
            self._looked_s = LONG_AGO_S
            self._news.notify_all()

    def _follow(self) -> None:
        while not self._closed:
            looked, tended = self._failure_of(self._look), self._failure_of(self._tend)
            if not looked and not tended:
                self.holding.set()
            read = self._failure_of(self._read)
            self.failure = looked or tended or read
            if self.failure:
                self._looked_s = self._read_s = LONG_AGO_S
            with self._news:
                told = self._grown or self._looked_s == LONG_AGO_S
                if (self.failure or not told) and not self._closed:
                    self._news.wait(TEND_S)

    def _failure_of(self, work: Callable[[], None]) -> str:
        """Do some work, and return what kept it from being done; "" = nothing."""
        try:
            work()
        except ParadoxError as error:
            return error.message
        except Exception:
            self._env.report_bug()  # a node that no longer follows would be worse
            return "it failed while it followed the log; its own log says more"
        return ""

    def _look(self) -> None:
        """See which collections there are, now and then: what is said of changes may be lost."""
        now = self._env.elapsed_s()
        if now - self._looked_s > POLL_S:
            self._looked_s = now  # first: what changes meanwhile is looked at again
            self._catalogue.look()
            self._read_s = LONG_AGO_S  # what was dropped is let go

    def _read(self) -> None:
        """Read what others have said that they wrote; all logs now and then."""
        now = self._env.elapsed_s()
        with self._news:
            grown, self._grown = self._grown, set()
        if now - self._read_s > POLL_S:
            self._read_s, grown = now, {str(opened.mark) for opened in self.database.all_opened()}
        if not grown:
            return
        try:
            self.database.follow(grown)
        except ParadoxError:
            self._catalogue.look()  # a collection that was dropped has no log any more
            self.database.follow(grown)

    def _tend(self) -> None:
        """Hold what is placed here, of all collections there are. Raises ParadoxError of the last that cannot be held."""
        failure: ParadoxError | None = None
        for name in self._catalogue.listed():
            try:
                self._hold(self.database.opened(name))
            except CollectionMissing:
                continue  # dropped since
            except ParadoxError as error:
                failure = error
        if self._holds() != self._told_holds:
            self._beat(b"")
        if failure is not None:
            raise failure

    def _holds(self) -> dict[str, list[int]]:
        return {str(opened.mark): sorted(opened.held.engine.held) for opened in self.database.all_opened()}

    def _hold(self, opened: OpenedCollection) -> None:
        """Hold the shards of a collection that are placed here; give those up that another node has, in a snapshot of its own."""
        collection, held = str(opened.mark), opened.held
        held.moments.forget()
        if self._is_first() and not self._catalogue.place_anew(collection, self._living(DOWN_AFTER_S), replicas=held.spec.replicas):
            self._looked_s = LONG_AGO_S  # another node placed them
        with suppress(KeyError):
            places, _ = self._catalogue.placed(collection)
            zones = self._nodes.zones() | ({self.name: self._zone} if self._zone else {})
            held.domains = np.array(domains(places, zones, copies=held.spec.copies), dtype=np.int32)
            for shard, nodes in enumerate(places):
                if self.name in nodes and shard not in held.engine.held:
                    held.adopt(shard)
                elif self.name not in nodes and shard in held.engine.held and any(self._covers(one, collection, shard) for one in nodes):
                    held.give_up(shard)
            self._sweep(opened, {node for nodes in places for node in nodes})

    # -- living among others

    def _live(self) -> None:
        with suppress(LogUnavailable):  # closed
            while not self._closed:
                self._beat(b"")
                self._bus.wait(BEAT_S)

    def _guard(self) -> None:
        self._watch.run(self._is_first)

    def _logs(self) -> dict[str, tuple[str, JetStreamLog]]:
        """Return the collection and the log of each stream that is followed here."""
        followed = [(f"{STREAM}{opened.mark}", opened.held) for opened in self.database.all_opened()]
        return {stream: (held.name, held.log) for stream, held in followed if isinstance(held.log, JetStreamLog)}

    def _beat(self, _: bytes) -> None:
        opened = [(str(one.mark), one.held, sorted(one.held.engine.held)) for one in self.database.all_opened()]
        self._told_holds = {collection: shards for collection, _, shards in opened}
        told = Beat(
            name=self.name,
            zone=self._zone,
            failure=self.failure,
            holds=self._told_holds,
            covers={collection: sorted(held.covered.intersection(shards)) for collection, held, shards in opened},
            stored={collection: [held.engine.stored()[shard] for shard in shards] for collection, held, shards in opened},
            settled={collection: held.settled for collection, held, _ in opened},
            stands={collection: held.engine.applied for collection, held, _ in opened},
            marks={collection: held.chain.marks() for collection, held, _ in opened},
            hears=self._nodes.alive(),
        )
        self._bus.tell(ALIVE, msgspec.msgpack.encode(told))

    def _is_first(self) -> bool:
        """Tell whether this node is the one that places shards. Two that both think so do no harm: the register takes one."""
        settled = self._env.elapsed_s() - self._started_s > DOWN_AFTER_S  # by then it has heard of all who live
        return settled and min(self._living()) == self.name

    def _living(self, within_s: float = SILENT_S) -> dict[str, str]:
        """Return the nodes that were heard of lately, this one included, and the zone of each; "" = it is in none."""
        zones = self._nodes.zones()
        return {name: zones.get(name, "") for name in self._nodes.alive(within_s)} | {self.name: self._zone}

    def _sweep(self, opened: OpenedCollection, placed: set[str]) -> None:
        """Delete what nobody needs from a collection's store, now and then; one node of all does."""
        collection, now = str(opened.mark), self._env.elapsed_s()
        if not self._is_first():
            self._sweeps.pop(collection, None)
            return
        due_s, sweep = self._sweeps.get(collection, (now, None))
        if now < due_s:
            return
        held = opened.held
        assert held.folder is not None
        sweep = sweep or Sweep(held.store, held.folder, elapsed_s=self._env.elapsed_s, shards=held.spec.shards)
        self._sweeps[collection] = (now + SWEEP_S, sweep)
        sweep.once(live=self._living(DOWN_AFTER_S), placed=placed)

    def _covers(self, node: str, collection: str, shard: int) -> bool:
        """Tell whether a node that lives has a snapshot of a shard of its own."""
        beat = self._nodes.beat(node)
        return beat is not None and shard in beat.covers.get(collection, ())

    # -- the log

    def _held_anew(self, opened: OpenedCollection) -> None:
        held = opened.held
        held.trim = lambda through: held.log.trim(min(through, held.snapshots.floor(range(held.spec.shards))))
        held.others = Others(
            held,
            str(opened.mark),
            self._asker,
            layout=lambda: Layout(msgspec.convert(parts.look(opened), Told)),
            decides=self._is_first,
        )

    # -- answering

    def _answer(self, raw: bytes) -> bytes:
        try:
            return self._reply(unpack_operation(raw))
        except ParadoxError as error:
            return pack_error(error)
        except Exception:
            self._env.report_bug()  # to the operator; the caller learns only that it was our fault
            return pack_error(InternalError("a node failed on this request", hint="its log says more; please report it"))

    def _reply(self, operation: Asked) -> bytes:
        if operation.__class__.__module__ != ops.__name__:  # the database counts its own
            self.database.tally.note(operation)
        match operation:
            case NextPage(scroll=name, leave=True):
                self._scrolls.leave(name)
                return pack_reply(None)
            case NextPage(scroll=name):
                return pack_reply(self._scrolls.next(name))
            case LookAt(collection=name):
                return pack_reply(parts.look(self.database.opened(name)))
            case WeighRegions(collection=name):
                return pack_reply(parts.weigh_regions(self.database.opened(name).held))
            case AskShards(collection=name):
                return pack_reply(parts.ask_shards(self.database.opened(name).held, operation))
            case CountWords(collection=name):
                return pack_reply(parts.count_words(self.database.opened(name).held, operation))
            case FetchKeys(collection=name):
                return pack_reply(parts.fetch_keys(self.database.opened(name), operation))
            case CountShards(collection=name):
                return pack_reply(parts.count_shards(self.database.opened(name).held, operation))
            case FindKeys(collection=name):
                return pack_reply(parts.find_keys(self.database.opened(name).held, operation))
            case ScrollShards(collection=name):
                pages, told = parts.scroll_shards(self.database.opened(name).held, operation)
                return pack_reply({"found": self._scrolls.add(self._env.random_bytes(8).hex(), pages)} | told)
            case Barrier(collection=name, kept=kept):
                return pack_reply(self.database.opened(name).held.commit_barrier(kept=kept))
            case Write(collection=name):
                return pack_reply(parts.write(self.database.opened(name).held, operation))
            case ops.MoveShard(collection=name, shard=shard, node=node):
                return pack_reply(self._catalogue.move(name, shard, node, self._living(DOWN_AFTER_S)))
            case ops.DescribeDatabase():
                return pack_reply(self._describe(self.database.send(operation)))
            case _:
                return pack_reply(self.database.send(operation))

    def _describe(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return what the database says of itself, with what a node knows beside."""
        told |= {"nodes": [key.removeprefix(f"{NODES}.") for key in self._register.keys(NODES)]}
        told |= {"zone": self._zone}
        told |= {"alarms": [*self._watch.alarms(), *self._differences()]}
        if self.failure and told["healthy"]:
            told |= {"healthy": False, "sentence": f"working, but cannot follow: {self.failure}"}
        return told

    def _differences(self) -> list[dict[str, Any]]:
        """Return which nodes applied something else than others, as far as they said what."""
        alarms = []
        for opened in self.database.all_opened():
            found = difference_of(self._nodes.marks(str(opened.mark)) | {self.name: opened.held.chain.marks()})
            if found is not None:
                what = f"nodes {' and '.join(found.holders)} applied different entries of {opened.held.name!r}"
                what += f" up to position {found.position:,}"
                if len(found.others) < len(found.holders):
                    what += f": not as most did {' and '.join(found.others)}"
                alarms.append({"what": what, "hint": DIFFER_HINT})
        return alarms

    def close(self) -> None:
        """Stop answering, finish the running piece of background work, and let go. Safe to call twice."""
        if self._closed:
            return
        with self._news:
            self._closed = True
            self._news.notify_all()
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

    def leave(self, name: str) -> None:
        """Forget a scroll."""
        with self._guard:
            self._pages.pop(name, None)

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
