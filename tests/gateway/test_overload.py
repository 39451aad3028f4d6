"""A gateway that is asked for more than it can do goes on doing what it can; callers that are slow, go or hang hold up nobody for long."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import paradox
from paradox.gateway import app
from paradox.ports.transport import Transport
from served import ask, served

WORK_S = 0.2
CALLERS = app.THREADS
SECONDS = 4.0
LOAD, GOODPUT_MIN = 10, 0.8


class Steady:
    """A database that takes as long for each question, and does as many at once as it is given threads."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def send(self, operation: Any) -> Any:
        if type(operation).__name__ != "ListCollections":
            return {}
        self.waiting.wait(WORK_S)
        return ["notes"]

    def close(self) -> None: ...


@pytest.fixture
def steady() -> Iterator[str]:
    with served(Steady()) as address:
        yield address


CALLER = Path(__file__).with_name("callers.py")


def load(address: str, callers: int) -> dict[str, Any]:
    """Ask from another process, each caller again as soon as it is answered, a tenth of a second after it was sent away."""
    ran = subprocess.run(
        [sys.executable, str(CALLER), address, str(callers), str(SECONDS)], capture_output=True, check=True, timeout=60, text=True
    )
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_ten_times_the_load_leaves_the_work_done_as_it_was(steady: str) -> None:
    quiet = load(steady, CALLERS)
    assert quiet["statuses"].keys() == {"200"}
    crowd = load(steady, app.WAITING_MAX + 16 * CALLERS)
    assert crowd["statuses"].keys() == {"200", "429"}
    asked = sum(crowd["statuses"].values()) / sum(quiet["statuses"].values())
    assert asked >= LOAD, asked
    assert crowd["statuses"]["200"] >= GOODPUT_MIN * quiet["statuses"]["200"]
    assert crowd["retry_after"] == ["1"]
    assert crowd["refused_p50_s"] < WORK_S * (app.WAITING_MAX / app.THREADS) / 2, "who is sent away is told so early"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "READ_S", 0.3)
    monkeypatch.setattr(app, "WAITING_MAX", 2)
    monkeypatch.setattr(app.Gateway.__init__, "__kwdefaults__", {"keys": (), "threads": 2, "waiting_max": 2})


def opened(address: str, raw: bytes) -> socket.socket:
    host, port = urlsplit(address).netloc.split(":")
    caller = socket.create_connection((host, int(port)), timeout=30)
    caller.sendall(raw)
    return caller


def status_of(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


HEAD = b"%b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.usefixtures("impatient")
def test_bodies_that_never_end_hold_places_only_for_a_while(database: Transport) -> None:
    with served(database) as address:
        slow = [opened(address, HEAD % (b"PUT /v1/collections/slow", 17) + b'{"dimen') for _ in range(2)]
        started = time.monotonic()
        while (answer := ask(address, "GET", "/v1/collections"))[0] == 429:
            assert answer[2]["retry-after"] == "1"
            assert time.monotonic() - started < 10
        assert answer[0] == 200
        for caller in slow:
            told = caller.recv(4096)
            assert status_of(told) == 400
            assert b"the rest was not waited for" in told
            caller.close()
        assert "slow" not in ask(address, "GET", "/v1/collections")[1]["collections"]


@pytest.mark.usefixtures("impatient")
def test_callers_that_do_not_read_their_reply_hold_places_only_for_a_while(database: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SLOWEST_BYTES_S", 1 << 30)
    with served(database) as address, paradox.connect(address) as db:
        points = db.collection("large", dimensions=2)
        points.add(ids=range(40), vectors=[[1.0, 0.0]] * 40, payload=[{"text": "x" * 500_000}] * 40)
        question = json.dumps({"query": [1.0, 0.0], "k": 40}).encode()
        head = HEAD % (b"POST /v1/collections/large/search", len(question))
        deaf = [opened(address, head + question) for _ in range(2)]
        assert deaf[0].recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + 20
        while ask(address, "GET", "/v1/collections")[0] == 429:
            assert time.monotonic() < until
        for caller in deaf:
            caller.close()
        assert points.count() == 40
        db.drop("large")


def test_a_caller_that_has_said_its_last_word_is_served_and_leaves_no_place_taken(address: str) -> None:
    """It closes its own direction, as some programs do when they have asked: what it asked for is done, whether it hears of it or not."""
    for number in range(app.WAITING_MAX + 10):
        name = f"half{number % 5}"
        caller = opened(address, HEAD % (f"PUT /v1/collections/{name}".encode(), 16) + b'{"dimensions":2}')
        caller.shutdown(socket.SHUT_WR)
        caller.recv(4096)
        caller.close()
    until = time.monotonic() + 20
    while not {f"half{number}" for number in range(5)} <= set(ask(address, "GET", "/v1/collections")[1].get("collections", ())):
        assert time.monotonic() < until
    for number in range(5):
        ask(address, "DELETE", f"/v1/collections/half{number}")
