"""The bus: questions of any size, and who dies with one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from conformance.bus import BusConformance
from log_servers import LogServers
from paradox.ports.bus import Silence
from paradox.wire.nats import NatsBus


@pytest.fixture
def bus(servers: LogServers) -> Iterator[NatsBus]:
    bus = NatsBus(servers.urls)
    yield bus
    bus.close()


@pytest.fixture
def other(servers: LogServers) -> Iterator[NatsBus]:
    bus = NatsBus(servers.urls)
    yield bus
    bus.close()


class TestNatsBus(BusConformance):
    """Over a real server."""


@pytest.mark.parametrize("again", [False, True])
def test_who_dies_with_a_question_is_not_waited_for(bus: NatsBus, servers: LogServers, again: bool) -> None:
    """Also not when another serves in its place, who never heard of the question."""
    dying, begun, stop = NatsBus(servers.urls), threading.Event(), threading.Event()

    def hang(_: bytes) -> bytes:
        begun.set()
        stop.wait(20)
        return b""

    dying.serve("there", hang, threads=1)
    outcome: list[BaseException] = []

    def ask() -> None:
        try:
            bus.ask(["there"], b"", hedge_s=30, timeout_s=30)
        except Silence as silence:
            outcome.append(silence)

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(10)
    heir = NatsBus(servers.urls)
    if again:
        heir.serve("there", lambda body: body, threads=1)
    dying.close()
    asking.join(5)
    assert not asking.is_alive()
    assert outcome
    stop.set()
    heir.close()


def test_who_is_not_heard_of_is_not_waited_for(bus: NatsBus, other: NatsBus) -> None:
    stop = threading.Event()
    other.serve("hung", lambda _: bytes(stop.wait(20)), threads=1)
    started = time.monotonic()
    assert isinstance(bus.ask_all([(["hung"], b"")], hedge_s=1, timeout_s=20, lives=lambda _: False)[0], Silence)
    assert time.monotonic() - started < 5
    stop.set()
