"""A cluster in which nothing happens asks its log servers nothing, and hears of what happens also when it was not told."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster.members import LOOK_S, WAIT_S, Members, members
from log_servers import LogServers
from paradox.model.topology import ALIVE
from paradox.node.member import Member
from paradox.wire.nats import NatsBus

BEATS = 8


class Asked:
    """What all nodes of this process ask of log servers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.subjects: list[str] = []
        for name in ("request", "collect"):
            patch.setattr(NatsBus, name, self._counting(getattr(NatsBus, name)))

    def _counting(self, real: Any) -> Any:
        def counting(bus: NatsBus, subject: str, *given: Any, **more: Any) -> Any:
            self.subjects.append(subject)
            return real(bus, subject, *given, **more)

        return counting


def wait_for_beats(nodes: Members, count: int) -> None:
    """Return when every node has said so often that it lives: each time it has had the time to do what it does of itself."""
    left = {member.name: count for member in nodes.running.values()}
    enough = threading.Event()

    def hear(raw: bytes) -> None:
        name = msgspec.msgpack.decode(raw)["name"]
        left[name] -= 1
        if max(left.values()) <= 0:
            enough.set()

    bus = NatsBus(nodes.servers.urls)
    bus.hear(ALIVE, hear)
    assert enough.wait(WAIT_S)
    bus.close()


def wait_until_at_rest(nodes: Members) -> None:
    until = time.monotonic() + WAIT_S
    while not all(member.database.worker.settled() for member in nodes.running.values()):  # type: ignore[union-attr]
        assert time.monotonic() < until
        time.sleep(LOOK_S)
    wait_for_beats(nodes, 2)


def test_a_quiet_cluster_asks_nothing(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.node.member.POLL_S", 1_000.0)
    monkeypatch.setattr("paradox.node.watchdog.LogWatch.run", lambda *_: None)  # reads the logs again and again on purpose
    with members(servers, tmp_path) as nodes:
        database = nodes.connect()
        for name in ("one", "other"):
            database.collection(name, dimensions=2).add(ids=[1], vectors=[[1.0, 2.0]])
            nodes.wait_until_equal(name)
        wait_until_at_rest(nodes)
        asked = Asked(monkeypatch)
        wait_for_beats(nodes, BEATS)
        assert asked.subjects == []
        database["one"].add(ids=[2], vectors=[[1.0, 2.0]])
        nodes.wait_until_equal("one")
        logs = {str(nodes.transport(0).opened(name).mark): name for name in ("one", "other")}
        assert {logs[subject.rpartition("_LOG_")[2]] for subject in asked.subjects if "_LOG_" in subject} == {"one"}


def test_what_nobody_was_told_of_is_seen_in_the_end(servers: LogServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.node.member.POLL_S", 0.5)
    for heard in ("_appended", "_catalogue_changed"):
        monkeypatch.setattr(Member, heard, lambda member, raw: None)
    with members(servers, tmp_path) as nodes:
        database = nodes.connect()
        database.collection("notes", dimensions=2).add(ids=[1], vectors=[[1.0, 2.0]])
        nodes.wait_until_equal("notes")
        database.drop("notes")
        until = time.monotonic() + WAIT_S
        while any(member.database.all_opened() for member in nodes.running.values()):
            assert time.monotonic() < until, "what was dropped is still held"
            time.sleep(LOOK_S)
