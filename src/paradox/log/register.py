"""Register: small values by key in a stream of JetStream, changed only by who knows the value they change.

The newest message of a key's subject is its value, behind a checksum; a message's sequence is the revision.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from zlib import crc32

from paradox.errors import LogConflict, LogCorrupt, LogUnavailable
from paradox.log.streams import AGAIN_S, PERSIST_S, REPLY_S, WRONG_LAST, Streams
from paradox.ports.bus import Silence

NAME, SUBJECT = "PARADOX_REGISTER", "paradox.register"
WRONG_LAST_OF_SUBJECT = 10164
CHECK_BYTES = 4
VALUE_BYTES_MAX = 1 << 20


class Register:
    """Keys and values, kept by several servers. Thread-safe."""

    def __init__(self, streams: Streams, *, replicas: int, timeout_s: float = PERSIST_S) -> None:
        """Open the register, and create it when there is none. Raises LogUnavailable when that cannot be done for so long."""
        self._streams = streams
        streams.create(
            {
                "name": NAME,
                "subjects": [f"{SUBJECT}.>"],
                "storage": "file",
                "retention": "limits",
                "discard": "old",
                "max_msgs_per_subject": 1,
                "num_replicas": replicas,
                "max_msg_size": VALUE_BYTES_MAX,
            },
            timeout_s=timeout_s,
        )

    def get(self, key: str) -> tuple[bytes, int]:
        """Return a key's value and revision. Raises KeyError when it has none, LogCorrupt, LogUnavailable."""
        answer = self._streams.persist(f"STREAM.MSG.GET.{NAME}", {"last_by_subj": _subject(key)})
        if "error" in answer:
            raise KeyError(key)
        stored, revision = base64.b64decode(answer["message"].get("data", "")), int(answer["message"]["seq"])
        value = stored[CHECK_BYTES:]
        if len(stored) < CHECK_BYTES or stored[:CHECK_BYTES] != _check(value):
            raise LogCorrupt(f"the register's value of {key!r} is not what was written", hint="see whether another log server has it")
        return value, revision

    def await_value(self, key: str) -> bytes:
        """Return the value of a key that some program has set first: it may have been preferred before it was there.

        Raises LogUnavailable when it does not come.
        """
        env = self._streams.env
        until = env.elapsed_s() + PERSIST_S
        while True:
            with suppress(KeyError):
                return self.get(key)[0]
            if env.elapsed_s() >= until:
                raise LogUnavailable(f"the log servers prefer another value of {key!r} and do not have it", hint="look at their logs")
            self._streams.bus.wait(AGAIN_S)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that start with a whole word, such as 'collections', and a dot, sorted. Raises LogUnavailable."""
        answer = self._streams.persist(f"STREAM.INFO.{NAME}", {"subjects_filter": f"{SUBJECT}.{prefix}.>"})
        found = (answer["state"].get("subjects") or {}) if "error" not in answer else {}
        return sorted(_key(subject) for subject in found)

    def put(self, key: str, value: bytes, *, revision: int) -> int:
        """Set a key whose revision is still this one, 0 = it has no value. Return the new revision.

        Raises LogConflict when it is another one, LogUnavailable.
        """
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        env = self._streams.env
        until = env.elapsed_s() + PERSIST_S
        while True:
            try:
                answer = json.loads(self._streams.bus.request(_subject(key), _check(value) + value, headers=headers, timeout_s=REPLY_S))
                error = answer.get("error")
                if error is None:
                    return int(answer["seq"])
                reason = str(error.get("description"))
                if error.get("err_code") in (WRONG_LAST, WRONG_LAST_OF_SUBJECT):
                    return self._settled(key, value, revision)
            except Silence as silence:
                reason = silence.reason
            if env.elapsed_s() >= until:
                raise LogUnavailable(f"the log servers do not keep {key!r}: {reason}", hint="look at their logs")
            self._streams.bus.wait(AGAIN_S)

    def _settled(self, key: str, value: bytes, revision: int) -> int:
        """Return the revision of an attempt that nobody acknowledged but that was made. Raises LogConflict when there was none."""
        try:
            there, at = self.get(key)
        except KeyError:
            there, at = b"", 0
        if at > revision and there == value:
            return at
        raise LogConflict(f"another program changed {key!r} first", hint="look at it again")

    def delete(self, key: str, *, revision: int) -> None:
        """Forget a key if its revision is not newer than this one; no error when it has no value. Raises LogUnavailable."""
        self._streams.persist(f"STREAM.PURGE.{NAME}", {"filter": _subject(key), "seq": revision + 1})


def _subject(key: str) -> str:
    """Return the subject of a key: its first word, then the rest as one token."""
    word, _, rest = key.partition(".")
    return f"{SUBJECT}.{word}.{rest.replace('%', '%25').replace('.', '%2E')}"


def _key(subject: str) -> str:
    word, rest = subject.removeprefix(f"{SUBJECT}.").split(".")
    return f"{word}.{rest.replace('%2E', '.').replace('%25', '%')}"


def _check(value: bytes) -> bytes:
    return crc32(value).to_bytes(CHECK_BYTES, "little")
