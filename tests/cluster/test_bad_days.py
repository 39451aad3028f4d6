"""Bad days of a cluster, with real log servers: a clear state, nothing acknowledged lost, equal contents afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paradox
from cluster.hosts import CAN, hosts
from cluster.members import LOOK_S, WAIT_S, Members, members
from cluster.test_members import SMALL, wait_until_held, wait_until_settled
from cluster.test_up import up
from durability.lives import NAME, Shape, World, after, found, next_deed, perform
from log_servers import LogServers, log_servers
from paradox.client.sync import Collection, Database
from paradox.errors import LogUnavailable, Unavailable
from paradox.log.streams import STREAM, Streams
from paradox.model import operations as ops
from paradox.node import log_server
from paradox.node.env import RealEnv
from paradox.node.log_server import check_all_durable, program
from paradox.node.roles import connect_bus
from paradox.node.up import free_ports
from paradox.node.watchdog import LogWatch

HOUR_US = 3_600_000_000
TWO = {"dimensions": 2, "shards": 6, "copies": 2}


class Skewed(RealEnv):
    """A clock that is wrong."""

    def __init__(self, by_us: int) -> None:
        super().__init__()
        self.by_us = by_us

    def now_us(self) -> int:
        return super().now_us() + self.by_us


class Writing:
    """A writer that goes on whatever happens: it adds points, and deletes every third one that it was told is there."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.there: set[Any] = set()
        self.gone: set[Any] = set()
        self.unknown: set[Any] = set()  # nobody said whether it came to be
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self.collection.add(ids=[number], vectors=[[1.0, number]], payload=[{"n": number}])
                self.there.add(number)
                if number % 3 == 0:
                    self.there.discard(number)
                    self.unknown.add(number)
                    self.collection.delete([number])
                    self.unknown.discard(number)
                    self.gone.add(number)
            except Unavailable:
                self.unknown.add(number)
            except BaseException as error:
                self.failures.append(error)
                return

    def wait_for_more(self, count: int = 5) -> None:
        """Wait until so many more points were acknowledged."""
        until, enough = time.monotonic() + 2 * WAIT_S, len(self.there) + count
        while len(self.there) < enough:
            assert not self.failures, self.failures
            assert time.monotonic() < until, "writes do not go on"
            time.sleep(LOOK_S)

    def expect_all(self) -> None:
        """Everything that was acknowledged is there, and nothing that was acknowledged as deleted."""
        assert not self.failures
        ids = {hit.id for hit in self.collection.scroll()}
        assert ids >= self.there
        assert not ids & self.gone
        assert {number for number in ids if number > 0} <= self.there | self.unknown


def expect_equal(database: Database, name: str) -> None:
    """Wait until nodes are level, and see that all applied the same and that all copies are alike."""
    until = time.monotonic() + 2 * WAIT_S
    while not (report := database.verify())["contents"][name].startswith("equal at position"):
        assert report["healthy"], report
        assert time.monotonic() < until, report
    assert report["healthy"], report
    while not (status := database.status())["healthy"]:
        assert time.monotonic() < until, (status["sentence"], status["nodes"], status["alarms"])
    assert status["alarms"] == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_node_whose_clock_is_wrong_orders_nothing_wrongly(servers: LogServers, tmp_path: Path, hours: int) -> None:
    """The log says which version is the last; the clock of whoever wrote it does not."""
    shape, dice = Shape(shards=6, copies=2), random.Random(hours)
    with members(servers, tmp_path, 0, limits=SMALL) as nodes:
        nodes.envs[1] = Skewed(hours * HOUR_US)
        nodes.start(0, 1, 2)
        database = nodes.connect()
        collection = shape.collection(database)
        nodes.wait_until_equal(NAME)
        for number, step in [(number, step) for step in range(4) for number in (0, 1, 2)]:
            vectors = {"vector": np.full((1, 8), step + 1, dtype=np.float32)}
            payloads = [b"\x82\xa2by" + bytes([number]) + b"\xa4step" + bytes([step])]
            added = ops.AddPoints(collection=NAME, rows=1, keys=["fought over"], vectors=vectors, payloads=payloads)  # type: ignore[arg-type]
            position = nodes.transport(number).send(added).position
            told = database[NAME].get(["fought over"], after=position)[0].payload
            assert told == {"by": number, "step": step}
        nodes.transport(1).send(ops.DeletePoints(collection=NAME, keys=["fought over"]))
        nodes.wait_until_equal(NAME)
        assert collection.get(["fought over"]) == []
        world = World({})
        for _ in range(30):
            deed = next_deed(dice, list(world.points), shape, alone=False)
            perform(database, collection, shape, deed)
            world = after(world, shape, deed)
        assert found(shape, collection) == world.points
        wait_until_settled(nodes)
        expect_equal(database, NAME)


def test_a_node_that_was_away_while_the_map_changed_and_the_log_was_trimmed(
    servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with an old map and an old snapshot, and begins at the newest ones."""
    monkeypatch.setattr("paradox.node.member.DOWN_AFTER_S", 3.0)
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        growing = Growing(database.collection("notes", **TWO))
        growing.add(30)
        wait_until_settled(nodes, "notes")
        away, epoch = nodes.position(1, "notes"), growing.collection.info()["map_epoch"]
        nodes.stop(1)
        wait_until_held(nodes, database)
        log = nodes.transport(0).opened("notes").held.log
        while log.first <= away + 1 or growing.collection.info()["map_epoch"] <= epoch:
            growing.add(10)
            log.refresh()  # type: ignore[attr-defined]
        nodes.start(1)
        wait_until_held(nodes, database)
        wait_until_settled(nodes, "notes")
        growing.expect_all()
        expect_equal(database, "notes")


class Growing:
    """A collection that grows by points in all directions."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.points = 0

    def add(self, count: int) -> None:
        dice = np.random.default_rng(self.points)
        ids = list(range(self.points, self.points + count))
        self.collection.add(ids=ids, vectors=dice.normal(size=(count, 2)))
        self.points += count

    def expect_all(self) -> None:
        assert {hit.id for hit in self.collection.scroll()} == set(range(self.points))


def test_a_node_that_is_given_an_old_snapshot_says_so_and_the_others_answer(servers: LogServers, tmp_path: Path) -> None:
    """What its shards held after that snapshot is gone from its folder and from the log; the copies on other nodes have it."""
    with members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        growing = Growing(database.collection("notes", **TWO))
        held = nodes.transport(1).opened("notes").held
        folder = held.folder / "manifests" / "n1"  # type: ignore[operator]

        def live() -> None:
            growing.add(10)
            held.log.refresh()  # type: ignore[attr-defined]

        while not folder.exists() or not list(folder.iterdir()):
            live()
        wait_until_settled(nodes, "notes")
        shutil.copytree(folder, tmp_path / "old")
        old = held.manifest.position  # type: ignore[union-attr]
        while held.log.first <= old + 1:
            live()
        wait_until_settled(nodes, "notes")
        nodes.stop(1)
        shutil.copytree(folder, tmp_path / "new")
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "old", folder)
        nodes.start(1)
        until = time.monotonic() + WAIT_S
        while (status := database.status())["healthy"]:
            assert time.monotonic() < until
        assert "n1" in status["sentence"]
        growing.expect_all()
        nodes.stop(1)
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "new", folder)
        nodes.start(1)
        wait_until_held(nodes, database)
        growing.expect_all()
        expect_equal(database, "notes")


def test_a_log_that_was_deleted_is_said_and_never_begun_anew(servers: LogServers, tmp_path: Path) -> None:
    with members(servers, tmp_path, 2) as nodes:
        database = nodes.connect()
        collection = database.collection("notes", dimensions=2)
        collection.add(ids=[1, 2], vectors=[[1.0, 2.0], [2.0, 1.0]])
        nodes.wait_until_equal("notes")
        [opened] = nodes.transport(0).all_opened()
        opened.held.log._streams.persist(f"STREAM.DELETE.{STREAM}{opened.mark}", {})  # type: ignore[attr-defined]
        with pytest.raises(LogUnavailable, match="was deleted on its servers"):
            collection.add(ids=[3], vectors=[[1.0, 1.0]])
        assert collection.count() == 2
        nodes.stop(1)
        nodes.start(1)
        until = time.monotonic() + WAIT_S
        while "was deleted" not in str((status := database.status())["nodes"]) + str(status["quarantined"]):
            assert time.monotonic() < until, status
        assert not status["healthy"]
        with pytest.raises(LogUnavailable):
            collection.add(ids=[3], vectors=[[1.0, 1.0]])


def test_a_write_larger_than_any_message_is_split_and_whole(servers: LogServers, tmp_path: Path) -> None:
    with members(servers, tmp_path) as nodes:
        collection = nodes.connect().collection("wide", dimensions=4_096, shards=3, copies=2)
        vectors = np.random.default_rng(3).normal(size=(300, 4_096)).astype(np.float32)
        texts = [{"text": f"{number}" * 3_000} for number in range(300)]
        collection.add(ids=list(range(300)), vectors=vectors, payload=texts)
        told = nodes.connect()["wide"]
        for number in (0, 150, 299):
            [hit] = told.search(vectors[number], k=1, with_vectors=True)
            assert hit.id == number
            assert np.array_equal(hit.vector, vectors[number])
            assert hit.payload == texts[number]
        nodes.wait_until_equal("wide")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("jetstream {{ store_dir: '{folder}' }}", "acknowledges what is not on its disk yet"),
        ("jetstream {{ store_dir: '{folder}', sync_interval: '5s' }}", "acknowledges what is not on its disk yet"),
        ("", "has no JetStream"),
    ],
)
def test_log_servers_that_do_not_sync_are_refused(tmp_path: Path, settings: str, words: str) -> None:
    client, monitor = free_ports(2)
    config = tmp_path / "server.conf"
    config.write_text(f'listen: "127.0.0.1:{client}"\nhttp: "127.0.0.1:{monitor}"\n' + settings.format(folder=tmp_path))
    server = subprocess.Popen([program(), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        with pytest.raises(LogUnavailable) as raised:
            check_all_durable([f"http://127.0.0.1:{monitor}"], timeout_s=WAIT_S)
        assert words in raised.value.message
        assert raised.value.hint
    finally:
        server.kill()
        server.wait()


def test_a_log_server_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.node.log_server._told", lambda _: {"version": "2.10.29"})
    with pytest.raises(LogUnavailable, match=r"is version 2\.10\.29; expected 2\.12 or later"):
        check_all_durable(["http://old:8222"])


def test_a_server_that_is_silent_hinders_nobody_half_of_them_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is started while one of three log servers is dead joins; the dead one is looked at when it is back."""
    sound = {"version": "2.14.0", "jetstream": {"config": {"sync_always": True}}}

    def told(url: str) -> dict[str, Any]:
        if url.startswith("http://dead"):
            raise ConnectionRefusedError(url)
        return sound

    monkeypatch.setattr("paradox.node.log_server._told", told)
    check_all_durable([])
    check_all_durable(["http://dead:1", "http://one:1", "http://two:1"])
    for half in (["http://dead:1"], ["http://dead:1", "http://one:1"], ["http://dead:1", "http://dead:2", "http://two:1"]):
        with pytest.raises(LogUnavailable, match="no log server tells how it is at http://dead:1"):
            check_all_durable(half, timeout_s=0.2)


def test_a_log_server_that_comes_back_unsafe_is_told_of(monkeypatch: pytest.MonkeyPatch, servers: LogServers) -> None:
    streams = Streams(connect_bus(servers.urls), env=RealEnv())
    watch = LogWatch(streams, servers.urls_of_monitors, env=RealEnv(), logs=dict)
    watch.look()
    assert watch.alarms() == []
    honest = log_server._told
    monkeypatch.setattr(
        log_server, "_told", lambda url: honest(url) | ({"jetstream": {"config": {"sync_always": False}}} if "varz" in url else {})
    )
    watch.look()
    assert {alarm["what"].partition(" acknowledges ")[2] for alarm in watch.alarms()} == {
        "what is not on its disk yet: a power cut would lose it"
    }
    monkeypatch.setattr(log_server, "_told", honest)
    watch.look()
    assert watch.alarms() == []
    streams.bus.close()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(not CAN, reason="a small disk is mounted: that takes root")
def test_a_full_disk_stops_snapshots_and_nothing_else(servers: LogServers, tmp_path: Path) -> None:
    with small_disk(tmp_path / "store", "3m"), members(servers, tmp_path, limits=SMALL) as nodes:
        database = nodes.connect()
        collection = database.collection("notes", **TWO)
        number = 0
        until = time.monotonic() + 2 * WAIT_S
        while (status := database.status())["healthy"]:
            assert time.monotonic() < until, "the disk is never full"
            collection.add(ids=list(range(number, number + 20)), vectors=np.ones((20, 2)), payload=[{"text": "x" * 5_000}] * 20)
            number += 20
        assert "no space" in status["sentence"].lower() or "full" in status["sentence"].lower(), status["sentence"]
        collection.add(ids=["amid"], vectors=[[1.0, 2.0]])
        assert collection.count() == number + 1
        assert len(collection.search([1.0, 2.0], k=5)) == 5
        subprocess.run(["mount", "-o", "remount,size=200m", str(tmp_path / "store")], check=True)
        until = time.monotonic() + 2 * WAIT_S
        while not database.status()["healthy"]:
            assert time.monotonic() < until, database.status()["sentence"]
        assert {hit.id for hit in collection.scroll()} == {*range(number), "amid"}
        wait_until_settled(nodes, "notes")
        expect_equal(database, "notes")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_of_three_log_servers_die_and_come_back(tmp_path: Path) -> None:
    with log_servers(tmp_path, 3) as servers, members(servers, tmp_path) as nodes:
        database = nodes.connect()
        with Writing(database.collection("notes", **TWO)) as writing:
            for dead in ((0, 1), (1, 2), (0, 1, 2)):
                writing.wait_for_more()
                reader = nodes.connect()["notes"]  # who wrote waits until what it wrote can be read
                servers.kill(*dead)
                if len(dead) < 3:
                    assert len(reader.search([1.0, 2.0], k=3)) == 3
                servers.start(*dead)
            writing.wait_for_more()
        writing.expect_all()
        expect_equal(database, "notes")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not CAN, reason="network namespaces take root and iproute2")
@pytest.mark.parametrize("way", ["both", "one"])
def test_a_log_server_that_leads_is_cut_off(tmp_path: Path, way: str) -> None:
    """Where what is acknowledged must be on two servers, those two go on; the third catches up."""
    with hosts(3) as places, log_servers(tmp_path, 3, places.all()) as servers, members(servers, tmp_path) as nodes:
        database = nodes.connect()
        with Writing(database.collection("notes", **TWO)) as writing:
            for _ in range(2):
                writing.wait_for_more()
                victim = leader_of(servers, nodes)
                (places.cut_off if way == "both" else places.mute)(victim)
                writing.wait_for_more(20)
                (places.join_again if way == "both" else places.unmute)(victim)
                writing.wait_for_more(20)
        writing.expect_all()
        expect_equal(database, "notes")


def leader_of(servers: LogServers, nodes: Members) -> int:
    [opened] = nodes.transport(0).all_opened()
    return servers.leader(opened.held.log._streams, f"PARADOX_LOG_{opened.mark}")  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_half_a_minute_of_silence(tmp_path: Path) -> None:
    """Each process in turn is stopped for 30 s without its connections closing; who writes wakes up with a write that another has done."""
    with up(tmp_path / "cluster") as cluster, paradox.connect(cluster.address, timeout_s=60) as database:
        with Writing(database.collection("notes", **TWO)) as writing:
            for role in ("n1", "n2", "n3", "log1", "log2", "log3"):
                writing.wait_for_more()
                victim = cluster.listed()[role]["pid"]
                os.kill(victim, signal.SIGSTOP)
                stopped = time.monotonic()
                try:
                    writing.wait_for_more()
                    assert len(database["notes"].search([1.0, 2.0], k=3)) == 3
                    while time.monotonic() - stopped < 30:
                        writing.wait_for_more(1)
                finally:
                    if cluster.listed()[role]["pid"] == victim:
                        os.kill(victim, signal.SIGCONT)
                writing.wait_for_more()
        writing.expect_all()
        expect_equal(database, "notes")
