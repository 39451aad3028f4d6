"""FileLog: a Log in a folder of files that survives a power cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from msgspec.structs import replace

from paradox.errors import LogCorrupt, LogUnavailable, StoreClosed, StoreReadOnly
from paradox.log.append import REOPEN, Appender
from paradox.log.frame import ENTRY, FILE_HEADER_BYTES, FileHeader, decode_file_header, name_of_file, refuse_if_beyond
from paradox.log.scan import End, Survey, Tail, Walk, advance, beginning, damage_at, list_files, survey, tail_of
from paradox.model.events import TailRepaired
from paradox.model.schema import Limits
from paradox.ports.disk import Disk, read_failure, write_failure
from paradox.ports.env import Env
from paradox.ports.log import Body

TRIMMED_WHILE_LISTING_MAX = 10
"""How often a reader looks anew when a writer removes the files that it has just listed."""


class FileLog:
    """Entries in files that are named by their first position. One writer, any number of readers in any program.

    Thread-safe: appends and trims take turns, reads run beside them. A body is a view of the mapped file, in place, and stays
    readable after `trim` and `close`.
    """

    def __init__(self, disk: Disk, folder: Path, found: Survey, appender: Appender | None, *, incarnation: int) -> None:
        """For `open`, which see."""
        self._disk = disk
        self._folder = folder
        self._files = found.files
        self._tail = found.tail
        self._appender = appender
        self._incarnation = incarnation
        # (file, place in it) from where a read need not begin with the file: after what was read last, before what was added last
        self._bookmark = self._seam = (0, End(offset=0, position=0, chain=0))
        self._closed = False
        self._lock = Lock()

    @classmethod
    def open(
        cls, folder: str | Path, *, disk: Disk, env: Env, limits: Limits, read_only: bool = False, incarnation: int | None = None
    ) -> FileLog:
        """Open the log in `folder`; to write, it is made when missing. Cost: the last file is read once, against its checksums.

        Writing needs the folder to oneself (node.lock); an unfinished tail is cut and recorded as TailRepaired. Reading changes
        nothing and follows a writer. `incarnation` is for a new log; a log that is there keeps its own.
        Raises LogCorrupt (damage in the last file; a reader meets it in `read`), FormatTooNew, StoreFull, StoreReadOnly, StoreUnreadable.
        """
        folder = Path(folder)
        if read_only:
            with _reading(folder):
                found = _survey(disk, folder)
            return cls(disk, folder, found, None, incarnation=incarnation or 1)
        with _writing(folder):
            disk.make_folder(folder)
        with _reading(folder):
            found = survey(disk, folder)
        if found.tail is not None and found.tail.damage is not None:
            raise found.tail.damage
        with _writing(folder):
            if found.stillborn is not None:
                disk.remove(folder / name_of_file(found.stillborn))
            bytes_max = limits.log_file_bytes_max
            if found.tail is None:
                appender = Appender.begin(disk, env, folder, incarnation=incarnation or 1, file_bytes_max=bytes_max)
                found = Survey(files=(1,), tail=None)
            else:
                appender = Appender.resume(disk, env, folder, found.tail, file_bytes_max=bytes_max)
        if found.tail is not None and found.tail.unfinished:
            bytes_cut = found.tail.state.size - found.tail.end.offset
            env.record(TailRepaired(log=str(folder), position=found.tail.end.position + 1, bytes_cut=bytes_cut))
        return cls(disk, folder, found, appender, incarnation=appender.header.incarnation)

    @property
    def incarnation(self) -> int:
        """Raised when positions start anew: positions of another incarnation mean nothing here."""
        return self._tail.header.incarnation if self._tail is not None else self._incarnation

    @property
    def first(self) -> int:
        """The first position that can be read; `last + 1` when there is none."""
        return self._files[0] if self._files else 1

    @property
    def last(self) -> int:
        """The last durable position; for a reader, the last complete one it has seen (`refresh` looks again). 0 at the beginning."""
        if self._appender is not None:
            return self._appender.end.position
        return self._tail.end.position if self._tail is not None else 0

    def append(self, bodies: Sequence[Body], *, after: int | None = None) -> int:
        """Make all bodies durable, in order, and return the position of the last.

        All or none, also after a crash. One write and one sync whatever the number of bodies; more bodies a call are faster.
        Raises LogConflict when the log is beyond `after`, StoreFull, StoreReadOnly, LogUnavailable, StoreClosed.
        """
        with self._lock:
            appender = self._writable()
            refuse_if_beyond(appender.end.position, after)
            seam = (appender.header.first, appender.end)
            last = appender.append(bodies)
            if appender.header.first != self._files[-1]:
                self._files += (appender.header.first,)
            self._seam = seam
            return last

    def read(self, after: int) -> Iterator[tuple[int, memoryview]]:
        """Yield (position, body) for every entry after `after`, in order, up to the last complete one. Bodies are checked first.

        A reader sees what a writer appended up to now; when that is nothing, the cost is two system calls. Raises LogCorrupt when an
        entry before the tail is damaged or when `after + 1` was trimmed, FormatTooNew, StoreUnreadable, StoreClosed.
        """
        if self._closed:
            raise StoreClosed("the log was closed", hint="open the database again")
        return self._read(after)

    def refresh(self) -> int:
        """Look for what a writer appended since, and return `last`. Raises FormatTooNew, LogUnavailable, StoreUnreadable."""
        if self._appender is None:
            with self._lock, _reading(self._folder):
                self._follow()
        return self.last

    def trim(self, through: int) -> None:
        """Remove the files that hold nothing after `through`, oldest first; never the last.

        Raises StoreReadOnly, LogUnavailable, StoreClosed.
        """
        with self._lock, _writing(self._folder):
            appender = self._writable()
            while len(self._files) > 1 and self._files[1] - 1 <= through:
                # durably one by one: a gap that a power cut leaves would look like damage
                appender.remove(self._files[0])
                self._files = self._files[1:]

    def close(self) -> None:
        """Release files. Safe to call twice."""
        with self._lock:
            if self._appender is not None and not self._closed:
                self._appender.close()
            self._closed = True

    def _writable(self) -> Appender:
        if self._closed:
            raise StoreClosed("the log was closed", hint="open the database again")
        if self._appender is None:
            raise StoreReadOnly(f"the log in {self._folder} was opened read-only", hint="open it without read_only=True to write")
        return self._appender

    def _path(self, first: int) -> Path:
        return self._folder / name_of_file(first)

    def _read(self, after: int) -> Iterator[tuple[int, memoryview]]:
        last = self.refresh()
        tail, files = self._tail, self._files  # in this order: a file may be added meanwhile, but none that `last` needs is missing
        if files and after + 1 < files[0]:
            raise self._trimmed(after)
        index = bisect_right(files, after + 1) - 1
        chain = None
        while after < last:
            following = files[index + 1] if index + 1 < len(files) else None
            until = last if following is None else min(last, following - 1)
            end = yield from self._read_file(files[index], after, until, chain, whole=following is not None)
            after, chain, index = end.position, end.chain, index + 1
        if tail is not None and tail.damage is not None:
            raise tail.damage

    def _read_file(
        self, first: int, after: int, until: int, chain: int | None, *, whole: bool
    ) -> Generator[tuple[int, memoryview], None, End]:
        """Yield the entries after `after` up to `until` of one file, and return where they end.

        chain: of the file before, if it was read. whole: the file must end after `until`.
        """
        path = self._path(first)
        with _reading(path):
            try:
                file = self._disk.open(path)
            except FileNotFoundError:
                raise self._vanished(first, after) from None
            try:
                view = file.map()
                header = self._checked_header(file.read(0, FILE_HEADER_BYTES), path, first, chain)
                walk = Walk(file, len(view), header, self._nearest(header, after))
                try:
                    while walk.position < until or (whole and not walk.done):
                        frame = walk.step(check_body=walk.position >= after)
                        if frame is None or walk.position > until:
                            raise damage_at(
                                path, until + 1 if frame else walk.position + 1, walk.offset, "is damaged, missing or misplaced"
                            )
                        if frame.kind == ENTRY and walk.position > after:
                            yield walk.position, view[walk.body_at : walk.body_at + frame.length]
                    return walk.here
                finally:
                    self._bookmark = (first, walk.here)
            finally:
                file.close()

    def _checked_header(self, start: bytes, path: Path, first: int, chain: int | None) -> FileHeader:
        header = decode_file_header(start, str(path))
        if header.first != first or header.incarnation != self.incarnation or (chain is not None and header.chain != chain):
            raise LogCorrupt(
                f"{path} does not follow the file before it: entries are missing, or it comes from another log",
                hint="restore this file from a snapshot or another copy",
            )
        return header

    def _nearest(self, header: FileHeader, after: int) -> End:
        """Return the nearest known place in a file before entry `after + 1`."""
        known = [end for first, end in (self._bookmark, self._seam) if first == header.first and end.position <= after]
        return max(known, key=lambda end: end.offset, default=beginning(header))

    def _trimmed(self, after: int) -> LogCorrupt:
        return LogCorrupt(
            f"entries before {self.first} were trimmed from the log in {self._folder}; entry {after + 1} was asked for",
            hint="start from a snapshot that is newer",
        )

    def _vanished(self, first: int, after: int) -> LogCorrupt:
        with self._lock:  # a trim that has just removed it is finished then
            if self._appender is None:
                self._adopt(_survey(self._disk, self._folder))
        if self.first > first:
            return self._trimmed(after)
        return LogCorrupt(f"{self._path(first)} is missing", hint="restore this file from a snapshot or another copy")

    def _follow(self) -> None:
        """Take in what a writer has done since: entries, new files, trimmed files."""
        try:
            tail = self._tail
            while tail is not None:
                tail = self._extended(tail)
                newer = None
                if tail.end.position >= tail.header.first and not tail.unfinished and tail.damage is None:
                    try:
                        newer = self._begun(tail)
                    except LogCorrupt as damage:
                        tail = replace(tail, damage=damage)
                if newer is None:
                    self._tail = tail
                    return
                older = (first for first in list_files(self._disk, self._folder) if first < newer.header.first)
                self._files = (*older, newer.header.first)
                self._tail = tail = newer
        except FileNotFoundError:
            pass  # trimmed, or restored: look anew
        self._adopt(_survey(self._disk, self._folder))

    def _extended(self, tail: Tail) -> Tail:
        state = self._disk.state(tail.path)
        if state.size < tail.end.offset:
            raise LogUnavailable(f"{tail.path} became shorter: its writer took back what was not acknowledged", hint=REOPEN)
        if state != tail.state:
            self._seam = (tail.header.first, tail.end)
            return advance(self._disk, tail, state)
        if tail.unfinished and self._is_followed(tail.header.first):
            what = "is damaged, and newer files follow"
            return replace(tail, unfinished=False, damage=damage_at(tail.path, tail.end.position + 1, tail.end.offset, what))
        return tail

    def _is_followed(self, first: int) -> bool:
        newest = max(list_files(self._disk, self._folder), default=0)
        return newest > first and self._disk.state(self._path(newest)).size > FILE_HEADER_BYTES

    def _begun(self, tail: Tail) -> Tail | None:
        """Return the checked file that follows `tail`, or None while there is none."""
        try:
            newer = tail_of(self._disk, tail.following, tail.end.position + 1, may_be_stillborn=True)
        except FileNotFoundError:
            return None
        if newer is not None and newer.header.incarnation != tail.header.incarnation:
            raise LogUnavailable(f"the log in {self._folder} was replaced by another", hint=REOPEN)
        return newer

    def _adopt(self, found: Survey) -> None:
        self._files, self._tail = found.files, found.tail


def _survey(disk: Disk, folder: Path) -> Survey:
    for _ in range(TRIMMED_WHILE_LISTING_MAX):
        try:
            return survey(disk, folder)
        except FileNotFoundError:
            disk.names(folder)  # raises when it is the folder that is missing
    raise LogUnavailable(f"the files of the log in {folder} are being removed faster than they can be listed", hint="try again")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise read_failure(error, str(path)) from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_failure(error, f"the log in {folder}") from None
