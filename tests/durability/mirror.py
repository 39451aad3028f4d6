"""A disk of real files that knows what of them a power cut would leave, and a database on it whose upkeep runs when it is told to.

Segments are built with plain files and memory-mapped, so a disk in memory will not do: each operation is done for real, and beside it
in `disks.SimulatedDisk`. Files that nobody wrote through the disk count as not synced at all until somebody syncs them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from disks import Inode, Loss, SimulatedDisk
from paradox.model.schema import Limits
from paradox.node.embedded import EmbeddedDatabase
from paradox.node.held import HeldCollection
from paradox.node.upkeep import Upkeep
from paradox.objects.disk import RealDisk
from paradox.ports.disk import AppendFile, FileState, ReadFile
from paradox.ports.log import Buffer
from worlds import TestEnv


class HastyDisk(RealDisk):
    """A RealDisk that waits for nothing, for wrecks that are looked at once."""

    def create(self, path: Path) -> AppendFile:
        return _HastyFile(super().create(path))

    def extend(self, path: Path) -> AppendFile:
        return _HastyFile(super().extend(path))

    def sync_folder(self, folder: Path) -> None:
        pass


class _HastyFile:
    def __init__(self, file: AppendFile) -> None:
        self.append, self.truncate, self.close = file.append, file.truncate, file.close

    def sync(self) -> None:
        pass


class MirroredDisk:
    """See above. root: the database's folder. after: hears of each operation once it is done."""

    def __init__(self, root: Path, after: Callable[[str], None]) -> None:
        self._root = root
        self._real = HastyDisk()
        self._after = after
        there = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        self._shadow = SimulatedDisk(there, after=after)
        self._shadow._folders |= {root, *root.parents}
        self._gone: list[Path] = []

    def after_power_cut(self, loss: Loss, dice: random.Random) -> dict[Path, bytes]:
        """Return what the disk may hold if the power fails now, by path below the root."""
        left = self._shadow.after_power_cut(loss, dice)
        for folder in self._gone:  # a folder's new name is on disk or not, with all that is in it
            if loss in ("nothing", "torn") or (loss == "random" and dice.random() < 0.5):
                left = {path: content for path, content in left.items() if folder not in path.parents}
        if loss != "everything":
            left |= self._strays(dice) | left
        return {path.relative_to(self._root): content for path, content in sorted(left.items())}

    def _strays(self, dice: random.Random) -> dict[Path, bytes]:
        """Return what may be left of the files that were never meant to last."""
        known = self._shadow._seen
        strays = [path for path in sorted(self._root.rglob("*")) if path.is_file() and path not in known]
        contents = [path.read_bytes() for path in strays]
        return {path: content[: dice.randrange(len(content) + 1)] for path, content in zip(strays, contents, strict=True)}

    def open(self, path: Path) -> ReadFile:
        return self._real.open(path)

    def state(self, path: Path) -> FileState:
        return self._real.state(path)

    def names(self, folder: Path) -> list[str]:
        return self._real.names(folder)

    def create(self, path: Path) -> AppendFile:
        return _MirroredFile(self._real.create(path), self._shadow.create(path))

    def extend(self, path: Path) -> AppendFile:
        self._meet(path)
        return _MirroredFile(self._real.extend(path), self._shadow.extend(path))

    def make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._shadow.make_folder(folder)

    def sync_folder(self, folder: Path) -> None:
        self._notice_moved_folders()
        self._shadow._folders |= {folder, *folder.parents}
        for gone in [gone for gone in self._gone if gone.parent == folder]:
            self._gone.remove(gone)
            for names in (self._shadow._seen, self._shadow._durable):
                for path in [path for path in names if gone in path.parents]:
                    del names[path]
            self._shadow._unsynced = [(path, inode) for path, inode in self._shadow._unsynced if gone not in path.parents]
        self._shadow.sync_folder(folder)

    def rename(self, source: Path, target: Path) -> None:
        self._meet(source)
        self._real.rename(source, target)
        self._shadow.rename(source, target)

    def publish(self, source: Path, target: Path) -> None:
        self._meet(source)
        self._real.publish(source, target)
        self._shadow.publish(source, target)

    def remove(self, path: Path) -> None:
        self._meet(path)
        self._real.remove(path)
        self._shadow.remove(path)

    def _meet(self, path: Path) -> None:
        """Take note of a file that was written past this disk: nothing of it is durable yet."""
        if path not in self._shadow._seen and path.is_file():
            content = path.read_bytes()
            inode = self._shadow._seen[path] = Inode(bytearray(content), b"", [(0, content)])
            self._shadow._unsynced.append((path, inode))

    def _notice_moved_folders(self) -> None:
        """A collection is dropped by renaming its folder."""
        folders = {path.parents[-len(self._root.parts) - 2] for path in self._shadow._seen if len(path.parts) > len(self._root.parts) + 2}
        moved = [folder for folder in sorted(folders) if not folder.exists() and folder not in self._gone]
        if moved:
            self._gone += moved
            self._after("rename folder")


class _MirroredFile:
    def __init__(self, real: AppendFile, shadow: AppendFile) -> None:
        self._real = real
        self._shadow = shadow

    def append(self, pieces: Sequence[Buffer]) -> None:
        self._real.append(pieces)
        self._shadow.append(pieces)

    def truncate(self, size: int) -> None:
        self._real.truncate(size)
        self._shadow.truncate(size)

    def sync(self) -> None:
        self._shadow.sync()

    def close(self) -> None:
        self._real.close()
        self._shadow.close()


class StillWorker:
    """A Worker without a thread: it works when it is told to."""

    def __init__(self, env: Any, **_: Any) -> None:
        self._upkeeps: dict[str, Upkeep] = {}
        self.working = self.failure = ""

    def watch(self, held: HeldCollection, files: Any) -> None:
        self._upkeeps[held.name] = Upkeep(held, files)

    def forget(self, held: HeldCollection) -> None:
        self._upkeeps.pop(held.name, None)

    def work(self) -> bool:
        """Do one step in each collection, and tell whether there was something to do."""
        worked = [self._upkeeps[name].step(idle=True) for name in sorted(self._upkeeps)]
        return any(worked)

    def settled(self) -> bool:
        return True

    def close(self) -> None:
        self._upkeeps.clear()


def still_database(root: Path, *, disk: Any = None, env: TestEnv | None = None, **options: Any) -> EmbeddedDatabase:
    """Open a database without background work; `.worker.work()` does a step of it."""
    with (
        patch("paradox.node.embedded.Worker", StillWorker),
        patch("paradox.node.embedded.RealDisk", (lambda: disk) if disk is not None else RealDisk),
        patch("paradox.node.embedded.RealEnv", lambda: env or TestEnv()),
    ):
        return EmbeddedDatabase(root, **{"read_only": False, "origin": "", "limits": Limits()} | options)
