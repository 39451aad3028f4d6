"""LocalStore: an ObjectStore in a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from paradox.errors import ObjectConflict, StoreReadOnly
from paradox.objects.names import check_object_name, taken
from paradox.ports.disk import Disk, read_failure, write_failure
from paradox.ports.log import Buffer

UNFINISHED = ".unfinished-"
"""How the name of a file that is being written begins; no part of an object's name may begin with '.'."""
NO_SUCH_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStore:
    """Each object is a file under `root`. An object appears under its name whole and durable, or not at all. Thread-safe.

    With read_only=True every change raises StoreReadOnly and nothing in the folder is touched.
    """

    def __init__(self, root: Path, disk: Disk, *, read_only: bool = False) -> None:
        self.root = root
        self._disk = disk
        self._read_only = read_only
        self._numbers = count(1)
        self._durable_folders: set[Path] = set()

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Store an object, durably, if the name is free. Cost: two syncs; four in a new folder.

        Raises NameInvalid, ObjectConflict when taken, StoreFull, StoreReadOnly, StoreUnreadable; then nothing was changed.
        """
        target = self.root / check_object_name(name)
        with self._writing(name):
            self._make_folder(target.parent)
            self._publish(self._write(target.parent, pieces), target, name)

    def get(self, name: str) -> bytes:
        """Return an object's bytes. Raises KeyError when there is none, NameInvalid, StoreUnreadable."""
        path = self.path(name)
        with _reading(path):
            try:
                size = self._disk.state(path).size
                file = self._disk.open(path)
            except FileNotFoundError:  # deleted since
                raise KeyError(name) from None
            try:
                return file.read(0, size)
            finally:
                file.close()

    def list(self, prefix: str = "") -> list[str]:
        """Return the names that start with `prefix`, sorted. Unfinished files are left out. Raises StoreUnreadable."""
        folder = prefix.rpartition("/")[0]
        if prefix.startswith("/") or "//" in prefix or any(part.startswith(".") for part in prefix.split("/")):
            return []
        return sorted(name for name in self._files(folder) if name.startswith(prefix) and not _is_hidden(name))

    def delete(self, name: str) -> None:
        """Remove an object, durably; no error when there is none. Raises NameInvalid, StoreReadOnly, StoreUnreadable."""
        target = self.root / check_object_name(name)
        with self._writing(name):
            try:
                self._disk.state(target)
            except NO_SUCH_FILE:
                return
            self._disk.remove(target)
            self._disk.sync_folder(target.parent)

    def path(self, name: str) -> Path:
        """Return the file of an object. Raises KeyError when there is none, NameInvalid, StoreUnreadable."""
        path = self.root / check_object_name(name)
        with _reading(path):
            try:
                self._disk.state(path)
            except NO_SUCH_FILE:
                raise KeyError(name) from None
        return path

    def adopt(self, name: str, file: Path) -> None:
        """Store the finished local `file` under a free name by moving it, durably; from another disk it is copied. Raises as `put`."""
        target = self.root / check_object_name(name)
        with self._writing(name):
            self._make_folder(target.parent)
            finished = self._disk.extend(file)
            try:
                finished.sync()
            finally:
                finished.close()
            try:
                self._publish(file, target, name, keep=True)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._publish(self._copy(file, target.parent), target, name)
                self._disk.remove(file)

    def sweep(self) -> int:
        """Remove the files that were never finished, and return how many. For the one writer, before it writes. Raises as `delete`."""
        left = [self.root / name for name in self._files("") if _is_unfinished(name)]
        with self._writing("what was left unfinished"):
            for path in left:
                self._disk.remove(path)
            for folder in sorted({path.parent for path in left}):
                self._disk.sync_folder(folder)
        return len(left)

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._durable_folders:
            self._disk.make_folder(folder)
            self._durable_folders.add(folder)

    def _write(self, folder: Path, pieces: Sequence[Buffer]) -> Path:
        """Return a new file of `pieces`, on disk, under a name that no other writer uses."""
        path = folder / f"{UNFINISHED}{os.getpid()}-{next(self._numbers)}"
        with suppress(FileNotFoundError):
            self._disk.remove(path)  # left by a program that had our number before
        try:
            file = self._disk.create(path)
        except FileNotFoundError:  # someone removed the folder since we made it
            self._disk.make_folder(folder)
            file = self._disk.create(path)
        try:
            try:
                file.append(pieces)
                file.sync()
            finally:
                file.close()
        except BaseException:
            self._discard(path)
            raise
        return path

    def _copy(self, source: Path, folder: Path) -> Path:
        file = self._disk.open(source)
        try:
            return self._write(folder, [file.map()])
        finally:
            file.close()

    def _publish(self, source: Path, target: Path, name: str, *, keep: bool = False) -> None:
        """Give a finished file its name, durably. keep: where that fails, leave the file under its old name; else remove it."""
        try:
            self._disk.publish(source, target)
        except FileExistsError:
            if not keep:
                self._discard(source)
            raise taken(name) from None
        except OSError:
            if not keep:
                self._discard(source)
            raise
        try:
            self._disk.sync_folder(target.parent)
        except OSError:  # not durable, so not stored
            with suppress(OSError):
                self._disk.rename(target, source)
            if not keep:
                self._discard(source)
            raise

    def _discard(self, path: Path) -> None:
        with suppress(OSError):
            self._disk.remove(path)

    def _files(self, folder: str) -> Iterator[str]:
        """Yield the names of all files under `folder`, relative to the root."""
        waiting = [folder + "/" if folder else ""]
        while waiting:
            lead = waiting.pop()
            with _reading(self.root / lead):
                try:
                    names = self._disk.names(self.root / lead)
                except NO_SUCH_FILE:
                    continue
            for name in names:
                if name.endswith("/"):
                    waiting.append(lead + name)
                else:
                    yield lead + name

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        if self._read_only:
            raise StoreReadOnly(f"the objects in {self.root} were opened read-only", hint="open without read_only=True to write")
        try:
            yield
        except (FileExistsError, NotADirectoryError):
            raise ObjectConflict(
                f"the object {name!r} cannot be stored: a part of its name is an object already", hint="store it under another name"
            ) from None
        except OSError as error:
            raise write_failure(error, f"{name!r} in {self.root}") from None


def _is_unfinished(name: str) -> bool:
    return name.rpartition("/")[2].startswith(UNFINISHED)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise read_failure(error, str(path)) from None
