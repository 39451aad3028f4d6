"""A world: a cluster with clients and a fate, all from one seed."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from paradox.errors import ParadoxError
from paradox.model.schema import Limits
from paradox.node.member import Member
from paradox.sim.checks import check
from paradox.sim.clients import COLLECTION, Client, Spread
from paradox.sim.disk import SimDisk
from paradox.sim.env import SimEnv
from paradox.sim.loop import Loop, Stuck
from paradox.sim.network import Network, SimBus
from paradox.sim.servers import LogServers

NODES, CLIENTS, SHARDS, COPIES = 3, 3, 4, 2
LIVES_S = (6.0, 6.0, 6.0, 18.0)
"""How long clients may live. Many short lives see more than few long ones, but some mistakes take their time."""
EVENT_EVERY_S = 3.0
"""How often something happens to the cluster meanwhile."""
AWAY_S, HEAL_S, END_S = 6.0, 90.0, 400.0
SKEW_S = 3600.0
LOOK_S = 0.25
LIMITS = Limits(growing_points_max=48, region_points_max=40, region_points_min=3)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a world went. violations: promises that were broken, each with when and whose."""

    seed: int
    violations: tuple[str, ...]
    events: tuple[str, ...]
    acknowledged: int
    read: int
    failed: int
    entries: int
    virtual_s: float
    steps: int


class Node:
    """A node's machine. member: None while it starts or is down."""

    def __init__(self, name: str, env: SimEnv, disk: SimDisk) -> None:
        self.name = name
        self.env = env
        self.disk = disk
        self.bus: SimBus | None = None
        self.member: Member | None = None


class World:
    """A cluster in virtual time. twist: changes the world before it begins, for tests of the checkers."""

    def __init__(self, seed: int, folder: Path, *, twist: Callable[[World], None] = lambda _: None) -> None:
        self.seed = seed
        self.loop = Loop(seed)
        self.dice = random.Random(self.loop.dice.random())
        self.servers = LogServers(self.loop)
        self.network = Network(self.loop, self.servers)
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        self.spread = Spread(SHARDS, COPIES, replicas=2 if seed % 8 == 5 else 1)
        self.clients = [Client(self.loop, self.network, f"c{number}", self.spread) for number in range(CLIENTS)]
        for client in self.clients:
            client.others = [other for other in self.clients if other is not client]
        self.events: list[str] = []
        self.bugs: list[str] = []
        self.disk_syncs = True
        self.lives_s = LIVES_S
        twist(self)

    def run(self) -> Report:
        """Live through it, and return how it went."""
        violations: list[str] = []
        try:
            self.loop.run(lambda: violations.extend(self._live()), until=END_S)
        except Stuck as error:
            violations.append(f"{self.loop.now:.3f} s: {error}")
        finally:
            self.loop.close()
        violations = [*(one for client in self.clients for one in client.violations), *violations]
        bugs = dict.fromkeys([*self.bugs, *(bug for node in self.nodes.values() for bug in node.env.bugs)])
        return Report(
            seed=self.seed,
            violations=(*violations, *(f"a bug of our own: {bug}" for bug in bugs)),
            events=tuple(self.events),
            acknowledged=sum(client.acknowledged for client in self.clients),
            read=sum(client.read for client in self.clients),
            failed=sum(client.failed for client in self.clients),
            entries=sum(stream.last for stream in self.servers.streams.values()),
            virtual_s=self.loop.now,
            steps=self.loop.steps,
        )

    def _live(self) -> list[str]:
        for number in range(NODES):
            self.start(f"n{number}", skew_s=self.dice.choice((0.0, 0.0, SKEW_S, -SKEW_S)))
        life_s = self.dice.choice(self.lives_s)
        end = self.loop.now + life_s
        lives = [self.loop.start(lambda client=client: client.live(end), "life", client.name) for client in self.clients]  # type: ignore[misc]
        for at in sorted(self.dice.uniform(2.0, life_s) for _ in range(int(life_s / EVENT_EVERY_S))):
            self.loop.sleep(max(0.0, at - self.loop.now))
            self._befall()
        self.loop.sleep(max(0.0, end - self.loop.now))
        self.loop.sleep(AWAY_S)  # whatever was to pass has passed
        for life in lives:
            life.join()
        until = self.loop.now + HEAL_S
        while (unsettled := self._unsettled()) and self.loop.now < until:
            self.loop.sleep(LOOK_S)
        if unsettled:
            return [f"{self.loop.now:.3f} s: the cluster does not settle: {unsettled}"]
        return check(self)

    # -- nodes

    def start(self, name: str, *, skew_s: float = 0.0) -> None:
        """Start a node that is not there, or was killed."""
        node = Node(name, SimEnv(self.loop, name, skew_s=skew_s), SimDisk(self.loop, syncs=self.disk_syncs))
        before = self.nodes.get(name)
        self.bugs += before.env.bugs if before is not None else []
        self.nodes[name] = node
        self.loop.start(lambda: self._boot(node), "boot", name)

    def _boot(self, node: Node) -> None:
        while node.member is None:
            node.bus = SimBus(self.network, node.name)
            try:
                node.member = Member(
                    node.name, self.folder / "store", node.bus, limits=LIMITS, log_replicas=3, env=node.env, disk=node.disk
                )
            except ParadoxError:  # no log server: whoever runs it starts it again
                node.bus.close()
                self.loop.sleep(1.0)

    def kill(self, name: str, *, power: bool) -> None:
        """Kill a node, and cut the power of its machine."""
        node = self.nodes[name]
        self.loop.kill(name)
        if node.bus is not None:
            self.network.forget(node.bus)
        if power:
            node.disk.cut_power(self.dice)
        node.member = None
        self.network.cut.discard(name)

    # -- what befalls them

    def _befall(self) -> None:
        name, away_s = self.dice.choice(sorted(self.nodes)), self.dice.uniform(0.1, AWAY_S)
        fates: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
            (f"{name} is killed", lambda: self.kill(name, power=False), lambda: self.start(name)),
            (f"{name} loses its power", lambda: self.kill(name, power=True), lambda: self.start(name)),
            (f"{name} is stopped", lambda: self._stop(name), lambda: self.start(name)),
            (f"{name} stands still", lambda: self.loop.pause(name), lambda: self.loop.resume(name)),
            (f"{name} is cut off", lambda: self.network.cut.add(name), lambda: self.network.cut.discard(name)),
            (f"{name}'s disk is slow", lambda: self._slow(name, slow=True), lambda: self._slow(name, slow=False)),
            ("the weather is rough", lambda: self._rough(rough=True), lambda: self._rough(rough=False)),
            ("the log's leader is killed", lambda: self._stop_servers(1), self._start_servers),
            ("two log servers are killed", lambda: self._stop_servers(2), self._start_servers),
            ("all log servers are killed", lambda: self._stop_servers(3), self._start_servers),
            ("a node is added", lambda: self.start(f"n{len(self.nodes)}"), lambda: None),
        ]
        what, begin, finish = self.dice.choice(fates)
        if self.nodes[name].member is None or name in self.network.cut:
            return
        self.events.append(f"{self.loop.now:.3f} s: {what} for {away_s:.1f} s")
        begin()
        self.loop.start(lambda: self._later(away_s, finish), "fate", "world")

    def _later(self, seconds: float, finish: Callable[[], None]) -> None:
        self.loop.sleep(seconds)
        finish()

    def _stop(self, name: str) -> None:
        member = self.nodes[name].member
        assert member is not None
        self.nodes[name].member = None
        self.loop.start(member.close, "close", name)

    def _slow(self, name: str, *, slow: bool) -> None:
        self.nodes[name].disk.slow = slow

    def _rough(self, *, rough: bool) -> None:
        self.network.rough = rough

    def _stop_servers(self, count: int) -> None:
        self.servers.stop(*range(count), election_s=self.dice.uniform(0.5, 4.0))

    def _start_servers(self) -> None:
        self.servers.start(election_s=self.dice.uniform(0.1, 2.0))

    # -- the end

    def _unsettled(self) -> str:
        """Return what is still going on; "" when nothing is."""
        placed: list[int] = []
        last = None
        for name, node in sorted(self.nodes.items()):
            if node.member is None:
                return f"{name} does not start"
            held = [one.held for one in node.member.database.all_opened() if one.held.name == COLLECTION]
            if not held:
                return f"{name} has not opened the collection"
            worker = node.member.database.worker
            assert worker is not None
            if not worker.settled():
                return f"{name} has work to do, {worker.failure}"
            last = held[0].engine.applied if last is None else last
            if held[0].engine.applied != last:
                return f"{name} stands at {held[0].engine.applied}, another node at {last}"
            if held[0].log.last > last:
                return f"{name} knows of entry {held[0].log.last} and stands at {last}"
            placed += held[0].engine.held
        if sorted(placed) != sorted([*range(SHARDS)] * self.spread.replicas):
            return f"shards {sorted(placed)} are held"
        return ""


def live_through(seed: int, *, place: int = 0, twist: Callable[[World], None] = lambda _: None) -> Report:
    """Run the world of a seed, and return how it went. place: worlds side by side take one each, and so a core each."""
    with tempfile.TemporaryDirectory(prefix="paradox-sim-") as folder, _on_one_core(place):
        return World(seed, Path(folder), twist=twist).run()


@contextmanager
def _on_one_core(place: int) -> Iterator[None]:
    """Keep the threads that the block starts on one core, where that can be asked for: they hand over to each other in half the time."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[place % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
