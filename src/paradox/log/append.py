"""Appending to a log's last file: one write and one sync a call, and what is done when either fails.

A failed write is taken back. A failed sync is never tried again: the system may have dropped the very pages it could not write and
call the next sync a success (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). The log then takes
no more entries until it is opened anew, from what is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from paradox.errors import LogUnavailable, ParadoxError, StoreReadOnly
from paradox.log.frame import FileHeader, encode_closed, encode_entries, encode_file_header, name_of_file
from paradox.log.scan import End, Tail, beginning
from paradox.ports.disk import FULL, READ_ONLY, AppendFile, Disk, write_failure
from paradox.ports.env import Env
from paradox.ports.log import Body

REOPEN = "close the database and open it again; if that fails too, check the disk"


class Appender:
    """The writing end of a log. For one thread at a time.

    header: of the file that is written to. end: the last acknowledged place in it.
    """

    def __init__(self, disk: Disk, env: Env, folder: Path, *, file: AppendFile, header: FileHeader, end: End, file_bytes_max: int) -> None:
        self._disk = disk
        self._env = env
        self._folder = folder
        self._file = file
        self._file_bytes_max = file_bytes_max
        self._broken = ""
        self.header = header
        self.end = end

    @classmethod
    def begin(cls, disk: Disk, env: Env, folder: Path, *, incarnation: int, file_bytes_max: int) -> Appender:
        """Make the first file of a new log, durably. Raises OSError."""
        header = FileHeader(incarnation=incarnation, first=1, chain=0, salt=_salt(env))
        file = disk.create(folder / name_of_file(1))
        try:
            file.append([encode_file_header(header)])
            file.sync()
            disk.sync_folder(folder)
        except BaseException:
            file.close()
            raise
        return cls(disk, env, folder, file=file, header=header, end=beginning(header), file_bytes_max=file_bytes_max)

    @classmethod
    def resume(cls, disk: Disk, env: Env, folder: Path, tail: Tail, *, file_bytes_max: int) -> Appender:
        """Go on after the end of the last file, cutting off what was not finished. Raises OSError."""
        file = disk.extend(folder / name_of_file(tail.header.first))
        try:
            if tail.unfinished:
                file.truncate(tail.end.offset)
            # whoever wrote the end may have died before it was on disk; nothing is acknowledged on top of it until it is
            file.sync()
            disk.sync_folder(folder)
        except BaseException:
            file.close()
            raise
        return cls(disk, env, folder, file=file, header=tail.header, end=tail.end, file_bytes_max=file_bytes_max)

    def append(self, bodies: Sequence[Body]) -> int:
        """Make all bodies durable and return the position of the last; all or none. Raises StoreFull, StoreReadOnly, LogUnavailable."""
        self._refuse_if_broken()
        if not bodies:
            return self.end.position
        if self.end.offset >= self._file_bytes_max and self.end.position >= self.header.first:
            self._roll()
        pieces, size, chain = encode_entries(bodies, position=self.end.position + 1, chain=self.end.chain, salt=self.header.salt)
        self._broken = "an append was interrupted"  # until it is finished or taken back, whatever is raised in between
        try:
            self._file.append(pieces)
        except OSError as error:
            raise self._write_failed(error) from None
        except BaseException:
            with suppress(OSError):
                self._take_back()
            raise
        try:
            self._promise(self._file.sync)
        except LogUnavailable:
            with suppress(OSError):
                self._file.truncate(self.end.offset)  # so that what was not acknowledged is not found by whoever opens the log next
            raise
        except BaseException:
            with suppress(OSError):
                self._take_back()
            raise
        self.end = End(offset=self.end.offset + size, position=self.end.position + len(bodies), chain=chain, closed=False)
        self._broken = ""
        return self.end.position

    def remove(self, first: int) -> None:
        """Remove the file that begins with `first`, durably. Raises LogUnavailable, OSError."""
        self._refuse_if_broken()
        with suppress(FileNotFoundError):
            self._disk.remove(self._folder / name_of_file(first))
        self._sync_folder()

    def close(self) -> None:
        """Say in the file that it was closed, so that damage to its last entry is told from a crash. Never raises OSError."""
        if not self._broken and not self.end.closed:
            frame, _ = encode_closed(position=self.end.position, chain=self.end.chain, salt=self.header.salt)
            try:
                self._file.append([frame])
                self._file.sync()
            except OSError:  # every entry is on disk already: the frame is a courtesy
                with suppress(OSError):
                    self._file.truncate(self.end.offset)
        with suppress(OSError):
            self._file.close()

    def _roll(self) -> None:
        header = FileHeader(incarnation=self.header.incarnation, first=self.end.position + 1, chain=self.end.chain, salt=_salt(self._env))
        path = self._folder / name_of_file(header.first)
        self._broken = "a new file was not finished"
        file = None
        try:
            with suppress(FileNotFoundError):
                self._disk.remove(path)  # left by an earlier attempt; the next position was never acknowledged
            file = self._disk.create(path)
            file.append([encode_file_header(header)])
        except OSError as error:
            if file is not None:
                with suppress(OSError):
                    file.close()
                    self._disk.remove(path)
            self._broken = ""
            raise _refusal(error) from None
        self._promise(file.sync)
        self._sync_folder()
        full, self._file = self._file, file
        self.header, self.end = header, beginning(header)
        self._broken = ""
        with suppress(OSError):
            full.close()

    def _write_failed(self, error: OSError) -> ParadoxError:
        try:
            self._take_back()
        except OSError as second:
            self._broken = "a failed write could not be taken back"
            if error.errno in READ_ONLY:
                return StoreReadOnly(f"the log in {self._folder} could not be written: {error.strerror}", hint=REOPEN)
            what = f"could not be written ({error.strerror}), and the write could not be taken back ({second.strerror})"
            return LogUnavailable(f"the log in {self._folder} {what}", hint=REOPEN)
        return _refusal(error)

    def _take_back(self) -> None:
        self._file.truncate(self.end.offset)
        self._file.sync()
        self._broken = ""

    def _sync_folder(self) -> None:
        self._promise(lambda: self._disk.sync_folder(self._folder))

    def _promise(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as error:
            self._broken = "a write could not be brought to disk"
            raise LogUnavailable(
                f"the log in {self._folder} could not be brought to disk ({error.strerror}); nothing was acknowledged", hint=REOPEN
            ) from None

    def _refuse_if_broken(self) -> None:
        if self._broken:
            raise LogUnavailable(f"the log in {self._folder} takes no entries since {self._broken}", hint=REOPEN)


def _salt(env: Env) -> int:
    return int.from_bytes(env.random_bytes(4), "little")


def _refusal(error: OSError) -> ParadoxError:
    if error.errno in FULL | READ_ONLY:
        return write_failure(error, "the log")
    return LogUnavailable(
        f"the log could not be written ({error.strerror}); nothing was changed", hint="try again; if it fails again, check the disk"
    )
