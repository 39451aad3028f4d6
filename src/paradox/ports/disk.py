"""Disk: the few file operations that durable code needs, and what their failures mean to a user.

Everything durable goes through a Disk, so that a test can cut the power after any operation or let the n-th one fail.
Operations raise OSError as the system does; the caller, who knows what was being done, translates with `write_failure` or
`read_failure`.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from paradox.errors import StoreFull, StoreReadOnly, StoreUnreadable
from paradox.ports.log import Buffer

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
READ_ONLY = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))


class FileState(msgspec.Struct, frozen=True):
    """What changes whenever a file changes: its size in bytes and the time of its last change, in nanoseconds."""

    size: int
    changed_ns: int


class ReadFile(Protocol):
    """A file open for reading. It stays readable after its name was removed."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, or fewer where the file ends."""
        ...

    def map(self) -> memoryview:
        """Return the whole file as it is now, read-only, without copying it. The view outlives `close`."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class AppendFile(Protocol):
    """A file open for writing at its end."""

    def append(self, pieces: Sequence[Buffer]) -> None:
        """Write all pieces, one after the other. On an error some of their bytes may have been written."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def sync(self) -> None:
        """Return when the file's bytes and size are on disk. Its name is made durable by `Disk.sync_folder`."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class Disk(Protocol):
    """Folders and files. Every adapter passes `tests/conformance/disk.py`."""

    def open(self, path: Path) -> ReadFile:
        """Open a file for reading. Raises FileNotFoundError."""
        ...

    def create(self, path: Path) -> AppendFile:
        """Make an empty file. Raises FileExistsError."""
        ...

    def extend(self, path: Path) -> AppendFile:
        """Open a file to write at its end. Raises FileNotFoundError."""
        ...

    def state(self, path: Path) -> FileState:
        """Return a file's state; costs one system call. Raises FileNotFoundError, IsADirectoryError."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; a folder's name ends with '/'. Raises FileNotFoundError, NotADirectoryError."""
        ...

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its missing parents, durably. No error when it is there."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in `folder`, new, moved and removed, are on disk."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing the file that had it."""
        ...

    def publish(self, source: Path, target: Path) -> None:
        """Give a file another name if that is free. Raises FileExistsError. A crash may leave both names."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file's name. Raises FileNotFoundError."""
        ...


def write_failure(error: OSError, what: str) -> StoreFull | StoreReadOnly | StoreUnreadable:
    """Return the error a user meets when `what` could not be written."""
    if error.errno in FULL:
        return StoreFull(f"the disk is full: {what} could not be written, and nothing was changed", hint="free some space and try again")
    if error.errno in READ_ONLY:
        return StoreReadOnly(
            f"{what} could not be written: {_reason(error)}",
            hint="open with read_only=True for reading, or make the folder writable",
        )
    return StoreUnreadable(f"{what} could not be written: {_reason(error)}", hint="check the disk and its cables, then the system's log")


def read_failure(error: OSError, what: str) -> StoreUnreadable:
    """Return the error a user meets when `what` could not be read."""
    return StoreUnreadable(f"{what} could not be read: {_reason(error)}", hint="check the path, that you may read it, and the disk")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
