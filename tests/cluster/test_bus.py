"""The bus: questions of any size, and who dies with one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

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


@pytest.mark.parametrize("size", [0, 1, 512 << 10, (512 << 10) + 1, 5 << 20])
def test_bodies_of_any_size_go_and_come(bus: NatsBus, other: NatsBus, size: int) -> None:
    other.serve("echo", lambda body: body[::-1], threads=2)
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert bus.ask(["echo"], body, hedge_s=1, timeout_s=10) == ("echo", body[::-1])


def test_many_ask_at_once(bus: NatsBus, other: NatsBus) -> None:
    other.serve("echo", lambda body: body, threads=4)
    bodies = [bytes([number]) * (number * 30_000) for number in range(50)]
    assert bus.ask_all([("echo", body) for body in bodies], timeout_s=20) == bodies


def test_nobody_is_there(bus: NatsBus) -> None:
    started = time.monotonic()
    with pytest.raises(Silence) as caught:
        bus.ask(["nobody"], b"x", hedge_s=5, timeout_s=5)
    assert caught.value.nobody
    assert time.monotonic() - started < 2


def test_who_does_not_answer_is_helped_by_another(bus: NatsBus, other: NatsBus) -> None:
    stop = threading.Event()
    other.serve("slow", lambda _: b"slow" if stop.wait(20) else b"never", threads=1)
    other.serve("quick", lambda _: b"quick", threads=1)
    assert bus.ask(["slow", "quick"], b"", hedge_s=0.05, timeout_s=10) == ("quick", b"quick")
    assert bus.ask(["nobody", "quick"], b"", hedge_s=10, timeout_s=10) == ("quick", b"quick")
    stop.set()


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
    assert isinstance(bus.ask_all([("hung", b"")], timeout_s=20, lives=lambda _: False)[0], Silence)
    assert time.monotonic() - started < 5
    stop.set()
