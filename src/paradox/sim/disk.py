"""SimDisk: a real disk as one program of a world uses it: it may be slow, and a power cut takes what was not synced."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from paradox.objects.disk import RealDisk
from paradox.ports.disk import AppendFile, FileState, ReadFile
from paradox.ports.log import Buffer
from paradox.sim.loop import Loop

SYNC_S, SLOW = 0.002, 100.0
"""How long a sync takes, and how many times as long on a slow disk."""


class SimDisk:
    """See `ports.disk.Disk`. Files lie in a real folder, since native indexes map them."""

    def __init__(self, loop: Loop, *, syncs: bool = True) -> None:
        """syncs: as it should be; without it a power cut takes what was synced too."""
        self.slow = False
        self._loop = loop
        self._disk = RealDisk()
        self._syncs = syncs
        self._unsynced: dict[Path, int] = {}

    def cut_power(self, dice: random.Random) -> None:
        """Take any part of what was not synced, from the end of files."""
        for path, synced in self._unsynced.items():
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                if size > synced:
                    with path.open("r+b") as file:
                        file.truncate(dice.randint(synced, size))
        self._unsynced.clear()

    def synced(self, path: Path) -> None:
        """Note that a file is on disk, which takes its time."""
        if self._syncs:
            self._unsynced.pop(path, None)
        self._wait()

    def _wait(self) -> None:
        self._loop.sleep(SYNC_S * (SLOW if self.slow else 1.0) * self._loop.dice.random())

    def open(self, path: Path) -> ReadFile:
        """Open a file for reading."""
        return self._disk.open(path)

    def create(self, path: Path) -> AppendFile:
        """Make an empty file."""
        return _SimFile(self, path, self._disk.create(path), self._unsynced)

    def extend(self, path: Path) -> AppendFile:
        """Open a file to write at its end."""
        return _SimFile(self, path, self._disk.extend(path), self._unsynced)

    def state(self, path: Path) -> FileState:
        """Return a file's state."""
        return self._disk.state(path)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder."""
        return self._disk.names(folder)

    def make_folder(self, folder: Path) -> None:
        """Make a folder."""
        self._disk.make_folder(folder)

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on disk. Names are not lost here: that is for tests of one disk."""
        self._wait()

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name."""
        self._disk.rename(source, target)
        self._moved(source, target)

    def publish(self, source: Path, target: Path) -> None:
        """Give a file another name if that is free."""
        self._disk.publish(source, target)
        self._moved(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file's name."""
        self._disk.remove(path)
        self._unsynced.pop(path, None)

    def _moved(self, source: Path, target: Path) -> None:
        if source in self._unsynced:
            self._unsynced[target] = self._unsynced.pop(source)


class _SimFile:
    def __init__(self, disk: SimDisk, path: Path, file: AppendFile, unsynced: dict[Path, int]) -> None:
        self._disk = disk
        self._path = path
        self._file = file
        unsynced.setdefault(path, path.stat().st_size)

    def append(self, pieces: Sequence[Buffer]) -> None:
        self._file.append(pieces)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def sync(self) -> None:
        self._disk.synced(self._path)

    def close(self) -> None:
        self._file.close()
