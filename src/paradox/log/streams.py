"""Streams: what JetStream does for a log and a register, as requests over a bus to its servers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from paradox.errors import LogUnavailable
from paradox.ports.bus import Bus, Silence
from paradox.ports.env import Env

READ_MESSAGES, READ_BYTES = 256, 8 << 20  # fetched at a time
FIRST_REPLY_S, REPLY_S = 1.0, 5.0
"""How long an answer is waited for the first time, and the last: a stream that has just come answers nothing for a moment."""
PERSIST_S = 20.0
"""How long an append goes on trying while servers elect a leader; after kill -9 that takes up to eight seconds."""
AGAIN_S = 0.2
MOVE_AFTER_S = 12.0
"""After which another server is asked, for this one may be cut off: elections are over by then."""
WRONG_LAST, FULL, NO_STREAM, NO_MESSAGE, NO_PEERS = 10071, 10077, 10059, 10037, 10005
SUBJECT, STREAM = "paradox.log", "PARADOX_LOG_"
SEQUENCE = "Nats-Sequence"


class Streams:
    """The streams of NATS servers, over a bus to them. Thread-safe."""

    def __init__(self, bus: Bus, *, env: Env) -> None:
        self.bus = bus
        self.env = env

    def create(self, config: Mapping[str, Any], *, timeout_s: float = PERSIST_S) -> None:
        """Create a stream when there is none of its name. timeout_s: for each of both questions. Raises LogUnavailable."""
        if "error" in self.persist(f"STREAM.INFO.{config['name']}", {}, timeout_s=timeout_s):
            self.persist(f"STREAM.CREATE.{config['name']}", config, timeout_s=timeout_s)

    def logs(self) -> list[str]:
        """Return the names of all logs, sorted. Raises LogUnavailable."""
        found = self.persist("STREAM.NAMES", {}).get("streams") or []
        return sorted(name.removeprefix(STREAM) for name in found if name.startswith(STREAM))

    def api(self, verb: str, body: Mapping[str, Any], *, timeout_s: float = REPLY_S) -> dict[str, Any]:
        """Ask JetStream's API once. Raises Silence when nobody answers."""
        answer: dict[str, Any] = json.loads(self.bus.request(f"$JS.API.{verb}", json.dumps(body).encode(), timeout_s=timeout_s))
        return answer

    def persist(self, verb: str, body: Mapping[str, Any], *, timeout_s: float = PERSIST_S) -> dict[str, Any]:
        """Ask until somebody answers. Raises LogUnavailable when nobody has for so long."""
        until, move_s, reply_s = self.env.elapsed_s() + timeout_s, self.env.elapsed_s() + MOVE_AFTER_S, FIRST_REPLY_S
        while True:
            try:
                answer = self.api(verb, body, timeout_s=reply_s)
                error = answer.get("error")
                if error is None or error.get("err_code") in (NO_STREAM, NO_MESSAGE):
                    return answer
                reason = str(error.get("description"))
                lasting = error.get("code") in (400, 403, 404) and error.get("err_code") != NO_PEERS  # others pass: servers have just come
            except Silence as silence:
                reason, lasting, reply_s = silence.reason, False, min(2 * reply_s, REPLY_S)
            if not lasting and self.env.elapsed_s() > move_s:
                self.bus.move()
                move_s += MOVE_AFTER_S
            if lasting or self.env.elapsed_s() >= until:
                raise LogUnavailable(f"the log servers do not do {verb.split('.')[0].lower()}: {reason}", hint="look at their logs")
            self.bus.wait(AGAIN_S)

    def publish(self, name: str, messages: Sequence[bytes], *, after: int, batch: str) -> dict[str, Any]:
        """Publish messages as one atomic batch if `after` is the last sequence. Return the acknowledgement. Raises Silence."""
        condition = {"Nats-Expected-Last-Sequence": str(after)}
        headers: list[dict[str, str]] = [{}]
        if len(messages) > 1:
            headers = [{"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)} for number in range(1, len(messages) + 1)]
            headers[-1]["Nats-Batch-Commit"] = "1"
        headers[0] |= condition
        before = list(zip(messages[:-1], headers[:-1], strict=True))
        reply = self.bus.request(f"{SUBJECT}.{name}", messages[-1], headers=headers[-1], before=before, timeout_s=REPLY_S)
        return dict(json.loads(reply))

    def step_away(self, stream: str, *, preferred: str = "") -> None:
        """Ask the leader of a stream to let another server lead, a preferred one. Nothing happens when it does not answer."""
        with suppress(Silence):
            self.api(f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": preferred}} if preferred else {})

    def fetch(self, name: str, after: int, *, bytes_max: int = READ_BYTES) -> list[tuple[int, bytes]]:
        """Return some (sequence, message) after a sequence, from whichever server answers. It may lag. Raises Silence."""
        body = json.dumps({"seq": after + 1, "batch": READ_MESSAGES, "max_bytes": bytes_max}).encode()
        subject = f"$JS.API.DIRECT.GET.{STREAM}{name}"
        found = self.bus.collect(subject, body, until=lambda headers: SEQUENCE not in headers, timeout_s=REPLY_S)
        return [(int(headers[SEQUENCE]), message) for message, headers in found]
