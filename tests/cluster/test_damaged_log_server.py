"""A log server whose file was damaged, and that leads then: seen without a reader, alarmed, stepped away, emptied and filled again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paradox
from cluster.members import LOOK_S, WAIT_S, Members, members
from cluster.test_bad_days import TWO, Writing
from cluster.test_up import up
from log_servers import LogServers, cut, flip, log_servers
from paradox.client.sync import Collection, Database
from paradox.log.jetstream import JetStreamLog
from paradox.log.streams import STREAM, Streams
from paradox.node.env import RealEnv
from paradox.node.log_server import look_at
from paradox.ports.bus import Silence
from paradox.wire.nats import NatsBus

POINTS, TOGETHER = 12_000, 200
TEXT = "x" * 2_000
"""So that a log has several files."""


HARMS: dict[str, Callable[[Path], Any]] = {"a flipped bit": flip, "a file cut short": cut, "a file that is gone": Path.unlink}


def filled(database: Database) -> Collection:
    collection = database.collection("notes", **TWO)
    vectors = np.random.default_rng(1).normal(size=(POINTS, 2)).astype(np.float32)
    for start in range(0, POINTS, TOGETHER):
        ids = [-1 - number for number in range(start, start + TOGETHER)]
        collection.add(ids=ids, vectors=vectors[start : start + TOGETHER], payload=[{"text": TEXT}] * TOGETHER)
    return collection


@contextmanager
def streams_of(urls: list[str]) -> Iterator[Streams]:
    bus = NatsBus(urls)
    yield Streams(bus, env=RealEnv())
    bus.close()


def stream_of(streams: Streams) -> str:
    """Return the stream of the longest log."""
    names = streams.logs()
    return f"{STREAM}{max(names, key=lambda name: JetStreamLog(streams, name).last)}"


def wait_for(what: str, is_so: Callable[[], Any]) -> Any:
    until = time.monotonic() + 2 * WAIT_S
    while not (found := is_so()):
        assert time.monotonic() < until, what
        time.sleep(LOOK_S)
    return found


def messages(monitors: list[str], stream: str) -> list[int]:
    """Return how many messages each server has of a stream."""
    counts = []
    for monitor in monitors:
        with suppress(OSError, KeyError):
            counts.append(look_at(monitor)[1][stream].messages)
    return counts


def named(database: Database, what: str) -> dict[str, Any] | None:
    """Return the alarm that says this, and see that the sentence of the cluster's health says it too."""
    status = database.status()
    found = next((alarm for alarm in status["alarms"] if what in alarm["what"]), None)
    assert found is None or (not status["healthy"] and status["sentence"].startswith("in danger: "))
    return found


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Members]:
    with log_servers(tmp_path, 3) as servers, members(servers, tmp_path) as nodes:
        yield nodes


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("harm", HARMS)
def test_the_watchdog_sees_it_steps_it_away_and_says_so(nodes: Members, harm: str) -> None:
    """Nobody reads the log here but nodes that have read it already."""
    servers: LogServers = nodes.servers
    collection = filled(nodes.connect())
    nodes.wait_until_equal("notes")
    database = nodes.connect()
    with streams_of(servers.urls) as streams:
        stream = stream_of(streams)
        wait_for("servers are not equal", lambda: len(set(messages(servers.urls_of_monitors, stream))) == 1)
        victim = (servers.leader(streams, stream) + 1) % 3
        servers.restart(victim)  # so that it does not do again what the servers agreed on lately, which would heal it
        servers.kill(victim)
        HARMS[harm](servers.blocks(victim, stream)[1])
        servers.blocks(victim, stream)[0].with_name("index.db").unlink()  # older than the files, as after a power cut
        servers.start(victim)
        servers.make_lead(streams, stream, victim)
        alarm = wait_for("the watchdog names nobody", lambda: named(database, f"log server n{victim} has lost"))
        assert "of 'notes'" in alarm["what"]
        assert "empties it" in alarm["hint"]
        wait_for("it leads still", lambda: servers.leader(streams, stream) != victim)
        collection.add(ids=["after"], vectors=[[1.0, 2.0]])
        servers.empty(victim)
        wait_for("it is not filled", lambda: len(set(messages(servers.urls_of_monitors, stream))) == 1)
        wait_for("it stays ill", lambda: database.status()["healthy"])
        servers.make_lead(streams, stream, victim)
        log = JetStreamLog(Streams(streams.bus, env=RealEnv()), stream.removeprefix(STREAM))
        assert sum(1 for _ in log.read(0)) == log.last
        assert log.first == 1
    assert collection.count() == POINTS + 1


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("harm", HARMS)
def test_under_one_command_it_is_emptied_and_filled_again(tmp_path: Path, harm: str) -> None:
    with up(tmp_path / "cluster") as cluster, paradox.connect(cluster.address, timeout_s=30) as database:
        collection = filled(database)
        logs = {name: one["url"] for name, one in cluster.listed().items() if one["role"] == "log"}
        with streams_of(list(logs.values())) as streams:
            stream = stream_of(streams)
            leader = streams.persist(f"STREAM.INFO.{stream}", {})["cluster"]["leader"]
            victim = min(name for name in logs if name != leader)
            with Writing(collection) as writing:
                writing.wait_for_more()
                before = cluster.listed()[victim]["pid"]
                os.kill(before, signal.SIGTERM)  # so that it does not do again what the servers agreed on lately, which would heal it
                cluster.wait_until_back(victim, before)
                before = cluster.listed()[victim]["pid"]
                blocks = sorted((cluster.folder / victim).rglob(f"{stream}/msgs/*.blk"), key=lambda path: int(path.stem))
                HARMS[harm](blocks[1])
                cluster.kill(victim)
                cluster.wait_until_back(victim, before)
                lead(streams, stream, victim)
                wait_for("it is not emptied", (cluster.folder / "damaged" / victim).exists)
                wait_for("it stays ill", lambda: database.status()["healthy"])
                writing.wait_for_more()
            lead(streams, stream, victim)
            log = JetStreamLog(streams, stream.removeprefix(STREAM))
            assert sum(1 for _ in log.read(0)) == log.last
            assert log.first == 1
            writing.expect_all()


def lead(streams: Streams, stream: str, server: str) -> None:
    """Let a server lead, if the watchdog has not stepped it away before that is seen."""
    with suppress(Silence):
        streams.api(f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": server}})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_log_server_that_cannot_start_with_what_it_has_is_filled_by_the_others(tmp_path: Path) -> None:
    """A flipped bit below the state that a server wrote when it stopped keeps it from starting for ever."""
    with up(tmp_path / "cluster") as cluster, paradox.connect(cluster.address, timeout_s=30) as database:
        filled(database)
        with streams_of([one["url"] for one in cluster.listed().values() if one["role"] == "log"]) as streams:
            stream = stream_of(streams)
    flip(sorted((cluster.folder / "log2").rglob(f"{stream}/msgs/*.blk"), key=lambda path: int(path.stem))[1])
    with up(tmp_path / "cluster") as cluster, paradox.connect(cluster.address, timeout_s=30) as database:
        assert database["notes"].count() == POINTS
        wait_for("it stays ill", lambda: database.status()["healthy"])
        with streams_of([cluster.listed()["log2"]["url"]]) as streams:
            assert sum(1 for _ in JetStreamLog(streams, stream.removeprefix(STREAM)).read(0)) >= POINTS // TOGETHER
