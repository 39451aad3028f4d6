"""JetStreamLog: a Log that is a stream of NATS JetStream, kept by several servers.

An entry is one message, or several when it is large; all messages of one append are one atomic batch, on the condition that nobody
else appended since. Messages carry a chain of checksums (`message.py`), so a server that lost or changed something below the log is found
out by whoever reads; the leader is asked instead, and where that has it neither, another is made to lead. How far a log was trimmed stands
in the register before it is done, so a leader that lost the beginning is not taken for one that trimmed it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from paradox.errors import LogConflict, LogCorrupt, LogUnavailable, StoreClosed, StoreFull
from paradox.log.frame import refuse_if_beyond
from paradox.log.message import HEADER, Head, Mark, decode_head, fault_of, messages_of
from paradox.log.register import Register
from paradox.log.streams import AGAIN_S, FULL, NO_STREAM, PERSIST_S, STREAM, SUBJECT, WRONG_LAST, Streams
from paradox.model.events import LeaderSteppedAway
from paradox.ports.bus import Silence
from paradox.ports.log import Body

Told = TypeVar("Told")
MESSAGES_MAX = 1_000
"""Messages that JetStream takes as one batch."""
BYTES_MAX = 4 << 30
"""Of one log, on each server; servers set that much aside. A log is trimmed once a snapshot covers it."""
CHECK_BYTES = 512 << 10
"""Fetched at a time by who only checks: so little that each server is asked for some of each of its files."""
DUPLICATES_S = 120
ASK_LEADER_AFTER = 3  # replies that bring nothing new; then message by message
AGAIN_MAX, LEADERS_MAX = 5, 3
"""How often a leader is asked for what it seems to have lost (elected just now, it may soon know better), and how many leaders are."""
APPENDED = "paradox.appended"
"""Where it is said which log has grown."""
TRIMMED = "trimmed"
"""Under which the register keeps how far each log was trimmed, as the sequence of a message."""


def open_log(streams: Streams, name: str, *, replicas: int = 1, bytes_max: int = BYTES_MAX, incarnation: int = 1) -> JetStreamLog:
    """Open a log, and create it when there is none. replicas: servers that keep it. Raises LogUnavailable, LogCorrupt, FormatTooNew."""
    streams.create(
        {
            "name": f"{STREAM}{name}",
            "subjects": [f"{SUBJECT}.{name}"],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_bytes": bytes_max,
            "num_replicas": replicas,
            "duplicate_window": DUPLICATES_S * 1_000_000_000,
            "allow_direct": True,
            "allow_atomic": True,
            "metadata": {"paradox.incarnation": str(incarnation)},
        }
    )
    return JetStreamLog(streams, name)


def drop_log(streams: Streams, register: Register, name: str) -> None:
    """Delete a log; no error when there is none. Raises LogUnavailable."""
    streams.persist(f"STREAM.DELETE.{STREAM}{name}", {})
    with suppress(KeyError):
        register.delete(f"{TRIMMED}.{name}", revision=register.get(f"{TRIMMED}.{name}")[1])


class _Trimmed(LogCorrupt):
    """A message is not there because another program trimmed the log since we looked."""


class JetStreamLog:
    """Entries in one stream. Any number of programs may append: who was not first is told so by LogConflict. Thread-safe."""

    def __init__(self, streams: Streams, name: str) -> None:
        """Open a log that is there. Raises LogUnavailable, also when it is there no more: a new one in its place would hide that."""
        self._streams = streams
        self._name = name
        self._env = streams.env
        self._lock = self._env.rlock()
        self._closed = False
        self._last = Mark(0, 0, 0)
        self._first = 1
        self._first_sequence = 1
        self._incarnation = 0
        self._replicas = 1
        self._known_register: Register | None = None
        self._bookmark = self._last
        self.refresh()

    @property
    def incarnation(self) -> int:
        """Given when the stream was created: positions of another incarnation mean nothing here."""
        return self._incarnation

    @property
    def first(self) -> int:
        """The first position that can be read; `last + 1` when there is none."""
        return self._first

    @property
    def last(self) -> int:
        """The last position this program knows of; `refresh` asks for those of others."""
        return self._last.position

    @property
    def last_message(self) -> int:
        """The number of the last message that this program knows of."""
        return self._last.sequence

    def append(self, bodies: Sequence[Body], *, after: int | None = None) -> int:
        """Make all bodies durable on a majority of the servers, in order, and return the position of the last.

        All or none. Raises LogConflict when the log is beyond `after`, or beyond what this program knows of it: read on first. StoreFull;
        StoreClosed; LogUnavailable when no majority answers: then it is not known whether the bodies are there, and `refresh` tells once
        the servers answer.
        """
        with self._lock:
            self._refuse_if_closed()
            refuse_if_beyond(self.last, after)
            if not bodies:
                return self.last
            messages, end = messages_of(bodies, self._last)
            if len(messages) > MESSAGES_MAX:
                raise LogUnavailable(
                    f"{len(bodies)} entries make {len(messages):,} messages; a batch takes {MESSAGES_MAX:,}",
                    hint="write fewer points a call",
                )
            self._publish(messages, end)
            self._last = end
            self._streams.bus.tell(APPENDED, self._name.encode())
            return end.position

    def _publish(self, messages: list[bytes], end: Mark) -> None:
        """Publish until it is known that the messages are there, or that they are not and never will be."""
        until, before = self._env.elapsed_s() + PERSIST_S, self._last.sequence
        while True:
            batch = self._env.random_bytes(12).hex()  # a batch that a leader's death cut short cannot be taken up again
            try:
                answer = self._streams.publish(self._name, messages, after=before, batch=batch)
                error = answer.get("error")
                if error is None:
                    if answer.get("seq") == end.sequence:
                        return
                    raise LogCorrupt(
                        f"log {self._name!r} put an entry at {answer.get('seq')}, expected {end.sequence}",
                        hint="something else writes to it",
                    )
                reason = str(error.get("description"))
                if error.get("err_code") == WRONG_LAST:
                    if self._is_ours(messages, end):
                        return
                    there = self._state()["last_seq"]
                    if there < before:
                        there = self._look().sequence  # the leader lost its end: another is made to lead
                    if there > before:
                        raise LogConflict(f"another program appended to log {self._name!r} first", hint="read on, and try again")
                    reason = "an append that was begun is not settled yet"  # without a majority it is neither there nor not
                if error.get("err_code") == FULL:
                    raise StoreFull(
                        f"the log servers have no room for log {self._name!r}: {reason}", hint="give them more, or trim the log"
                    )
            except Silence as silence:
                reason = silence.reason
                self._refuse_if_deleted()
            if self._env.elapsed_s() >= until:
                raise LogUnavailable(
                    f"no majority of the log servers answers: {reason}", hint="whether this write is there will be known when they do"
                )
            self._streams.bus.wait(AGAIN_S)

    def _is_ours(self, messages: list[bytes], end: Mark) -> bool:
        """Tell whether an attempt that nobody acknowledged did add the messages: checksums are chained, so the last one tells of all."""
        return self._message(end.sequence) == messages[-1]

    def _refuse_if_deleted(self) -> None:
        try:
            answer = self._streams.api(f"STREAM.INFO.{STREAM}{self._name}", {})
        except Silence:
            return
        if answer.get("error", {}).get("err_code") == NO_STREAM:
            raise self._deleted()

    def _deleted(self) -> LogUnavailable:
        return LogUnavailable(f"log {self._name!r} was deleted on its servers", hint="restore it from a snapshot")

    def read(self, after: int) -> Iterator[tuple[int, memoryview]]:
        """Yield (position, body) for every entry after `after`, in order, up to the last one when the first is asked for.

        Raises LogCorrupt when `after + 1` was trimmed, or no server has an entry as it was written; FormatTooNew, LogUnavailable,
        StoreClosed.
        """
        self._refuse_if_closed()
        return self._read(after)

    def _read(self, after: int) -> Iterator[tuple[int, memoryview]]:
        last = self._look()
        if after >= last.position:
            return
        while True:
            if after + 1 < self._first:
                what = f"entries up to {self._first - 1} were trimmed; entry {after + 1} was asked for"
                raise LogCorrupt(what, hint="start from a snapshot that is newer")
            try:
                mark = self._mark_before(after + 1)
                break
            except _Trimmed:  # while it was looked for
                self._look()
        pieces: list[memoryview] = []
        for sequence, message in self._messages_after(mark, last.sequence):
            head = decode_head(message, self._name, sequence)
            pieces.append(memoryview(message)[HEADER.size :])
            if head.part + 1 == head.parts:
                body = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
                pieces = []
                if len(body) != head.length:
                    lacking = f"entry {head.position} of log {self._name!r} has {len(body):,} bytes of {head.length:,}"
                    raise LogCorrupt(lacking, hint="see whether another server has it")
                with self._lock:
                    self._bookmark = Mark(sequence, head.position, head.checksum)
                if head.position > after:
                    yield head.position, body

    def _messages_after(self, mark: Mark, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield checked messages in order, from any server; where it lags, or has not what was written, from a leader that has."""
        sequence, chain, idle = mark.sequence, mark.chain, 0
        while sequence < last:
            try:
                if idle < ASK_LEADER_AFTER:
                    found = self._fetch(sequence)
                else:
                    found = [(sequence + 1, self._of_a_sound_leader(partial(self._following, sequence, chain)))]
            except _Trimmed:
                self._look()  # so that who asked sees that it was
                raise
            before = sequence
            for number, message in found:
                if number > last or fault_of(message, number, sequence, chain, self._name) is not None:
                    break
                sequence, chain = number, decode_head(message, self._name, number).checksum
                yield number, message
            idle = 0 if sequence > before else idle + 1

    def _fetch(self, after: int) -> list[tuple[int, bytes]]:
        try:
            return self._streams.fetch(self._name, after)
        except Silence:
            self._streams.bus.wait(AGAIN_S)
            return []

    def _following(self, after: int, chain: int) -> bytes:
        """Return the message after a sequence from the leader. Raises LogCorrupt, _Trimmed."""
        message = self._there(after + 1)
        fault = fault_of(message, after + 1, after, chain, self._name)
        if fault is not None:
            raise fault
        return message

    def _of_a_sound_leader(self, ask: Callable[[], Told]) -> Told:
        """Ask the leader again while it has not what was written, then the next leader. Raises LogCorrupt when none has it, _Trimmed."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return ask()
            except _Trimmed:
                raise
            except LogCorrupt as fault:
                if attempt == AGAIN_MAX * (LEADERS_MAX if self._replicas > 1 else 1):
                    raise
                if attempt % AGAIN_MAX == 0:
                    self._env.record(LeaderSteppedAway(log=self._name, reason=fault.message))
                    self._streams.step_away(f"{STREAM}{self._name}")
                self._streams.bus.wait(AGAIN_S)

    def check_on(self, mark: Mark | None) -> tuple[Mark | None, LogCorrupt | None]:
        """Read a little further than a mark, from any one server; return how far that came, None at the end, and what was found wrong.

        mark: None = begin. Raises LogUnavailable, LogCorrupt, Silence.
        """
        if mark is None:
            self._look()
            if self._first_sequence > self._last.sequence:
                return None, None
            mark = Mark(self._first_sequence - 1, self._first - 1, self._head(self._first_sequence).chain)
        for number, message in self._streams.fetch(self._name, mark.sequence, bytes_max=CHECK_BYTES):
            fault = fault_of(message, number, mark.sequence, mark.chain, self._name)
            if fault is not None:
                self._look()
                return (None, None) if self._first_sequence > mark.sequence + 1 else (mark, fault)
            head = decode_head(message, self._name, number)
            mark = Mark(number, head.position, head.checksum)
        return (mark if mark.sequence < self._last.sequence else None), None

    def refresh(self) -> int:
        """Ask what others appended or trimmed since, and return `last`. Raises LogUnavailable, LogCorrupt."""
        self._look()
        return self.last

    def _look(self) -> Mark:
        """Ask how the log stands."""
        while True:
            with suppress(_Trimmed):
                return self._of_a_sound_leader(self._look_once)

    def _state(self) -> dict[str, Any]:
        answer = self._streams.persist(f"STREAM.INFO.{STREAM}{self._name}", {})
        if "error" in answer:
            raise self._deleted()
        self._replicas = answer["config"].get("num_replicas", 1)
        state: dict[str, Any] = answer["state"] | {"metadata": answer["config"].get("metadata", {})}
        return state

    def _look_once(self) -> Mark:
        self._refuse_if_closed()
        known = self._last.sequence  # before the servers are asked: an append beside may have moved it when they have answered
        state = self._state()
        with self._lock:
            self._incarnation = int(state["metadata"].get("paradox.incarnation", 1))
            if state["first_seq"] > self._first_sequence and state["first_seq"] - 1 > self._trimmed()[0]:
                raise LogCorrupt(
                    f"log {self._name!r} begins at message {state['first_seq']} on its leader, which nobody trimmed",
                    hint="a server lost the beginning: step it away and see whether another has it",
                )
            if state["first_seq"] != self._first_sequence and state["messages"]:
                self._first_sequence, self._first = state["first_seq"], self._head(state["first_seq"]).position
            if state["last_seq"] > self._last.sequence:
                head = self._head(state["last_seq"])
                self._last = Mark(state["last_seq"], head.position, head.checksum)
            elif state["last_seq"] < known:
                raise LogCorrupt(
                    f"log {self._name!r} ends at message {state['last_seq']}, but {known} was there",
                    hint="a server lost what it had acknowledged: step it away and see whether another has it",
                )
            return self._last

    def _head(self, sequence: int) -> Head:
        return decode_head(self._there(sequence), self._name, sequence)

    def _there(self, sequence: int) -> bytes:
        """Return one message from the stream's leader. Raises LogCorrupt when it has none, _Trimmed."""
        message = self._message(sequence)
        if message is not None:
            return message
        if sequence < self._state()["first_seq"] and sequence <= self._trimmed()[0]:
            raise _Trimmed(f"message {sequence} of log {self._name!r} was trimmed", hint="start from a snapshot that is newer")
        raise LogCorrupt(f"log {self._name!r} has lost message {sequence}", hint="see whether another server has it")

    def _message(self, sequence: int) -> bytes | None:
        """Return one message from the stream's leader, None when it has none."""
        answer = self._streams.persist(f"STREAM.MSG.GET.{STREAM}{self._name}", {"seq": sequence})
        return None if "error" in answer else base64.b64decode(answer["message"].get("data", ""))

    def _mark_before(self, position: int) -> Mark:
        """Return the place just before the first message of an entry that is there. Cost: a look at log2(messages) of them at most."""
        with self._lock:
            for known in (self._bookmark, self._last):
                if known.position == position - 1 and known.sequence >= self._first_sequence - 1:
                    return known
            low, high = self._first_sequence, self._last.sequence
        while low < high:
            middle = (low + high) // 2
            if self._of_a_sound_leader(partial(self._head, middle)).position < position:
                low = middle + 1
            else:
                high = middle
        return Mark(low - 1, position - 1, self._of_a_sound_leader(partial(self._head, low)).chain)

    def trim(self, through: int) -> None:
        """Forget entries up to `through`; the last one stays, since it says where the log stands. Raises LogUnavailable, StoreClosed."""
        while self._look().position > self._first and through >= self._first:
            with suppress(_Trimmed):
                mark = self._mark_before(min(through, self.last - 1) + 1)
                self._note_trimmed(mark.sequence)
                self._streams.persist(f"STREAM.PURGE.{STREAM}{self._name}", {"seq": mark.sequence + 1})

    def _trimmed(self) -> tuple[int, int]:
        """Return the last message that was or will be trimmed, 0 = none, and the register's revision of that."""
        try:
            value, revision = self._register().get(f"{TRIMMED}.{self._name}")
        except KeyError:
            return 0, 0
        return int(value), revision

    def _note_trimmed(self, sequence: int) -> None:
        """Say that messages up to this one will be trimmed, unless another program said more."""
        while (told := self._trimmed())[0] < sequence:
            with suppress(LogConflict):
                self._register().put(f"{TRIMMED}.{self._name}", b"%d" % sequence, revision=told[1])

    def _register(self) -> Register:
        if self._known_register is None:
            self._known_register = Register(self._streams, replicas=self._replicas)
        return self._known_register

    def close(self) -> None:
        """Take no more calls; the connection stays. Safe to call twice."""
        self._closed = True

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreClosed("the log was closed", hint="open the database again")
