"""Transfer: whole collections from files and frames, and to files, in parts, so that an interruption costs one part.

An import keeps its place in `PATH.paradox-progress`; an export gathers in `PATH.part` and takes its name when it is whole.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID, uuid4

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.client import formats
from paradox.client.bulk import emptiness, is_empty, parts_of_written
from paradox.client.formats import Mark, Page, Part, Source, Write
from paradox.client.intake import LIMITS, Parts, additions, batch_of, parts_of
from paradox.client.spool import Spool
from paradox.client.vectors import shape_of
from paradox.errors import InvalidRequest, Missing, StoreFull, StoreUnreadable
from paradox.model.filters import Filter
from paradox.model.operations import AddPoints, CollectionView, Receipt, Scroll
from paradox.model.points import Id
from paradox.model.queries import Answer
from paradox.model.schema import CollectionSpec

BATCH_POINTS = LIMITS.batch_points_max
EXPORT_BATCH_POINTS = 4_096
PROGRESS_SUFFIX = ".paradox-progress"
SPOOL_SUFFIX = ".part"
BAR_CHARACTERS = 24
SUFFIXES_ACCEPTED = "expected .parquet, .arrow (.feather, .ipc), .jsonl (.ndjson), .npy or .npz"


class Progress(Protocol):
    """Is told how many points are done, and of how many if that is known."""

    def __call__(self, done: int, total: int | None) -> None: ...


class Bar:
    """Progress drawn on a terminal."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, done: int, total: int | None) -> None:
        shown = f"{done:,} points"
        if total:
            filled = BAR_CHARACTERS * min(done, total) // total
            shown = f"{'━' * filled}{'─' * (BAR_CHARACTERS - filled)} {min(done / total, 1):4.0%}  {done:,} of {total:,} points"
        sys.stderr.write(f"\r\x1b[K{self._what}  {shown}" + ("\n" if done == total else ""))
        sys.stderr.flush()


class Place(msgspec.Struct, kw_only=True):
    """How far one import has come. seed: makes the same ids again for rows that bring none. last: the last id that was acknowledged."""

    seed: str
    last: str | int
    last_kind: str
    mark: Mark


class Import:
    """One import on its way: ask for operations, send them, acknowledge, until there are none.

    store names the database for the side file; None keeps no place, as for a database in memory. Raises Missing, InvalidRequest,
    StoreUnreadable, ExtraMissing.
    """

    def __init__(self, given: Any, view: CollectionView, *, batch: int, resume: bool, progress: Progress | None, store: str | None) -> None:
        path = Path(given).expanduser() if isinstance(given, (str, os.PathLike)) else None
        self._path = path
        self._view = view
        self._batch = batch_of(batch)
        with _file_errors(path):
            self._source: Source | None = _source(path) if path is not None else None
        self._given: Any = given if path is None else None
        self._key = None if store is None or path is None else f"{store}#{view.name}"
        self._place = self._known_place() if resume else None
        self._seed = self._place.seed if self._place is not None else uuid4().hex
        self._progress = _progress(progress, f"importing {path.name}" if path is not None else "importing")
        self._pending: Part | None = None
        self._parts: Iterator[Part] | None = None
        self._total: int | None = None
        self.done = 0

    @property
    def last(self) -> Id | None:
        """The id that a former import ended with; None when there was none. If its point is gone, call `restart`."""
        if self._place is None:
            return None
        return UUID(str(self._place.last)) if self._place.last_kind == "uuid" else self._place.last

    def restart(self) -> None:
        """Forget where a former import ended. Its ids are made alike, so nothing is added twice."""
        self._place = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, InvalidRequest) and self._pending is not None and self._path is not None:
            first = self.done + 1
            rows = f"points {first:,} to {self.done + self._pending.rows:,} of {str(self._path)!r}, here numbered from 0"
            raise type(error)(f"{rows}: {error.message}", hint=error.hint) from None

    def operations(self) -> list[AddPoints]:
        """Return what to send next; nothing at the end. Raises what `additions` raises, and PayloadInvalid for a damaged line."""
        if self._source is None:
            given, self._given = self._given, None
            return self._of_frame(given) if given is not None else []
        with _file_errors(self._path):
            if self._parts is None:
                self.done = self._source.resume(self._place.mark) if self._place is not None else 0
                self._parts = self._source.parts(self._batch)
            self._pending = None
            self._pending = next(self._parts, None)
        if self._pending is None:
            self._forget()
            return []
        return additions(self._view, None, self._parts_of(self._pending))

    def acknowledge(self, receipt: Receipt) -> None:
        """Note that one operation's points are durable."""
        self.done += len(receipt.ids)
        total = self._source.total if self._source is not None else self._total
        if self._pending is not None and self._key is not None and self.done >= int(self._pending.mark["rows"]):
            self._keep(receipt.ids[-1], self._pending.mark)
        if self._progress is not None:
            self._progress(self.done, total)

    def _of_frame(self, given: Any) -> list[AddPoints]:
        parts = parts_of(given, self._view)
        limits = msgspec.structs.replace(LIMITS, batch_points_max=min(self._batch, LIMITS.batch_points_max))
        made = additions(self._view, None, parts, limits=limits)
        self._total = sum(operation.rows for operation in made)
        return made

    def _parts_of(self, part: Part) -> Parts:
        columns = dict(part.columns)
        if self._key is not None and not {"id", "ids"} & columns.keys():
            first = int(part.mark["rows"]) - part.rows
            columns["id"] = [_made_id(self._seed, row) for row in range(first, first + part.rows)]
        parts = parts_of_written(columns, self._view)
        if is_empty(parts):
            self._pending = None  # it is no fault of these points
            raise emptiness(repr(str(self._path)), part.columns, self._view)
        return parts

    def _side_file(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + PROGRESS_SUFFIX)

    def _places(self) -> dict[str, Place]:
        try:
            return msgspec.json.decode(self._side_file().read_bytes(), type=dict[str, Place])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def _known_place(self) -> Place | None:
        return self._places().get(self._key) if self._key is not None else None

    def _keep(self, last: Id, mark: Mark) -> None:
        kind = "uuid" if isinstance(last, UUID) else "int" if isinstance(last, int) else "str"
        place = Place(seed=self._seed, last=str(last) if isinstance(last, UUID) else last, last_kind=kind, mark=mark)
        self._write_places({**self._places(), str(self._key): place})

    def _forget(self) -> None:
        if self._key is not None:
            self._write_places({key: place for key, place in self._places().items() if key != self._key})

    def _write_places(self, places: dict[str, Place]) -> None:
        """Write the side file. Where it cannot be written (a folder that is read-only), the import goes on without it."""
        side = self._side_file()
        try:
            if not places:
                side.unlink(missing_ok=True)
                return
            new = side.with_name(side.name + ".new")
            new.write_bytes(msgspec.json.encode(places))
            new.replace(side)
        except OSError:
            self._key = None


class Export:
    """One export on its way: `begin` with a scroll, `write` its pages, `finish`.

    Raises InvalidRequest for an unknown suffix, ExtraMissing, StoreFull, StoreUnreadable.
    """

    def __init__(self, path: str | os.PathLike[str], view: CollectionView, *, where: Filter | None, progress: Progress | None) -> None:
        self._path = Path(path).expanduser()
        self._view = view
        self._where = where
        self._write = _writer(self._path)
        self._progress = _progress(progress, f"exporting {self._path.name}")
        self._spool: Spool | None = None
        self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._spool is not None:
            self._spool.close()

    def begin(self, scroll: Scroll, store: str | None) -> None:
        """Start gathering; go on with what an interrupted export of the very same view has gathered."""
        title = {
            "format": "paradox export",
            "version": 1,
            "store": store,
            "collection": self._view.name,
            "position": scroll.position,
            "total": scroll.total,
            "where": msgspec.json.encode(self._where).decode(),
        }
        spool_path = self._path.with_name(self._path.name + SPOOL_SUFFIX)
        with _file_errors(self._path):
            if store is None:
                spool_path.unlink(missing_ok=True)
            self._spool = Spool(spool_path, title)
        self._total = scroll.total
        self._tell()

    def write(self, answer: Answer, others: Mapping[str, Answer]) -> None:
        """Gather one page. others: the same points with each of the collection's other vectors."""
        assert self._spool is not None
        with _file_errors(self._path):
            self._spool.append(_page_of(answer, others, self._view.spec))
        self._tell()

    def finish(self) -> int:
        """Make the file from what was gathered, and return how many points it holds."""
        assert self._spool is not None
        new = self._path.with_name(self._path.name + ".new")
        with _file_errors(self._path):
            try:
                self._write(new, self._spool, self._view.spec)
                with new.open("r+b") as file:
                    os.fsync(file.fileno())  # a name must not outlive a power cut without its content
                new.replace(self._path)
            finally:
                new.unlink(missing_ok=True)
            self._spool.remove()
        return self._spool.rows

    def _tell(self) -> None:
        if self._progress is not None and self._spool is not None:
            self._progress(self._spool.rows, self._total)


def _source(path: Path) -> Source:
    if not path.exists():
        raise Missing(f"there is no file {str(path)!r}", hint="check the path")
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return formats.JsonLines(path)
    if suffix == ".npy":
        return formats.read_npy(path)
    if suffix == ".npz":
        return formats.read_npz(path)
    if suffix in (".parquet", ".arrow", ".feather", ".ipc"):
        from paradox.client.frames import ArrowRows, ParquetRows

        return ParquetRows(path) if suffix == ".parquet" else ArrowRows(path)
    raise InvalidRequest(f"{str(path)!r} has the suffix {suffix!r}; {SUFFIXES_ACCEPTED}", hint="write it in one of these forms")


def _writer(path: Path) -> Write:
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".arrow", ".feather", ".ipc"):
        from paradox.client.frames import require_arrow, write_arrow, write_parquet

        require_arrow()
        return write_parquet if suffix == ".parquet" else write_arrow
    writers: Mapping[str, Write] = {
        ".jsonl": formats.write_json_lines,
        ".ndjson": formats.write_json_lines,
        ".npy": formats.write_npy,
        ".npz": formats.write_npz,
    }
    if suffix in writers:
        return writers[suffix]
    raise InvalidRequest(f"{str(path)!r} has the suffix {suffix!r}; {SUFFIXES_ACCEPTED}", hint="give the file one of these suffixes")


def _progress(progress: Progress | None, what: str) -> Progress | None:
    return progress if progress is not None else Bar(what) if sys.stderr.isatty() else None


def _made_id(seed: str, row: int) -> UUID:
    """Return the id of a row that brings none: of version 8, alike each time the same import is taken up again."""
    return UUID(int=xxhash.xxh3_128_intdigest(f"{seed}:{row}".encode()) & ~(0xF000 << 64 | 0xC000 << 48) | (0x8000 << 64 | 0x8000 << 48))


def _page_of(answer: Answer, others: Mapping[str, Answer], spec: CollectionSpec) -> Page:
    """Return a page with all vectors. Points that are gone from the others, or hold zeros there, have no such vector."""
    vectors: dict[str, Any] = {spec.main: answer.vectors}
    present: dict[str, Any] = {}
    row_of = {key: row for row, key in enumerate(answer.keys)}
    for name, other in others.items():
        width, dtype = shape_of(spec.vectors[name])
        matrix: NDArray[Any] = np.zeros((len(answer.keys), width), dtype=dtype)
        if other.vectors is not None and other.keys:
            matrix[[row_of[key] for key in other.keys]] = other.vectors
        mask = matrix.any(axis=1)
        vectors[name] = matrix
        if not mask.all():
            present[name] = mask
    return Page(
        keys=answer.keys,
        vectors=vectors,
        present=present,
        payloads=answer.payloads if answer.payloads is not None else [b"\x80"] * len(answer.keys),
        modality=answer.modality,
        at_us=list(answer.at_us),
    )


@contextmanager
def _file_errors(path: Path | None) -> Iterator[None]:
    """Turn what the operating system says of a file into an error of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"there is no space left for {str(path)!r}", hint="make room and start again: what was done is kept") from None
        message = f"{str(path)!r} cannot be used: {error.strerror or error}"
        raise StoreUnreadable(message, hint="check that it is a file, and its permissions") from None
