"""The watchdog: compares what each log server says of the logs it keeps, and names the one that has lost something.

A server whose file was damaged says that it is well, and serves what is left of the log once it leads. But it also says how many messages
it has, and those of a log are numbered without gaps, on all servers alike. A server finds out that it has lost some when it is asked for
them; so the logs are read again and again, a little at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import msgspec

from paradox.errors import LogUnavailable, ParadoxError
from paradox.log.jetstream import JetStreamLog
from paradox.log.message import Mark
from paradox.log.streams import STREAM, Streams
from paradox.node.log_server import Kept, check_durable, look_at
from paradox.ports.bus import Silence
from paradox.ports.env import Env

ILL = "paradox.logs.ill"
"""Where it is told which log server needs help, for whoever started it."""
LOOK_S = 2.0
LOOKS = 3
"""How often in a row something must be seen before it counts: servers do not say everything at one moment."""
STUCK_S, SILENT_S = 20.0, 15.0
"""How long a server may be behind without coming nearer, and without saying anything."""
CHECKS = 16
"""Pieces of a log that are read a look: 4 MB a second."""
CHECK_AGAIN_S = 60.0
"""After which a log that was read to its end is read again, when servers have let go of what they kept in memory."""
MET_S = 60.0
"""How long it is told that a log was not what was written."""
HINT = "`paradox up` empties it and has it filled again; a server of your own: stop it, empty its JetStream folder, start it"

Logs: TypeAlias = Mapping[str, tuple[str, JetStreamLog]]
Kind: TypeAlias = Literal["lost", "stuck", "silent"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one log server. stream: of which it has lost something, or where it does not come nearer to the others."""

    server: str
    kind: Kind
    what: str
    stream: str = ""
    leads: bool = False


class Ill(msgspec.Struct, frozen=True, kw_only=True):
    """A log server that needs help, while all the others are whole."""

    server: str
    kind: Kind
    what: str


class Watchdog:
    """Judges pages of log servers, look by look. It waits for nothing."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str, Kind], tuple[int, float, int]] = {}  # looks, when it began, where the server stood
        self.whole: list[str] = []

    def look(self, pages: Mapping[str, Mapping[str, Kept] | None], known: Mapping[str, int], now_s: float) -> list[Fault]:
        """Return what is wrong, as far as it has lasted.

        pages: of each server what it keeps, by stream; None = it does not answer. known: the last message of each stream that was ever
        seen here. now_s: of a clock that never goes back. `whole` then names the servers of which nothing was seen, also not for a moment.
        """
        told = {server: page for server, page in pages.items() if page is not None}
        seen: list[tuple[Fault, int]] = [
            (Fault(server=server, kind="silent", what="does not say how it is"), 0) for server, page in pages.items() if page is None
        ]
        for stream in sorted({stream for page in told.values() for stream in page}):
            peers = set().union(*(page[stream].peers for page in told.values() if stream in page))
            here = {server: page.get(stream) or Kept() for server, page in told.items() if server in peers}
            seen += _compared(stream, here, known.get(stream, 0))
        suspected = {fault.server for fault, _ in seen if fault.kind != "stuck"} | self._empty(told)
        self.whole = [server for server in told if server not in suspected]
        lasting, before, self._since = [], self._since, {}
        for fault, at in seen:
            key = (fault.server, fault.stream, fault.kind)
            looks, since_s, where = before.get(key, (0, now_s, at))
            if at != where:
                looks, since_s = 0, now_s
            self._since[key] = (looks + 1, since_s, at)
            enough_s = {"lost": 0.0, "stuck": STUCK_S, "silent": SILENT_S}[fault.kind]
            if looks + 1 >= LOOKS and now_s - since_s >= enough_s:
                lasting.append(fault)
        return lasting

    @staticmethod
    def _empty(told: Mapping[str, Mapping[str, Kept]]) -> set[str]:
        """Return the servers that have nothing yet of what they are to keep."""
        peers = {(peer, stream) for page in told.values() for stream, kept in page.items() for peer in kept.peers if kept.last}
        return {server for server, stream in peers if server in told and not told[server].get(stream, Kept()).last}


def _compared(stream: str, here: Mapping[str, Kept], known: int) -> list[tuple[Fault, int]]:
    """Return what one look shows of a stream, and where each server stood; 0 for what does not depend on that."""
    newest = max([known, *(kept.last for kept in here.values())])
    firsts = sorted(kept.first for kept in here.values())
    counts = sorted(kept.messages for kept in here.values() if kept.last == newest)
    found = []
    for server, kept in sorted(here.items()):
        gone = _missing(stream, kept, first=firsts[(len(firsts) - 1) // 2], most=counts[len(counts) // 2] if counts else 0, newest=newest)
        if gone:
            what = f"has lost {gone:,} message{'s' if gone != 1 else ''}"
            found.append((Fault(server=server, stream=stream, kind="lost", what=what, leads=kept.leads), 0))
        elif kept.last < newest and kept.leads:
            what = f"leads, but ends at message {kept.last:,} of {newest:,}"
            found.append((Fault(server=server, stream=stream, kind="lost", what=what, leads=True), 0))
        elif kept.last < newest:
            what = f"stays at message {kept.last:,} of {newest:,}"
            found.append((Fault(server=server, stream=stream, kind="stuck", what=what), kept.last))
    return found


def _missing(stream: str, kept: Kept, *, first: int, most: int, newest: int) -> int:
    """Return how many messages a server misses before its last one. first: where the stream begins on most servers that keep it."""
    if stream.startswith(STREAM):
        return max(0, kept.last + 1 - min(first, kept.first) - kept.messages) if kept.last else 0
    return max(0, most - kept.messages) if kept.last == newest else 0  # a register keeps the newest of each key


class LogWatch:
    """Looks at the log servers again and again; where one has lost what it should lead, another is made to lead."""

    def __init__(self, streams: Streams, monitors: Sequence[str], *, env: Env, logs: Callable[[], Logs]) -> None:
        """monitors: where the log servers tell how they are. logs: of each stream, the name of its collection and its log."""
        self._streams = streams
        self._monitors = monitors
        self._env = env
        self._logs = logs
        self._names = {monitor: monitor for monitor in monitors}
        self._watchdog = Watchdog()
        self._checked: dict[str, Mark | None] = {}
        self._check_at_s: dict[str, float] = {}
        self._met: dict[str, tuple[float, str]] = {}
        self._unsafe: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []

    def look(self) -> None:
        """Look once, and do what helps."""
        logs = self._logs()
        known = {stream: log.last_message for stream, (_, log) in logs.items()}
        pages: dict[str, Mapping[str, Kept] | None] = {}
        for monitor in self._monitors:
            page = self._look_at(monitor)
            pages[self._names[monitor]] = page
        self.faults = self._watchdog.look(pages, known, self._env.elapsed_s())
        ill = sorted({fault.server for fault in self.faults})
        whole = [server for server in self._watchdog.whole if server not in ill]
        for fault in self.faults:
            if fault.leads and whole:
                self._streams.step_away(fault.stream, preferred=whole[0])
        for server in ill if len(whole) == len(pages) - 1 > 0 else ():  # while two are ill, nobody is to be stopped by us
            worst = min((fault for fault in self.faults if fault.server == server), key=lambda fault: fault.kind)  # lost, silent, stuck
            told = Ill(server=server, kind=worst.kind, what=_told(worst, logs))
            self._streams.bus.tell(ILL, msgspec.msgpack.encode(told))

        for stream, (name, log) in sorted(logs.items()):
            self._check(stream, name, log)

    def _look_at(self, monitor: str) -> Mapping[str, Kept] | None:
        """Return what a server keeps, None when it does not say, and note whether it would lose what it acknowledges."""
        try:
            self._names[monitor], page = look_at(monitor)
            check_durable(monitor)
            self._unsafe.pop(monitor, None)
        except LogUnavailable as fault:
            self._unsafe[monitor] = {"what": fault.message, "hint": fault.hint}
        except (OSError, ValueError, KeyError):
            return None
        return page

    def _check(self, stream: str, name: str, log: JetStreamLog) -> None:
        """Read a little of a log, from any one server: so that this finds out what it has lost."""
        now = self._env.elapsed_s()
        if now < self._check_at_s.get(stream, 0.0):
            return
        with suppress(Silence, ParadoxError):  # then the pages tell
            for _ in range(CHECKS):
                self._checked[stream], fault = log.check_on(self._checked.get(stream))
                if fault is not None:
                    self._met[stream] = (now, f"one of the log servers shows the log of {name!r} not as it was written: {fault.message}")
                elif self._checked[stream] is None:
                    self._check_at_s[stream] = now + CHECK_AGAIN_S
                    return

    def forget(self) -> None:
        """Say nothing any more: another node looks."""
        self.faults = []
        self._met.clear()
        self._unsafe.clear()
        self._watchdog = Watchdog()

    def alarms(self) -> list[dict[str, Any]]:
        """Return what is wrong, in words, and what to do."""
        logs, now = self._logs(), self._env.elapsed_s()
        named = [f"log server {fault.server} {_told(fault, logs)}" for fault in self.faults]
        met = [what for _, (at, what) in sorted(self._met.items()) if now - at < MET_S]
        return [*list(self._unsafe.values()), *({"what": what, "hint": HINT} for what in named or met)]

    def run(self, first: Callable[[], bool]) -> None:
        """Look while the connection lasts. first: tells whether it is this node that looks."""
        with suppress(LogUnavailable):
            while True:
                if first():
                    self.look()
                else:
                    self.forget()
                self._streams.bus.wait(LOOK_S)


def _told(fault: Fault, logs: Logs) -> str:
    if not fault.stream:
        return fault.what
    return f"{fault.what} of {logs[fault.stream][0]!r}" if fault.stream in logs else f"{fault.what} of stream {fault.stream}"
