"""The log servers of a world: three servers of JetStream as their clients see them, with the days on which no majority answers.

What a majority has is durable and in one order. A publish that meets no leader is lost, or waits in a log that has no majority until there
is one, and then is there or is not. Reads may be answered by a server that lags.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paradox.log.register import WRONG_LAST_OF_SUBJECT
from paradox.log.streams import FULL, NO_MESSAGE, NO_STREAM, SEQUENCE, WRONG_LAST
from paradox.ports.bus import Message
from paradox.sim.loop import Loop

API = "$JS.API."
LAGS, LAG_MAX = 0.2, 8
"""How often a server that answers lags, and by how many messages."""
LINGERS = 0.3
"""How often a publish that meets no leader is there in the end."""
LOST_IN_A_CRASH = 3
"""Messages at most that a crash of all servers takes, where they do not sync."""

Reply = Callable[[bytes, Mapping[str, str]], None]


class Stream:
    """One stream. messages: subject and body by sequence."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.messages: dict[int, tuple[str, bytes]] = {}
        self.archive: dict[int, bytes] = {}  # what was trimmed too, for checks
        self.last = 0
        self.bytes = 0
        self.by_subject: dict[str, int] = {}
        self.unsettled: list[Publish] = []

    @property
    def first(self) -> int:
        """The first sequence that is there; `last + 1` when there is none."""
        return next(iter(self.messages), self.last + 1)

    def append(self, subject: str, body: bytes) -> None:
        """Add a message at the end."""
        self.last += 1
        self.messages[self.last] = (subject, body)
        self.archive[self.last] = body
        self.bytes += len(body)
        before = self.by_subject.get(subject, 0)
        self.by_subject[subject] = self.last
        if before and self.config.get("max_msgs_per_subject") == 1:
            self.forget(before)

    def forget(self, sequence: int) -> None:
        """Remove a message."""
        subject, body = self.messages.pop(sequence)
        self.bytes -= len(body)
        if self.by_subject.get(subject) == sequence:
            del self.by_subject[subject]


class Publish:
    """Messages to add together, if what their headers demand is so."""

    def __init__(self, subject: str, messages: Sequence[Message]) -> None:
        self.subject = subject
        self.bodies = [body for body, _ in messages]
        self.headers = messages[0][1]


class LogServers:
    """Three servers that agree, or do not answer. `take` is called where the request arrives, and calls `reply` when it is done."""

    def __init__(self, loop: Loop) -> None:
        self.streams: dict[str, Stream] = {}
        self.syncs = True
        """Whether what is acknowledged is durable; for tests of the checkers, as is the next."""
        self.checks = True
        """Whether conditions of a publish are heeded."""
        self._loop = loop
        self._down: set[int] = set()
        self._led_from = 0.0

    # -- days

    def stop(self, *numbers: int, election_s: float) -> None:
        """Kill servers. Those left elect a leader."""
        self._down |= set(numbers)
        self._led_from = self._loop.now + election_s
        if len(self._down) == 3 and not self.syncs:
            for stream in self.streams.values():
                for _ in range(self._loop.dice.randrange(LOST_IN_A_CRASH + 1)):
                    if stream.last in stream.messages:
                        stream.forget(stream.last)
                        stream.last -= 1

    def start(self, *, election_s: float) -> None:
        """Start all servers again, and settle what lay in logs without a majority."""
        self._down.clear()
        self._led_from = self._loop.now + election_s
        self._loop.call_at(self._led_from, self._settle)

    def _settle(self) -> None:
        if not self.led():
            return  # whoever starts the servers again comes back to it
        for stream in self.streams.values():
            unsettled, stream.unsettled = stream.unsettled, []
            for publish in unsettled:
                if self._loop.dice.random() < LINGERS:
                    self._publish(stream, publish)

    def led(self) -> bool:
        """Tell whether there is a majority with a leader."""
        return len(self._down) < 2 and self._loop.now >= self._led_from

    # -- requests

    def take(self, subject: str, messages: Sequence[Message], reply: Reply) -> None:
        """Take a request that has arrived."""
        if subject.startswith(f"{API}DIRECT.GET."):
            if len(self._down) < 3:
                self._get_batch(subject.removeprefix(f"{API}DIRECT.GET."), json.loads(messages[0][0]), reply)
            return
        answer: dict[str, Any] | None
        publish = None if subject.startswith(API) else Publish(subject, messages)
        if not self.led():
            stream = self._stream_of(subject) if publish is not None else None
            if stream is not None and publish is not None and len(self._down) < 3:
                stream.unsettled.append(publish)
                self._loop.call_at(self._led_from, self._settle)
            return
        if publish is None:
            answer = self._api(subject.removeprefix(API), json.loads(messages[-1][0] or b"{}"))
        else:
            stream = self._stream_of(subject)
            answer = self._publish(stream, publish) if stream is not None else None
        if answer is not None:
            reply(json.dumps(answer).encode(), {})

    def _stream_of(self, subject: str) -> Stream | None:
        for stream in self.streams.values():
            for pattern in stream.config["subjects"]:
                if pattern == subject or (pattern.endswith(">") and subject.startswith(pattern[:-1])):
                    return stream
        return None

    def _publish(self, stream: Stream, publish: Publish) -> dict[str, Any]:
        expected = publish.headers.get("Nats-Expected-Last-Sequence")
        of_subject = publish.headers.get("Nats-Expected-Last-Subject-Sequence")
        if self.checks:
            if stream.unsettled and (expected is not None or of_subject is not None):
                return _error(WRONG_LAST, f"wrong last sequence: {stream.last + 1}")
            if expected is not None and int(expected) != stream.last:
                return _error(WRONG_LAST, f"wrong last sequence: {stream.last}")
            if of_subject is not None and int(of_subject) != stream.by_subject.get(publish.subject, 0):
                return _error(WRONG_LAST_OF_SUBJECT, "wrong last sequence of the subject")
        size = sum(map(len, publish.bodies))
        if stream.config.get("discard") == "new" and stream.bytes + size > stream.config.get("max_bytes", size + stream.bytes):
            return _error(FULL, "maximum bytes exceeded")
        for body in publish.bodies:
            stream.append(publish.subject, body)
        return {"stream": stream.config["name"], "seq": stream.last}

    def _get_batch(self, name: str, asked: Mapping[str, Any], reply: Reply) -> None:
        stream = self.streams.get(name)
        if stream is None:
            return
        lag = self._loop.dice.randrange(LAG_MAX) if self._loop.dice.random() < LAGS else 0
        size = 0
        for sequence in range(max(asked["seq"], stream.first), stream.last - lag + 1):
            if sequence not in stream.messages:
                continue
            body = stream.messages[sequence][1]
            size += len(body)
            if sequence - asked["seq"] >= asked["batch"] or size > asked["max_bytes"]:
                break
            reply(body, {SEQUENCE: str(sequence)})
        reply(b"", {"Status": "204"})

    def _api(self, verb: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if verb == "STREAM.NAMES":
            return {"streams": sorted(self.streams)}
        what, _, name = verb.removeprefix("STREAM.").rpartition(".")
        if what == "CREATE":
            self.streams.setdefault(name, Stream(asked))
            return {"config": dict(asked)}
        stream = self.streams.get(name)
        if stream is None:
            return _error(NO_STREAM, "stream not found", code=404)
        match what:
            case "DELETE":
                del self.streams[name]
                return {"success": True}
            case "INFO":
                return {"config": dict(stream.config), "state": _state(stream, asked.get("subjects_filter"))}
            case "MSG.GET":
                return _message(stream, asked)
            case "LEADER.STEPDOWN":
                return {"success": True}  # all of them have the same here
            case "PURGE":
                for sequence, (subject, _) in list(stream.messages.items()):
                    if sequence < asked.get("seq", stream.last + 1) and asked.get("filter", subject) == subject:
                        stream.forget(sequence)
                return {"success": True}
            case _:
                raise ValueError(f"the simulated log servers know no {what}")


def _error(number: int, description: str, *, code: int = 400) -> dict[str, Any]:
    return {"error": {"code": code, "err_code": number, "description": description}}


def _state(stream: Stream, subjects: str | None) -> dict[str, Any]:
    state: dict[str, Any] = {"messages": len(stream.messages), "first_seq": stream.first, "last_seq": stream.last, "bytes": stream.bytes}
    if subjects is not None:
        state["subjects"] = {subject: 1 for subject in stream.by_subject if subject.startswith(subjects.rstrip(">"))}
    return state


def _message(stream: Stream, asked: Mapping[str, Any]) -> dict[str, Any]:
    sequence = asked["seq"] if "seq" in asked else stream.by_subject.get(asked["last_by_subj"], 0)
    if sequence not in stream.messages:
        return _error(NO_MESSAGE, "no message found", code=404)
    return {"message": {"seq": sequence, "data": base64.b64encode(stream.messages[sequence][1]).decode()}}
