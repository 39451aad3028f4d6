"""Nodes of a cluster in this process, over real log servers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np

from log_servers import LogServers
from paradox.client.session import Session
from paradox.client.sync import Database
from paradox.model.points import Key
from paradox.model.schema import Limits
from paradox.node.database import HeldDatabase
from paradox.node.env import RealEnv
from paradox.node.member import Member
from paradox.node.roles import connect_cluster
from paradox.objects.disk import RealDisk
from paradox.wire.nats import NatsBus

WAIT_S, LOOK_S = 60, 0.01


class Members:
    """Nodes n0, n1, …, each with a folder of its own."""

    def __init__(self, servers: LogServers, folder: Path, *, limits: Limits, zones: Mapping[int, str]) -> None:
        self.zones = zones
        self.servers = servers
        self.folder = folder
        self.limits = limits
        self.running: dict[int, Member] = {}
        self.envs: dict[int, RealEnv] = {}
        self.databases: list[Database] = []

    def start(self, *numbers: int) -> None:
        for number in numbers:
            bus = NatsBus(self.servers.urls)
            replicas = min(3, len(self.servers.urls))
            self.running[number] = Member(
                f"n{number}",
                self.folder / "store",
                bus,
                limits=self.limits,
                log_replicas=replicas,
                log_monitors=self.servers.urls_of_monitors,
                zone=self.zones.get(number, ""),
                env=self.envs.get(number) or RealEnv(),
                disk=RealDisk(),
            )

    def stop(self, *numbers: int) -> None:
        for number in numbers:
            self.running.pop(number).close()

    def connect(self) -> Database:
        """Return a database that asks these nodes, as a gateway would."""
        self.databases.append(Database(Session(connect_cluster(tuple(self.servers.urls), timeout_s=10))))
        return self.databases[-1]

    def transport(self, number: int) -> HeldDatabase:
        """Return what one node holds, to write to it and to look into it."""
        return self.running[number].database

    def wait_until_equal(self, name: str) -> int:
        """Wait until all nodes stand at one position of a collection, and return it."""
        until = time.monotonic() + WAIT_S
        while True:
            positions = [self.position(number, name) for number in self.running]
            if len(set(positions)) == 1 and positions[0] >= 0:
                return positions[0]
            assert time.monotonic() < until, positions
            time.sleep(LOOK_S)  # followers tell nobody how far they are

    def position(self, number: int, name: str) -> int:
        held = [one.held for one in self.running[number].database.all_opened() if one.held.name == name]
        return held[0].engine.applied if held else -1

    def copies(self, name: str) -> dict[Key, list[tuple[int, int, bool, bytes]]]:
        """Return where each point is: node, shard, whether it answers for it there, payload. Every shard must be on one node."""
        there: dict[Key, list[tuple[int, int, bool, bytes]]] = {}
        shards: list[int] = []
        for number, member in self.running.items():
            for one in member.database.all_opened():
                if one.held.name != name:
                    continue
                shards += one.held.engine.held
                for shard in one.held.engine.shards:
                    for segment in shard.segments:
                        rows = np.flatnonzero(segment.alive())
                        places = zip(segment.keys_at(rows), segment.owned()[rows].tolist(), segment.payloads_at(rows), strict=True)
                        for key, owned, payload in places:
                            there.setdefault(key, []).append((number, shard.number, owned, payload))
        assert sorted(shards) == list(range(len(shards))), shards
        return there

    def close(self) -> None:
        for database in self.databases:
            database.close()
        self.stop(*list(self.running))


@contextmanager
def members(
    servers: LogServers, folder: Path, count: int = 3, *, limits: Limits | None = None, zones: Mapping[int, str] = MappingProxyType({})
) -> Iterator[Members]:
    made = Members(servers, folder, limits=limits or Limits(), zones=zones)
    try:
        made.start(*range(count))
        yield made
    finally:
        made.close()
