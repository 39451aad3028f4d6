"""RealDisk: the Disk of a POSIX system."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from paradox.ports.disk import AppendFile, FileState, ReadFile
from paradox.ports.log import Buffer

PIECES_PER_CALL_MAX = 1024
"""IOV_MAX of Linux and macOS."""
NOT_OFFERED = frozenset((errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS))
"""What file systems without hard links, or without syncable folders, answer."""

if sys.platform == "darwin":
    import fcntl

    def _sync(descriptor: int) -> None:
        # fsync leaves the bytes in the drive's cache there
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)

else:
    _sync = os.fdatasync


class RealDisk:
    """Files of this machine. Thread-safe; the files it opens to be written are for one thread at a time."""

    def open(self, path: Path) -> ReadFile:
        """Open a file for reading. Raises FileNotFoundError."""
        return _ReadFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def create(self, path: Path) -> AppendFile:
        """Make an empty file. Raises FileExistsError."""
        return _AppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))

    def extend(self, path: Path) -> AppendFile:
        """Open a file to write at its end. Raises FileNotFoundError."""
        return _AppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def state(self, path: Path) -> FileState:
        """Return a file's state. Raises FileNotFoundError, IsADirectoryError."""
        found = os.stat(path)  # polled: faster than Path.stat
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        return FileState(found.st_size, found.st_mtime_ns)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; a folder's name ends with '/'. Raises FileNotFoundError, NotADirectoryError."""
        with os.scandir(folder) as entries:
            return sorted(entry.name + "/" if entry.is_dir() else entry.name for entry in entries)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and its missing parents, durably. No error when it is there."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        if not missing:
            # whoever made it may have died before it was durable; a parent that is not ours to open is not ours to sync
            with suppress(PermissionError):
                self.sync_folder(folder.parent)
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            self.sync_folder(each.parent)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in `folder` are on disk, where the file system can promise that."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NOT_OFFERED:
                raise
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing the file that had it."""
        source.replace(target)

    def publish(self, source: Path, target: Path) -> None:
        """Give a file another name if that is free. Raises FileExistsError."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NOT_OFFERED:
                raise
            # no hard links here (FAT, some network mounts): check and move; the folder has one writer
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "file exists", str(target)) from None
            source.replace(target)
        else:
            with suppress(OSError):  # published all the same
                source.unlink()

    def remove(self, path: Path) -> None:
        """Remove a file's name. Raises FileNotFoundError."""
        path.unlink()


class _ReadFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        found = os.pread(self._descriptor, size, offset)
        if len(found) == size or not found:
            return found
        parts = [found]  # a signal, or Linux's bound of 2 GiB a call, may end a read early
        while found and (missing := size - sum(map(len, parts))):
            found = os.pread(self._descriptor, missing, offset + size - missing)
            parts.append(found)
        return b"".join(parts)

    def map(self) -> memoryview:
        size = os.fstat(self._descriptor).st_size
        return memoryview(mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ) if size else b"")

    def close(self) -> None:
        os.close(self._descriptor)


class _AppendFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._opener = os.getpid()

    def append(self, pieces: Sequence[Buffer]) -> None:
        self._refuse_forks()
        waiting = list(pieces)
        while waiting:
            chunk = waiting[:PIECES_PER_CALL_MAX]
            written = os.writev(self._descriptor, chunk)
            if not written and any(map(len, chunk)):
                raise OSError(errno.EIO, "the system wrote nothing")
            taken = 0
            for piece in chunk:
                size = memoryview(piece).nbytes
                if written < size:
                    waiting[taken] = memoryview(piece).cast("B")[written:]
                    break
                written -= size
                taken += 1
            del waiting[:taken]

    def truncate(self, size: int) -> None:
        self._refuse_forks()
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        _sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _refuse_forks(self) -> None:
        # a forked child shares the descriptor and the lock, but not what the parent writes from then on
        if os.getpid() != self._opener:
            raise PermissionError(errno.EPERM, "it was opened before a fork, and belongs to the parent")
