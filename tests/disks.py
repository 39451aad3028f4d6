"""Disks for tests: one that forgets what was not synced when its power is cut, and one whose n-th operation fails."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from paradox.ports.disk import AppendFile, Disk, FileState, ReadFile
from paradox.ports.log import Buffer

SECTOR = 512
Loss = Literal["everything", "nothing", "torn", "random"]
LOSSES: tuple[Loss, ...] = ("everything", "nothing", "torn", "random")


@dataclass(eq=False)
class Inode:
    """A file without its names. `unsynced` holds what a power cut may undo: (offset, bytes) written, or (size, None) cut."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    changes: int = 0


class SimulatedDisk:
    """A Disk in memory that knows what a real one would still hold after a power cut. `after` hears of each operation once it is done."""

    def __init__(self, files: dict[Path, bytes] | None = None, *, after: Callable[[str], None] = lambda _: None) -> None:
        self._seen = {path: Inode(bytearray(content), content) for path, content in (files or {}).items()}
        self._durable = dict(self._seen)
        self._unsynced: list[tuple[Path, Inode | None]] = []
        self._folders = {Path("/"), *(parent for path in self._seen for parent in path.parents)}
        self.after = after
        self.sync_fails = False

    def contents(self) -> dict[Path, bytes]:
        return {path: bytes(inode.seen) for path, inode in sorted(self._seen.items())}

    def after_power_cut(self, loss: Loss, dice: random.Random) -> dict[Path, bytes]:
        """Return what the disk may hold if the power fails now: any subset of what was not synced."""
        names = dict(self._durable)
        for path, inode in self._unsynced:
            if loss in ("nothing", "torn") or (loss == "random" and dice.random() < 0.5):
                names.pop(path, None)
                if inode is not None:
                    names[path] = inode
        return {path: _survivor(inode, loss, dice) for path, inode in names.items()}

    def open(self, path: Path) -> ReadFile:
        return _SimulatedReadFile(self._inode(path))

    def create(self, path: Path) -> AppendFile:
        if path in self._seen:
            raise FileExistsError(errno.EEXIST, "file exists")
        self._need_folder(path.parent)
        inode = self._seen[path] = Inode()
        self._unsynced.append((path, inode))
        self.after("create")
        return _SimulatedAppendFile(self, inode)

    def extend(self, path: Path) -> AppendFile:
        return _SimulatedAppendFile(self, self._inode(path))

    def state(self, path: Path) -> FileState:
        inode = self._inode(path)
        return FileState(len(inode.seen), inode.changes)

    def names(self, folder: Path) -> list[str]:
        if folder in self._seen:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        self._need_folder(folder)
        files = [path.name for path in self._seen if path.parent == folder]
        return sorted(files + [path.name + "/" for path in self._folders if path.parent == folder != path])

    def make_folder(self, folder: Path) -> None:
        if folder in self._seen:
            raise FileExistsError(errno.EEXIST, "file exists")
        self._folders |= {folder, *folder.parents}
        self.after("make_folder")

    def sync_folder(self, folder: Path) -> None:
        self._need_folder(folder)
        self._fail_sync()
        for path, inode in self._unsynced:
            if path.parent == folder:
                self._durable.pop(path, None)
                if inode is not None:
                    self._durable[path] = inode
        self._unsynced = [(path, inode) for path, inode in self._unsynced if path.parent != folder]
        self.after("sync_folder")

    def rename(self, source: Path, target: Path) -> None:
        self._move(source, target)

    def publish(self, source: Path, target: Path) -> None:
        self._inode(source)
        if target in self._seen or target in self._folders:
            raise FileExistsError(errno.EEXIST, "file exists")
        self._move(source, target)

    def remove(self, path: Path) -> None:
        self._inode(path)
        del self._seen[path]
        self._unsynced.append((path, None))
        self.after("remove")

    def _move(self, source: Path, target: Path) -> None:
        inode = self._inode(source)
        self._need_folder(target.parent)
        del self._seen[source]
        self._seen[target] = inode
        self._unsynced += [(target, inode), (source, None)]
        self.after("rename")

    def _inode(self, path: Path) -> Inode:
        if path in self._folders:
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if path not in self._seen:
            raise FileNotFoundError(errno.ENOENT, "no such file or directory")
        return self._seen[path]

    def _need_folder(self, folder: Path) -> None:
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, "no such file or directory")

    def _fail_sync(self, inode: Inode | None = None) -> None:
        if not self.sync_fails:
            return
        if inode is not None:
            inode.unsynced.clear()  # as Linux does: what could not be written counts as written, and never will be
        raise OSError(errno.EIO, "input/output error")


class _SimulatedReadFile:
    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._inode.seen[offset : offset + size])

    def map(self) -> memoryview:
        return memoryview(bytes(self._inode.seen))

    def close(self) -> None:
        del self._inode


class _SimulatedAppendFile:
    def __init__(self, disk: SimulatedDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def append(self, pieces: Sequence[Buffer]) -> None:
        content = b"".join(pieces)
        self._inode.unsynced.append((len(self._inode.seen), content))
        self._inode.seen += content
        self._inode.changes += 1
        self._disk.after("append")

    def truncate(self, size: int) -> None:
        self._inode.unsynced.append((size, None))
        _cut(self._inode.seen, size)
        self._inode.changes += 1
        self._disk.after("truncate")

    def sync(self) -> None:
        self._disk._fail_sync(self._inode)
        self._inode.durable = bytes(self._inode.seen)
        self._inode.unsynced.clear()
        self._disk.after("sync")

    def close(self) -> None:
        del self._inode


def _survivor(inode: Inode, loss: Loss, dice: random.Random) -> bytes:
    content = bytearray(inode.durable)
    for number, (offset, written) in enumerate(inode.unsynced):
        last = number == len(inode.unsynced) - 1
        if loss == "everything" or (loss == "random" and dice.random() < 0.3):
            continue
        if written is None:
            _cut(content, offset)
        elif loss == "torn" and last:
            _write(content, offset, written[: dice.randrange(len(written) + 1)])
        elif loss == "random" and dice.random() < 0.7:
            _write_some_sectors(content, offset, written, dice)
        else:
            _write(content, offset, written)
    return bytes(content)


def _write_some_sectors(content: bytearray, offset: int, written: bytes, dice: random.Random) -> None:
    end = offset + len(written)
    if dice.random() < 0.5:  # the size was on disk before the bytes were
        _cut(content, max(end, len(content)))
    while offset < end:
        stop = min(end, (offset // SECTOR + 1) * SECTOR)
        part, written = written[: stop - offset], written[stop - offset :]
        if dice.random() < 0.6:
            _write(content, offset, part)
        offset = stop


def _write(content: bytearray, offset: int, written: bytes) -> None:
    if written:
        _cut(content, max(len(content), offset))
        content[offset : offset + len(written)] = written


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content += bytes(size - len(content))


class FaultyDisk:
    """A Disk whose n-th (from 1) `operation` fails with `error`, and so do those after it, `times` in all.

    Operations are the names of methods of Disk and AppendFile. A failing append writes the first `written` bytes first.
    """

    def __init__(self, disk: Disk, operation: str, error: int, *, nth: int = 1, times: int = 1, written: int = 0) -> None:
        self._disk = disk
        self._operation = operation
        self._error = error
        self._waits = nth - 1
        self._times = times
        self._written = written

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)

        def call(*arguments: Any) -> Any:
            self.meet(name)
            opened = method(*arguments)
            return _FaultyFile(self, opened) if name in ("create", "extend") else opened

        return call

    def meet(self, operation: str, before: Callable[[int], None] = lambda _: None) -> None:
        if operation != self._operation:
            return
        if self._waits > 0:
            self._waits -= 1
        elif self._times > 0:
            self._times -= 1
            before(self._written)
            raise OSError(self._error, os.strerror(self._error))


class _FaultyFile:
    def __init__(self, disk: FaultyDisk, file: AppendFile) -> None:
        self._disk = disk
        self._file = file

    def append(self, pieces: Sequence[Buffer]) -> None:
        self._disk.meet("append", lambda written: self._file.append([b"".join(pieces)[:written]]) if written else None)
        self._file.append(pieces)

    def truncate(self, size: int) -> None:
        self._disk.meet("truncate")
        self._file.truncate(size)

    def sync(self) -> None:
        self._disk.meet("sync")
        self._file.sync()

    def close(self) -> None:
        self._file.close()
