"""WriterLock: one writer a folder, among all programs of this machine and within each."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from paradox.errors import StoreLocked
from paradox.ports.disk import READ_ONLY, read_failure, write_failure
from paradox.ports.env import Env

LOCK_FILE = "LOCK"
LOCK_BYTES_MAX = 4096
SINCE_US_MAX = 253_402_300_799_999_999
"""The last microsecond of the year 9999, after which datetime has no words."""


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock, as the lock file says in JSON. since_us: microseconds since 1970."""

    pid: int
    host: str
    since_us: Annotated[int, msgspec.Meta(ge=0, le=SINCE_US_MAX)]


class WriterLock:
    """The right to write to one folder, until `release` or the end of the program, however it ends.

    The lock is flock's, on the file LOCK: the kernel frees it on kill -9 too. What the file says only names the holder; the file
    itself stays, since a lock on a removed file would exclude nobody.
    """

    def __init__(self, descriptor: int) -> None:
        """For `acquire`, which see."""
        self._descriptor = descriptor
        self._holder = os.getpid()

    @classmethod
    def acquire(cls, folder: Path, *, env: Env) -> WriterLock:
        """Take the lock on `folder`, which must exist.

        Raises StoreLocked naming the holder, StoreReadOnly when the folder cannot be written, StoreUnreadable when there is none.
        """
        path = folder / LOCK_FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise (write_failure if error.errno in READ_ONLY else read_failure)(error, f"the lock of {folder}") from None
        try:
            _lock(descriptor, folder)
            writer = Writer(pid=os.getpid(), host=socket.gethostname(), since_us=env.now_us())
            with suppress(OSError):  # a full disk: whoever wants to make room must be let in, named or not
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, msgspec.json.encode(writer) + b"\n", 0)
        except OSError as error:
            os.close(descriptor)
            raise write_failure(error, f"the lock of {folder}") from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let the next writer in. Safe to call twice, and in a forked child, where the lock stays with the parent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with suppress(OSError):
            if os.getpid() == self._holder:
                os.ftruncate(descriptor, 0)
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def read_writer(folder: Path) -> Writer | None:
    """Return who wrote the lock file of `folder` last and has not released it, alive or not; None when nobody says so."""
    try:
        return msgspec.json.decode((folder / LOCK_FILE).read_bytes()[:LOCK_BYTES_MAX], type=Writer)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):  # a ValidationError is a DecodeError
        return None


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise
        raise StoreLocked(
            f"{folder} is open for writing by {_described(read_writer(folder))}; one writer at a time is allowed",
            hint="close it there first, open it with read_only=True for reading, or let `paradox serve` share it",
        ) from None


def _described(writer: Writer | None) -> str:
    if writer is None:
        return "another program"
    since = datetime.fromtimestamp(writer.since_us / 1e6, UTC).isoformat(timespec="seconds")
    here = writer.pid == os.getpid() and writer.host == socket.gethostname()
    return f"process {writer.pid} on {writer.host}{' (this very program)' if here else ''} since {since}"
