"""Formats: collections as files that need no extra package: JSON Lines and NumPy.

A source yields parts, each a dict of columns as `intake` takes them, with a mark to go on from. A writer takes the pages of a spool.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias
from uuid import UUID

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.client.payloads import decode_payload
from paradox.client.times import datetime_of
from paradox.client.vectors import shape_of
from paradox.errors import InvalidRequest, PayloadInvalid
from paradox.model.points import Key, Mask
from paradox.model.schema import MAIN_VECTOR, CollectionSpec

BLOCK_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Mark: TypeAlias = dict[str, int | str]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a source. mark: where the source goes on after them."""

    columns: dict[str, Any]
    rows: int
    mark: Mark


class Source(Protocol):
    """Rows that are read in parts."""

    @property
    def total(self) -> int | None:
        """How many rows there are, if that is known before they are read."""
        ...

    def resume(self, mark: Mark) -> int:
        """Go on after `mark` and return how many rows come before it; 0, from the beginning, when the mark does not fit any more."""
        ...

    def parts(self, size: int) -> Iterator[Part]:
        """Yield the rows that remain, at most `size` at a time."""
        ...


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some points on their way to a file, in columns. vectors by name; present: which rows have one, for names that not all rows have."""

    keys: list[Key]
    vectors: dict[str, NDArray[Any]]
    present: dict[str, Mask]
    payloads: list[bytes]
    modality: list[str]
    at_us: list[int]


class Pages(Protocol):
    """All points on their way to a file; they can be read more than once."""

    @property
    def rows(self) -> int:
        """How many points."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of id that occur: "str", "int", "uuid"."""
        ...

    def __iter__(self) -> Iterator[Page]: ...


Write: TypeAlias = Callable[[Path, Pages, CollectionSpec], None]


def kind_of(key: Key) -> str:
    """Return the kind of an id: "str", "int" or "uuid"."""
    return "uuid" if isinstance(key, bytes) else "int" if isinstance(key, int) else "str"


def id_text(key: Key) -> str:
    """Return an id as text; with its kind, nothing is lost."""
    return str(UUID(bytes=key)) if isinstance(key, bytes) else str(key)


def ids_from(ids: Any, kinds: Any) -> Any:
    """Return ids from their texts and kinds; as they are when no kinds were written."""
    if kinds is None:
        return ids
    made: Mapping[str, Callable[[Any], Any]] = {"uuid": lambda id: UUID(str(id)), "int": int, "str": str}
    try:
        return [id if kind is None else made[kind](id) for id, kind in zip(ids, kinds, strict=True)]
    except (ValueError, KeyError, TypeError):
        message = "the column 'id_kind' does not fit the column 'id'"
        raise InvalidRequest(message, hint="its words are str, int and uuid; or leave it out") from None


def columns_of_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return objects as columns; None stands for what one has not."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def file_mark(path: Path) -> Mark:
    """Return what tells a file from a later version of itself."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def vector_column(name: str, spec: CollectionSpec) -> str:
    """Return the column that a vector is written to."""
    return MAIN_VECTOR if len(spec.vectors) == 1 else f"{MAIN_VECTOR}.{name}"


class JsonLines:
    """One JSON object a line: id, vector or vectors, payload, text, modality, at; other names go to the payload."""

    total: int | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rows = 0
        self._lines = 0
        self._digest = xxhash.xxh3_64()

    def resume(self, mark: Mark) -> int:
        """Go on after the lines before `mark` if they are the same as they were; what follows them may have been mended."""
        digest, left = xxhash.xxh3_64(), int(mark["bytes"])
        with self._path.open("rb") as file:
            while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
                digest.update(block)
                left -= len(block)
        if left or digest.hexdigest() != mark["digest"]:
            return 0
        self._digest, self._offset, self._rows, self._lines = digest, int(mark["bytes"]), int(mark["rows"]), int(mark["lines"])
        return self._rows

    def parts(self, size: int) -> Iterator[Part]:
        """Yield the lines that remain. Raises PayloadInvalid naming a line that is no JSON object, after yielding those before it."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        rows: list[dict[str, Any]] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                text = line.removeprefix(BYTE_ORDER_MARK).strip() if not self._lines else line.strip()
                try:
                    if text:
                        rows.append(decode(text))
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    if rows:
                        yield self._part(rows)
                    raise PayloadInvalid(
                        f"line {self._lines + 1:,} of {str(self._path)!r} is not a JSON object: {error}",
                        hint="mend the line and import again: the lines before it are kept and are not read twice",
                    ) from None
                self._lines += 1
                self._offset += len(line)
                self._digest.update(line)
                if len(rows) == size:
                    yield self._part(rows)
                    rows = []
        if rows:
            yield self._part(rows)

    def _part(self, rows: list[dict[str, Any]]) -> Part:
        self._rows += len(rows)
        mark: Mark = {"rows": self._rows, "lines": self._lines, "bytes": self._offset, "digest": self._digest.hexdigest()}
        return Part(columns=columns_of_rows(rows), rows=len(rows), mark=mark)


class Arrays:
    """Columns in memory, or mapped from a file: one array or list a name, all of one length."""

    def __init__(self, columns: dict[str, Any], mark: Mark) -> None:
        self._columns = columns
        self._mark = mark
        self._start = 0
        self.total: int | None = min((len(column) for column in columns.values()), default=0)

    def resume(self, mark: Mark) -> int:
        """Go on after the rows before `mark` if the file is the same."""
        if {**mark, "rows": 0} == {**self._mark, "rows": 0} and self._mark:
            self._start = int(mark["rows"])
        return self._start

    def parts(self, size: int) -> Iterator[Part]:
        """Yield the rows that remain, as views."""
        for start in range(self._start, self.total or 0, size):
            stop = min(start + size, self.total or 0)
            columns = {name: column[start:stop] for name, column in self._columns.items()}
            yield Part(columns=columns, rows=stop - start, mark={**self._mark, "rows": stop})


def read_npy(path: Path) -> Arrays:
    """Return a matrix of vectors, mapped; or a structured array. Raises InvalidRequest."""
    array = _numpy_file(lambda: np.load(path, mmap_mode="r", allow_pickle=False), path)
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise InvalidRequest(f"{str(path)!r} holds no array of points", hint="save a matrix (points, dimensions)")
    columns = {name: array[name] for name in array.dtype.names} if array.dtype.names is not None else {MAIN_VECTOR: array}
    return Arrays(columns, file_mark(path))


def read_npz(path: Path) -> Arrays:
    """Return an archive's arrays as columns: ids, vectors (or vector.NAME), what `export` adds to them, and payload fields."""
    archive = _numpy_file(lambda: np.load(path, allow_pickle=False), path)
    with archive:
        columns = _numpy_file(lambda: {name: archive[name] for name in archive.files}, path)
    for name in [name for name in columns if name.startswith("present.")]:
        mask, key = columns.pop(name), "vector." + name.removeprefix("present.")
        columns[key] = [row if there else None for row, there in zip(columns[key], mask, strict=True)]
    if "payload_offsets" in columns:
        offsets, blob = columns.pop("payload_offsets").tolist(), columns["payload"].tobytes()
        columns["payload"] = [blob[start:stop].decode() for start, stop in pairwise(offsets)]
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidRequest(f"the arrays of {str(path)!r} have different lengths: {lengths}", hint="give each one row a point")
    return Arrays(columns, file_mark(path))


def _numpy_file(read: Callable[[], Any], path: Path) -> Any:
    try:
        return read()
    except (ValueError, EOFError, zipfile.BadZipFile):
        message = f"{str(path)!r} is not a NumPy file of plain arrays"
        raise InvalidRequest(message, hint="write it with np.save or np.savez, without objects") from None


def write_json_lines(path: Path, pages: Pages, spec: CollectionSpec) -> None:
    """Write one JSON object a point. Times are ISO 8601 in UTC; a UUID id has `"id_kind": "uuid"` beside it."""
    encode = msgspec.json.Encoder().encode_lines
    with path.open("wb") as file:
        for page in pages:
            file.write(encode(_json_rows(page, spec)))


def _json_rows(page: Page, spec: CollectionSpec) -> Iterator[dict[str, Any]]:
    vectors: dict[str, list[Any]] = {name: matrix.tolist() for name, matrix in page.vectors.items()}
    for name, mask in page.present.items():
        vectors[name] = [row if there else None for row, there in zip(vectors[name], mask.tolist(), strict=True)]
    alone = vectors[spec.main] if len(spec.vectors) == 1 else None
    for row, key in enumerate(page.keys):
        line: dict[str, Any] = {"id": id_text(key), "id_kind": "uuid"} if isinstance(key, bytes) else {"id": key}
        if alone is not None:
            line[MAIN_VECTOR] = alone[row]
        else:
            line["vectors"] = {name: column[row] for name, column in vectors.items()}
        line["payload"] = decode_payload(page.payloads[row])
        line["modality"] = page.modality[row]
        line["at"] = datetime_of(page.at_us[row])
        yield line


def write_npy(path: Path, pages: Pages, spec: CollectionSpec) -> None:
    """Write vectors alone, as (n, d). Raises InvalidRequest for a collection with several."""
    if len(spec.vectors) > 1:
        raise InvalidRequest("a .npy file holds one matrix, and the collection has several vectors", hint="export to .npz")
    with path.open("wb") as file:
        _write_matrix(file, pages, spec.main, spec)


def write_npz(path: Path, pages: Pages, spec: CollectionSpec) -> None:
    """Write vectors, ids, id_kind where ids are not all alike, at, modality, and payloads as JSON in bytes with their offsets."""
    alike = len(pages.kinds) <= 1 and "uuid" not in pages.kinds
    keys = [key for page in pages for key in page.keys]
    if any(isinstance(key, str) and key.endswith("\0") for key in keys):
        raise InvalidRequest("an id ends with a NUL character, which NumPy cannot keep", hint="export to .jsonl")
    columns: dict[str, NDArray[Any]] = {"ids": np.array(keys, np.int64) if pages.kinds == {"int"} else _texts(map(id_text, keys))}
    if not alike:
        columns["id_kind"] = _texts(map(kind_of, keys))
    columns["at"] = np.array([time for page in pages for time in page.at_us], dtype=np.int64).view("datetime64[us]")
    columns["modality"] = _texts(word for page in pages for word in page.modality)
    payloads = [payload_json(payload) for page in pages for payload in page.payloads]
    columns["payload"] = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    columns["payload_offsets"] = np.cumsum([0, *map(len, payloads)], dtype=np.int64)
    for name in list(spec.vectors)[1:]:
        masks = [page.present.get(name, np.ones(len(page.keys), np.bool_)) for page in pages]
        columns[f"present.{name}"] = np.concatenate([np.zeros(0, np.bool_), *masks])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, column, allow_pickle=False)
        for name in spec.vectors:
            column_name = "vectors" if len(spec.vectors) == 1 else vector_column(name, spec)
            with archive.open(f"{column_name}.npy", "w", force_zip64=True) as member:
                _write_matrix(member, pages, name, spec)


def payload_json(payload: bytes) -> bytes:
    """Return a payload as JSON text."""
    return msgspec.json.encode(decode_payload(payload))


def _texts(texts: Iterator[str]) -> NDArray[np.str_]:
    return np.array(list(texts), dtype=np.str_)


def _write_matrix(file: IO[bytes], pages: Pages, name: str, spec: CollectionSpec) -> None:
    """Write one vector of all pages as an array, page by page: it need not fit into memory."""
    width, kind = shape_of(spec.vectors[name])
    dtype = np.dtype(kind).newbyteorder("<")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (pages.rows, width)}
    np.lib.format.write_array_header_1_0(file, header)
    for page in pages:
        file.write(np.ascontiguousarray(page.vectors[name], dtype=dtype).data)
