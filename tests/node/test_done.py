"""A request that two nodes are asked for is done once, whoever comes first, and whatever was written in between."""

from __future__ import annotations

import threading

import pytest

from paradox.errors import LogUnavailable
from paradox.log.memory import MemoryLog
from paradox.model.entries import Entry, Once, Remove
from paradox.model.points import Points
from paradox.node import done as done_module
from paradox.node.commit import Committer
from paradox.node.done import Done
from paradox.ports.log import Body, Log
from paradox.wire.codec import decode


class Node:
    """A node of a log that others write to, too."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.applied = log.last
        self.done = Done(self.applied)
        self.committer = Committer(log, self, threading.Lock())

    def find_done(self, once: Once) -> int | None:
        return self.done.find(once)

    def draft_write(self, points: Points) -> Entry:
        raise NotImplementedError

    def apply(self, position: int, entry: Entry, body: Body) -> None:
        assert isinstance(entry, Remove)
        self.done.note(entry.names, position)
        self.applied = position

    def catch_up(self) -> None:
        for position, body in self.log.read(self.applied):
            self.apply(position, decode(body), [body])

    def remove(self, key: str, once: Once | None = None) -> int:
        return self.committer.commit(lambda: Remove(keys=[key], stamp=1), once)


def keys_of(log: Log) -> list[str]:
    return [entry.keys[0] for _, body in log.read(0) if isinstance(entry := decode(body), Remove)]  # type: ignore[misc]


def test_a_second_node_does_nothing_and_says_where_the_first_did_it() -> None:
    log = MemoryLog()
    one, other, once = Node(log), Node(log), Once(b"request", 0)
    assert one.remove("a", once) == 1
    assert one.remove("b") == 2
    assert other.remove("a", once) == 1
    assert one.remove("a", once) == 1
    assert other.remove("c", Once(b"another", 2)) == 3
    assert keys_of(log) == ["a", "b", "c"]


def test_two_threads_with_one_request_do_it_once() -> None:
    log, once = MemoryLog(), Once(b"request", 0)
    node, positions = Node(log), list[int]()
    with node.committer.turn:  # so that all wait together
        threads = [threading.Thread(target=lambda: positions.append(node.remove("a", once))) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(node.committer._waiting) < 5:
            pass
    for thread in threads:
        thread.join()
    assert positions == [1] * 5
    assert keys_of(log) == ["a"]


def test_who_does_not_know_what_was_done_does_nothing() -> None:
    log = MemoryLog()
    Node(log).remove("a", Once(b"request", 0))
    late = Node(log)  # begins behind it, as after a snapshot
    with pytest.raises(LogUnavailable, match="first asked for at entry 0, and this node knows what was done since 1 only"):
        late.remove("a", Once(b"request", 0))
    assert late.remove("b", Once(b"other", 1)) == 2
    assert keys_of(log) == ["a", "b"]


def test_what_is_forgotten_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done_module, "KEPT_MAX", 2)
    done = Done(0)
    for position in range(1, 5):
        done.note([b"%d" % position], position)
    assert done.find(Once(b"4", 0)) == 4
    assert done.find(Once(b"new", 2)) is None
    with pytest.raises(LogUnavailable):
        done.find(Once(b"1", 0))
