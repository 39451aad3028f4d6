"""Clients of a world: each writes points of its own and reads them back, and knows at every moment what it must find."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from paradox.client.session import Session
from paradox.client.sync import Collection, Database
from paradox.errors import FeatureMissing, FilterField, InternalError, InvalidRequest, ParadoxError
from paradox.model.schema import Limits
from paradox.router.cluster import ClusterTransport
from paradox.sim.env import SimEnv
from paradox.sim.loop import Loop
from paradox.sim.network import Network, SimBus

COLLECTION, DIMENSIONS = "memory", 8
POINTS, TOGETHER = 64, 12
"""Points of one client, and how many it writes at once at most."""
PAUSE_S = 0.08
PATIENCE_S = 8.0
SEEN = 0.999
"""A score from which on a vector is found again: float32 rounds."""


Found = TypeVar("Found")


def vector_of(key: str, version: int) -> NDArray[np.float32]:
    """Return the (d,) vector of a version of a point: near those of other points of its topic, at one place for each version."""
    topic = np.random.default_rng(int(key.rpartition("-")[2]) % 5).normal(size=DIMENSIONS)
    own = np.random.default_rng([*key.encode(), version]).normal(size=DIMENSIONS)
    vector: NDArray[np.float32] = (topic + own).astype(np.float32)
    return vector


class Spread(NamedTuple):
    """How often a collection is where."""

    shards: int
    copies: int
    replicas: int


class Client:
    """One client. expected: what each of its points may be now, None = not there; more than one where it was not told."""

    def __init__(self, loop: Loop, network: Network, name: str, spread: Spread) -> None:
        self.name = name
        self.expected: dict[str, set[int | None]] = {f"{name}-{number}": {None} for number in range(POINTS)}
        self.deletes: Counter[str] = Counter()
        self.others: list[Client] = []
        self.violations: list[str] = []
        self.acknowledged = 0
        self.failed = 0
        self.read = 0
        self._spread = spread
        self._loop = loop
        self._network = network
        self._dice = random.Random(loop.dice.random())
        self._versions = 0

    def connect(self, name: str) -> Database:
        """Connect to the cluster, as a gateway would."""
        env = SimEnv(self._loop, name)
        bus = SimBus(self._network, name)
        transport = ClusterTransport(bus, env=env, timeout_s=PATIENCE_S, encode=no_encoder, limits=Limits())
        return Database(Session(transport))

    def live(self, until: float) -> None:
        """Write and read until a time, whatever happens."""
        database: Database | None = None
        while self._loop.now < until:
            try:
                database = database or self.connect(self.name)
                collection = database.collection(COLLECTION, dimensions=DIMENSIONS, **self._spread._asdict())
                break
            except ParadoxError as error:
                self._failed(error)
                self._loop.sleep(PAUSE_S)
        else:
            return
        reads = [self._get, self._search, self._count, self._scroll, self._peek, self._tally]
        seldom = [self._delete, self._update, *reads, self._blunder]
        deeds = [self._add] * 5 + seldom
        while self._loop.now < until:
            self._dice.choice(deeds)(collection)
            self._loop.sleep(self._dice.expovariate(1 / PAUSE_S))
        database.close()

    # -- writes

    def _some(self, there: bool | None = None) -> list[str]:
        """Return some points of which it is known whether they are there. there: only those that are; None = all."""
        sure = [key for key, known in self.expected.items() if len(known) == 1 and (not there or None not in known)]
        return self._dice.sample(sure, min(len(sure), self._dice.randint(1, TOGETHER)))

    def _write(self, keys: Sequence[str], value: int | None, write: Callable[[], object]) -> None:
        """Write, and note what these points are afterwards, or may be. Those it is not sure of are left alone from then on."""
        if not keys:
            return
        if value is None:
            self.deletes.update(keys)
        for key in keys:
            self.expected[key] = self.expected[key] | {value}
        try:
            write()
        except ParadoxError as error:
            self._failed(error)
            return
        self.acknowledged += len(keys)
        for key in keys:
            self.expected[key] = {value}

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    def _add(self, collection: Collection) -> None:
        keys, version = self._some(), self._next_version()
        vectors = np.array([vector_of(key, version) for key in keys]).reshape(len(keys), DIMENSIONS)
        self._write(keys, version, lambda: collection.add(ids=keys, vectors=vectors, payload=_payload(self.name, version)))

    def _delete(self, collection: Collection) -> None:
        keys = self._some(there=True)
        self._write(keys, None, lambda: collection.delete(keys))

    def _update(self, collection: Collection) -> None:
        """Change payloads in place, to what they are: the vectors' versions stay."""
        keys = self._some(there=True)[:1]
        for key in keys:
            [version] = self.expected[key]
            self._write(keys, version, lambda: collection.update(keys, {"again": self._next_version()}))

    def _blunder(self, collection: Collection) -> None:
        """Write what must be refused, and change nothing by it."""
        keys = self._some()[:2]
        bad = np.ones((len(keys), DIMENSIONS + 1)) if self._dice.random() < 0.5 else np.full((len(keys), DIMENSIONS), np.nan)
        try:
            collection.add(ids=keys, vectors=bad, payload=_payload(self.name, 0))
            if keys:
                self._violated("bad input was taken")
        except InvalidRequest:
            pass
        except ParadoxError as error:
            self._failed(error)

    # -- reads

    def _get(self, collection: Collection) -> None:
        keys = self._some()
        found = self._read(lambda: {str(hit.id): hit.payload["version"] for hit in collection.get(keys)})
        if found is not None:
            self._expect(found, keys, "get")

    def _peek(self, collection: Collection) -> None:
        """Read what another client wrote, as it is for everybody: whatever it was told before must be seen, and once."""
        other = self._dice.choice(self.others)
        before, deletes, keys = dict(other.expected), other.deletes.copy(), sorted(other.expected)
        if self._dice.random() < 0.5:
            keys = self._dice.sample(keys, TOGETHER)
            hits = self._read(lambda: list(collection.get(keys, consistency="strong")))
        else:
            hits = self._read(lambda: list(collection.scroll(f"client = '{other.name}'", consistency="strong")))
        if hits is None:
            return
        found = {str(hit.id): hit.payload["version"] for hit in hits}
        if len(found) < len(hits):
            self._violated(f"a strong read found a point of {other.name} twice: {_told(hits)}")
        for key in keys:
            if other.expected[key] is before[key] and found.get(key) not in before[key]:
                self._violated(f"a strong read found {key} in version {found.get(key)}, expected {sorted(map(str, before[key]))}")
            elif key not in found and None not in before[key] and other.deletes[key] == deletes[key]:
                self._violated(f"a strong read did not find {key}, which was replaced meanwhile and never deleted")

    def _tally(self, collection: Collection) -> None:
        """Count what another client wrote, as it is for everybody."""
        other = self._dice.choice(self.others)
        before, deletes = dict(other.expected), other.deletes.copy()
        found = self._read(lambda: collection.count(f"client = '{other.name}'", consistency="strong"))
        least = sum(None not in known and other.deletes[key] == deletes[key] for key, known in before.items())
        most = sum(known != {None} or other.expected[key] is not known for key, known in before.items())
        if found is not None and not least <= found <= most:
            self._violated(f"a strong count found {found} points of {other.name}, of {least} to {most}")

    def _search(self, collection: Collection) -> None:
        for key in self._some(there=True)[:2]:
            [version] = self.expected[key]
            assert version is not None
            vector = vector_of(key, version)
            hits = self._read(lambda vector=vector: collection.search(vector, k=1, exact=True))  # type: ignore[misc]
            if hits is None or hits.coverage.share < 1:
                continue
            if not hits or hits[0].score < SEEN:
                self._violated(f"a search that left nothing out did not find {key} version {version}: {_told(hits)}")
            elif hits[0].id in self.expected and self.expected[str(hits[0].id)] != {hits[0].payload["version"]}:
                self._violated(f"a search found {hits[0].id} version {hits[0].payload['version']}, not {self.expected[str(hits[0].id)]}")

    def _count(self, collection: Collection) -> None:
        found = self._read(lambda: collection.count(f"client = '{self.name}'"))
        least = sum(None not in known for known in self.expected.values())
        most = sum(known != {None} for known in self.expected.values())
        if found is not None and not least <= found <= most:
            self._violated(f"a count found {found} points of {least} to {most}")

    def _scroll(self, collection: Collection) -> None:
        found = self._read(lambda: {str(hit.id): hit.payload["version"] for hit in collection.scroll(f"client = '{self.name}'")})
        if found is not None:
            self._expect(found, list(self.expected), "scroll")

    def _read(self, read: Callable[[], Found]) -> Found | None:
        try:
            found = read()
        except FilterField:
            return None  # no point ever had the field
        except ParadoxError as error:
            self._failed(error)
            return None
        self.read += 1
        return found

    def _expect(self, found: dict[str, int], keys: Sequence[str], how: str) -> None:
        for key in keys:
            if found.get(key) not in self.expected[key]:
                self._violated(f"{how} found {key} in version {found.get(key)}, expected {sorted(map(str, self.expected[key]))}")

    # -- what went wrong

    def _failed(self, error: ParadoxError) -> None:
        self.failed += 1
        if isinstance(error, InternalError):
            self._violated(f"an error of its own: {error}")

    def _violated(self, what: str) -> None:
        self.violations.append(f"{self._loop.now:.3f} s: {self.name}: {what}")


def no_encoder(*_: object) -> NDArray[np.float32]:
    """Texts are not searched for here."""
    raise FeatureMissing("texts are not searched for here", hint="give vectors")


def _payload(client: str, version: int) -> dict[str, object]:
    return {"client": client, "version": version}


def _told(hits: Sequence[object]) -> str:
    return repr(list(hits))[:200]
