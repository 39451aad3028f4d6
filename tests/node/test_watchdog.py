"""What the watchdog makes of what log servers say: damage is named, and servers that are merely behind or busy are not."""

from __future__ import annotations

from typing import Any

import msgspec

from paradox.log.streams import STREAM
from paradox.node.log_server import Kept
from paradox.node.watchdog import LOOK_S, LOOKS, SILENT_S, STUCK_S, Fault, Watchdog

LOG, REGISTER = f"{STREAM}x", "PARADOX_REGISTER"
SERVERS = frozenset(("a", "b", "c"))
WHOLE = Kept(first=11, last=100, messages=90, peers=SERVERS)


def but(**changed: Any) -> Kept:
    return msgspec.structs.replace(WHOLE, **changed)


class Looking:
    """A watchdog whose clock goes on with every look."""

    def __init__(self) -> None:
        self.watchdog = Watchdog()
        self.now_s = 0.0

    def look(self, *, stream: str = LOG, known: int = 0, **servers: Kept | None) -> list[Fault]:
        self.now_s += LOOK_S
        there = {"a": WHOLE, "b": WHOLE, "c": WHOLE} | servers
        pages = {server: None if kept is None else {stream: kept} for server, kept in there.items()}
        return self.watchdog.look(pages, {stream: known}, self.now_s)

    def looks(self, times: int = LOOKS, **given: Any) -> list[Fault]:
        found = []
        for _ in range(times):
            found = self.look(**given)
        return found


def test_equal_servers_are_well() -> None:
    assert Looking().looks(50, known=100) == []


def test_a_hole_is_lost_messages_and_is_named_after_some_looks() -> None:
    looking = Looking()
    assert looking.looks(LOOKS - 1, b=but(messages=77)) == []
    assert looking.look(b=but(messages=77)) == [Fault(server="b", kind="lost", what="has lost 13 messages", stream=LOG)]
    assert looking.look() == []


def test_what_is_lost_at_the_beginning_is_seen_by_what_the_others_have() -> None:
    [fault] = Looking().looks(b=but(first=41, messages=60, leads=True))
    assert (fault.server, fault.what, fault.leads) == ("b", "has lost 30 messages", True)


def test_everything_lost_but_the_number_of_the_last() -> None:
    [fault] = Looking().looks(c=but(first=101, messages=0))
    assert (fault.server, fault.what) == ("c", "has lost 90 messages")


def test_a_server_that_has_not_trimmed_yet_has_lost_nothing() -> None:
    assert Looking().looks(50, b=but(first=1, messages=100)) == []


def test_a_server_that_comes_nearer_is_not_stuck_and_one_that_does_not_is() -> None:
    looking = Looking()
    for last in range(20, 60):
        assert looking.look(b=but(last=last, messages=last - 10)) == []
    assert looking.look(b=but(last=60, messages=50)) == []
    [fault] = looking.looks(int(STUCK_S / LOOK_S) + 1, b=but(last=60, messages=50))
    assert (fault.server, fault.kind, fault.what) == ("b", "stuck", "stays at message 60 of 100")


def test_a_server_that_lacks_the_stream_is_stuck_only_after_a_while() -> None:
    looking = Looking()
    assert looking.looks(LOOKS, b=Kept()) == []
    assert looking.looks(int(STUCK_S / LOOK_S) + 1, b=Kept())[0].kind == "stuck"


def test_a_leader_that_lost_its_end_is_named_soon() -> None:
    short = but(last=90, messages=80, leads=True)
    [fault] = Looking().looks(b=short)
    assert (fault.server, fault.kind, fault.what, fault.leads) == ("b", "lost", "leads, but ends at message 90 of 100", True)


def test_what_was_acknowledged_here_is_missed_also_when_all_servers_lost_it() -> None:
    found = Looking().looks(known=105, a=but(leads=True))
    assert [(fault.server, fault.kind) for fault in found] == [("a", "lost")]


def test_a_register_has_gaps_and_is_compared_with_its_peers() -> None:
    looking = Looking()
    sparse = but(messages=7)
    assert looking.looks(50, stream=REGISTER, a=sparse, b=sparse, c=sparse) == []
    [fault] = looking.looks(stream=REGISTER, a=sparse, b=but(messages=5), c=sparse)
    assert (fault.server, fault.what) == ("b", "has lost 2 messages")


def test_a_server_that_says_nothing_is_named_after_a_while() -> None:
    looking = Looking()
    assert looking.looks(int(SILENT_S / LOOK_S), c=None) == []
    [fault] = looking.looks(2, c=None)
    assert (fault.server, fault.kind) == ("c", "silent")


def test_a_server_that_does_not_keep_a_stream_need_not_have_it() -> None:
    alone = but(peers=frozenset(("a",)))
    watchdog = Watchdog()
    for look in range(50):
        assert watchdog.look({"a": {LOG: alone}, "b": {}, "c": {}}, {}, look * LOOK_S) == []
