"""The log on real NATS servers: what every log does, many writers, servers that are killed, and bytes that changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conformance.log import LogConformance, entries
from log_servers import LogServers, cut, flip, log_servers
from paradox.errors import LogConflict, LogCorrupt, LogUnavailable, StoreClosed, StoreFull
from paradox.log import message
from paradox.log.jetstream import JetStreamLog, drop_log, open_log
from paradox.log.register import Register
from paradox.log.streams import STREAM, Streams
from paradox.model.events import LeaderSteppedAway
from paradox.node.env import RealEnv
from paradox.ports.bus import Silence
from paradox.ports.log import Log
from paradox.wire.nats import NatsBus


def connected(urls: Sequence[str]) -> Streams:
    return Streams(NatsBus(urls), env=RealEnv())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers set aside what a log may take: many logs share one disk here."""
    monkeypatch.setattr(open_log, "__kwdefaults__", {"replicas": 1, "bytes_max": 64 << 20, "incarnation": 1})


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with log_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@pytest.fixture(scope="module")
def streams(servers: LogServers) -> Iterator[Streams]:
    streams = connected(servers.urls)
    yield streams
    streams.bus.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"log-{abs(hash(request.node.nodeid))}"


class TestJetStreamLog(LogConformance):
    @pytest.fixture
    def log(self, streams: Streams, name: str) -> Log:
        return open_log(streams, name)


def test_logs_are_listed_and_dropped(streams: Streams, name: str) -> None:
    open_log(streams, name).append([[b"one"]])
    assert name in streams.logs()
    drop_log(streams, Register(streams, replicas=1), name)
    drop_log(streams, Register(streams, replicas=1), name)
    assert name not in streams.logs()
    assert open_log(streams, name, incarnation=7).incarnation == 7


def test_another_program_sees_what_was_appended(streams: Streams, servers: LogServers, name: str) -> None:
    log = open_log(streams, name)
    log.append([[b"one"], [b"two" * 400_000]])
    other = connected(servers.urls)
    there = open_log(other, name)
    assert entries(there) == [(1, b"one"), (2, b"two" * 400_000)]
    there.append([[b"three"]])
    assert (log.last, log.refresh()) == (2, 3)
    assert entries(log, 2) == [(3, b"three")]
    other.bus.close()


def test_of_two_that_append_at_once_one_is_told_so(streams: Streams, name: str) -> None:
    one, other = open_log(streams, name), open_log(streams, name)
    assert one.append([[b"first"]]) == 1
    for bodies in ([[b"second"]], [[b"second"], [b"third"]]):
        with pytest.raises(LogConflict, match="another program appended"):
            other.append(bodies)
    assert other.refresh() == 1
    assert other.append([[b"second"]]) == 2
    assert entries(one) == [(1, b"first"), (2, b"second")]


def test_an_attempt_that_nobody_acknowledged_is_found_again(streams: Streams, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages arrive, the answer is lost: trying again must add nothing."""
    log = open_log(streams, name)
    publish, lost = Streams.publish, [True, True]

    def losing(*given: object, **named: object) -> object:
        answer = publish(*given, **named)  # type: ignore[arg-type]
        if lost and lost.pop():
            raise Silence("no answer in time", nobody=False)
        return answer

    monkeypatch.setattr(Streams, "publish", losing)
    assert log.append([[b"one"]]) == 1
    assert log.append([[b"two"], [b"three"]]) == 3
    assert not lost
    assert entries(log) == [(1, b"one"), (2, b"two"), (3, b"three")]


def test_entries_are_read_from_the_middle_of_many_messages(streams: Streams, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "CHUNK_BYTES", 10)
    log = open_log(streams, name)
    bodies = [bytes([65 + number % 26]) * (7 * number % 41) for number in range(60)]
    log.append([[body] for body in bodies])
    fresh = open_log(streams, name)
    for after in (0, 1, 17, 40, 58, 59, 60):
        assert entries(fresh, after) == [(number + 1, body) for number, body in enumerate(bodies)][after:]
    fresh.trim(30)
    assert fresh.first == 31
    assert log.refresh() == 60
    assert entries(log, 30) == entries(fresh, 30)
    for reader in (log, fresh):
        with pytest.raises(LogCorrupt, match="were trimmed"):
            entries(reader, 12)


def test_a_log_that_is_full_says_so_and_adds_nothing(streams: Streams, name: str) -> None:
    log = open_log(streams, name, bytes_max=100_000)
    log.append([[b"x" * 60_000]])
    with pytest.raises(StoreFull, match="no room"):
        log.append([[b"y" * 60_000]])
    assert log.append([[b"z"]]) == 2
    assert [position for position, _ in log.read(0)] == [1, 2]


def test_a_log_that_is_deleted_under_its_users(streams: Streams, name: str) -> None:
    log = open_log(streams, name)
    log.append([[b"one"]])
    drop_log(streams, Register(streams, replicas=1), name)
    for work in (log.refresh, lambda: entries(log), lambda: log.append([[b"two"]])):
        with pytest.raises(LogUnavailable, match="was deleted"):
            work()


def test_what_something_else_put_into_the_log_is_found(streams: Streams, name: str) -> None:
    log = open_log(streams, name)
    log.append([[b"one"]])
    streams.publish(name, [b"not ours"], after=1, batch="b")
    with pytest.raises(LogCorrupt, match=r"message 2 of log .* is not what was written"):
        log.refresh()
    log.close()
    with pytest.raises(StoreClosed):
        log.append([[b"two"]])


def test_nobody_answers() -> None:
    with pytest.raises(LogUnavailable, match=r"no log server answers at nats://127.0.0.1:1"):
        NatsBus(["nats://127.0.0.1:1"], timeout_s=0.5)


# Three servers


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with log_servers(tmp_path_factory.mktemp("three"), 3) as servers:
        yield servers


@pytest.mark.parametrize("victims", ["the leader", "two of three", "all"])
def test_killed_servers_lose_nothing_that_was_acknowledged(three: LogServers, name: str, victims: str) -> None:
    """A writer goes on through the deaths; what it was told is there is there, each entry once and in order."""
    streams = connected(three.urls)
    log = open_log(streams, name, replicas=3)
    acknowledged: list[bytes] = []
    written, stop = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            body = b"%06d" % number * 50
            try:
                log.append([[body], [body]])
                acknowledged.extend((body, body))
                written.set()
            except LogUnavailable:
                log.refresh()
                if log.last > len(acknowledged):
                    acknowledged.extend((body, body))
            except BaseException as error:
                failures.append(error)
                raise
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    assert written.wait(30)
    leader = three.leader(streams, f"{STREAM}{name}")
    dead = {"the leader": [leader], "two of three": [leader, (leader + 1) % 3], "all": [0, 1, 2]}[victims]
    three.kill(*dead)
    three.start(*dead)
    before = len(acknowledged)
    for _ in range(3):
        written.clear()
        assert written.wait(60), "writes do not go on"
    stop.set()
    thread.join()
    assert not failures
    assert len(acknowledged) > before
    assert [bytes(body) for _, body in log.read(0)] == acknowledged
    fresh = connected(three.urls)
    assert [bytes(body) for _, body in open_log(fresh, name, replicas=3).read(0)] == acknowledged
    fresh.bus.close()
    streams.bus.close()


def test_a_server_whose_file_was_damaged_shows_nobody_anything_wrong(three: LogServers, name: str) -> None:
    """The file is changed while its server is down, which then answers its own callers."""
    streams = connected(three.urls)
    log = open_log(streams, name, replicas=3)
    bodies = [b"%04d" % number * 2_000 for number in range(50)]
    for body in bodies:
        log.append([[body]])
    victim = (three.leader(streams, f"{STREAM}{name}") + 1) % 3
    three.kill(victim)
    [block] = three.blocks(victim, f"{STREAM}{name}")
    content = bytearray(block.read_bytes())
    content[content.index(b"0025" * 100) + 50] ^= 1
    block.write_bytes(content)
    three.start(victim)
    beside = connected([three.urls[victim]])
    there = open_log(beside, name)
    for _ in range(3):
        assert [bytes(body) for _, body in there.read(0)] == bodies
    beside.bus.close()
    streams.bus.close()


def long_log(streams: Streams, name: str) -> tuple[JetStreamLog, list[bytes]]:
    """Return a log on three servers, of four files on each, and what is in it."""
    log = open_log(streams, name, replicas=3, bytes_max=1 << 30)
    bodies = [b"%06d" % number * 500 for number in range(10_000)]
    for start in range(0, 10_000, 100):
        log.append([[body] for body in bodies[start : start + 100]])
    return log, bodies


@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_a_damaged_leader_is_stepped_away_and_nothing_is_lost(three: LogServers, name: str, harm: Callable[[Path], None]) -> None:
    """A file in the midst of the leader's has lost messages; whoever reads or appends has another server lead."""
    stream = f"{STREAM}{name}"
    streams = connected(three.urls)
    log, bodies = long_log(streams, name)
    victim = (three.leader(streams, stream) + 1) % 3
    three.kill(victim)
    harm(three.blocks(victim, stream)[1])  # the last one is filled again from what the servers agreed on lately
    three.start(victim)
    three.make_lead(streams, stream, victim)
    fresh = connected(three.urls)
    there = open_log(fresh, name, replicas=3)
    assert [bytes(body) for _, body in there.read(0)] == bodies
    three.make_lead(streams, stream, victim)
    assert there._of_a_sound_leader(lambda: there._head(5_200)).position == 5_200
    assert three.leader(streams, stream) != victim
    assert log.append([[b"more"]]) == 10_001
    assert [event.log for event in fresh.env.events if isinstance(event, LeaderSteppedAway)]
    fresh.bus.close()
    streams.bus.close()


Found = list[tuple[int, bytes]]


def swapped(found: Found) -> Found:
    if len(found) < 2:
        return found
    (first, one), (second, other), *rest = found
    return [(first, other), (second, one), *rest]


HARMS: dict[str, Callable[[Found], Found]] = {
    "a changed bit": lambda found: [(at, bytes([told[0] ^ 1]) + told[1:] if at == 3 else told) for at, told in found],
    "a bit of the body": lambda found: [(at, told[:-1] + b"?" if at == 5 else told) for at, told in found],
    "a message that is gone": lambda found: [part for part in found if part[0] != 4],
    "two that changed places": swapped,
    "a message cut short": lambda found: [(at, told[:20]) for at, told in found],
    "nothing": lambda found: [],
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_a_server_shows_is_checked_and_the_leader_asked(
    streams: Streams, name: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(streams, name)
    bodies = [b"%d" % number * 10 for number in range(8)]
    log.append([[body] for body in bodies])
    fetch, asked = Streams.fetch, []

    def harmed(self: Streams, *given: Any, **named: Any) -> Found:
        asked.append(given)
        return HARMS[harm](fetch(self, *given, **named))

    monkeypatch.setattr(Streams, "fetch", harmed)
    assert [bytes(body) for _, body in log.read(0)] == bodies
    assert asked


def test_damage_that_every_server_shows_is_said(streams: Streams, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(streams, name)
    log.append([[b"one"], [b"two"], [b"three"]])
    honest = JetStreamLog._message

    def cut(self: JetStreamLog, sequence: int) -> bytes | None:
        whole = honest(self, sequence)
        return whole[:-1] if whole and sequence == 2 else whole

    monkeypatch.setattr(Streams, "fetch", lambda *_: [])
    monkeypatch.setattr(JetStreamLog, "_message", cut)
    reading = log.read(0)
    assert bytes(next(reading)[1]) == b"one"
    with pytest.raises(LogCorrupt, match=r"message 2 of log .* is not what was written"):
        next(reading)


def test_a_leader_that_lost_the_beginning_is_not_taken_for_one_that_trimmed(three: LogServers, name: str) -> None:
    """So does a server begin that was emptied and is filled while others append: from where it came in."""
    stream = f"{STREAM}{name}"
    streams = connected(three.urls)
    log, bodies = long_log(streams, name)
    victim = (three.leader(streams, stream) + 1) % 3
    three.restart(victim)
    three.kill(victim)
    three.blocks(victim, stream)[0].unlink()
    three.blocks(victim, stream)[0].with_name("index.db").unlink(missing_ok=True)
    three.start(victim)
    three.make_lead(streams, stream, victim)
    fresh = connected(three.urls)
    there = open_log(fresh, name, replicas=3)
    assert there.first == 1
    assert [bytes(body) for _, body in there.read(0)] == bodies
    assert three.leader(streams, stream) != victim
    log.trim(5_000)
    assert there.refresh() == 10_000
    assert there.first == 5_001
    fresh.bus.close()
    streams.bus.close()


def test_programs_that_set_a_key_at_once_all_learn_who_was_first(three: LogServers) -> None:
    """Who comes second may be refused before the first one's value is there."""
    several = [connected(three.urls) for _ in range(6)]
    registers = [Register(one, replicas=3) for one in several]
    for turn in range(20):
        key, begin = f"once.{turn}", threading.Barrier(len(registers))
        seen: list[bytes] = []

        def put(number: int, key: str = key, begin: threading.Barrier = begin, seen: list[bytes] = seen) -> None:
            begin.wait()
            with suppress(LogConflict):
                registers[number].put(key, str(number).encode(), revision=0)
            seen.append(registers[number].await_value(key))

        threads = [threading.Thread(target=put, args=(number,)) for number in range(len(registers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == len(registers)
        assert len(set(seen)) == 1
    for one in several:
        one.bus.close()
