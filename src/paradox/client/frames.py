"""Frames: pandas, Polars and PyArrow, and the files that PyArrow reads. The only file that imports them, each where it is needed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from importlib import import_module
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.client.formats import Mark, Page, Pages, Part, file_mark, id_text, kind_of, payload_json, vector_column
from paradox.client.vectors import shape_of
from paradox.errors import ExtraMissing, InvalidRequest
from paradox.model.schema import CollectionSpec

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    PandasFrame: TypeAlias = pandas.DataFrame
    PolarsFrame: TypeAlias = polars.DataFrame
    ArrowTable: TypeAlias = pyarrow.Table

ID_NAMES = ("id", "ids")
BATCH_ROWS_MAX = 1 << 20
"""Of a record batch of a stream: columns of nothing take no bytes there, but memory."""
MESSAGE_HEADER, BATCH_COMPRESSION = 2, 3
"""Slots of two tables of the Arrow format."""


def columns_of(frame: Any) -> dict[str, Any] | None:
    """Return a frame's columns as arrays or lists, None for what is missing in them; None for what is no frame (a Series, say).

    Vectors in fixed-size lists of numbers become a matrix without a copy where the frame's memory allows.
    """
    library = type(frame).__module__.partition(".")[0]
    if library == "pandas" and hasattr(frame, "columns"):
        return _of_pandas(frame)
    if library == "polars":
        return _of_polars(frame)
    if library == "pyarrow" and hasattr(frame, "column_names"):
        return {name: _of_arrow(name, frame.column(name)) for name in frame.column_names}
    if library == "pyarrow" and hasattr(frame, "schema") and hasattr(frame, "column"):
        return {name: _of_arrow(name, frame.column(place)) for place, name in enumerate(frame.schema.names)}
    return None


def hits_to_pandas(columns: dict[str, list[Any]]) -> PandasFrame:
    """Return columns of hits as a pandas frame. Raises ExtraMissing."""
    frame: PandasFrame = _library("pandas").DataFrame(columns)
    return frame


def hits_to_arrow(columns: dict[str, list[Any]]) -> ArrowTable:
    """Return columns of hits as a PyArrow table. Raises ExtraMissing."""
    arrow = _library("pyarrow")
    types = {
        "score": arrow.float64(),
        "distance": arrow.float64(),
        "modality": arrow.string(),
        "at": arrow.timestamp("us", tz="UTC"),
        "origin": arrow.string(),
    }
    arrays = {}
    for name, values in columns.items():
        if name == "vector":
            arrays[name] = _arrow_vectors(arrow, np.stack(values), None)
        elif name == "id":
            arrays[name] = arrow.array(_alike_ids(values), arrow.string() if not values else None)
        else:
            try:
                arrays[name] = arrow.array(values if _are_alike(values) else _json_texts(values), types.get(name))
            except (arrow.ArrowException, OverflowError):
                arrays[name] = arrow.array(_json_texts(values), arrow.string())
    return arrow.table(arrays)


def hits_to_polars(columns: dict[str, list[Any]]) -> PolarsFrame:
    """Return columns of hits as a Polars frame. Raises ExtraMissing."""
    polars = _library("polars")
    types = {"score": polars.Float64, "distance": polars.Float64, "modality": polars.String, "at": polars.Datetime("us", "UTC")}
    series = []
    for name, values in columns.items():
        if name == "vector":
            series.append(polars.Series(name, np.stack(values)))
        elif name == "id":
            series.append(polars.Series(name, _alike_ids(values), dtype=None if values else polars.String))
        else:
            try:
                given = values if _are_alike(values) else _json_texts(values)
                series.append(polars.Series(name, given, dtype=types.get(name, polars.String if name == "origin" else None)))
            except (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError):
                series.append(polars.Series(name, _json_texts(values), dtype=polars.String))
    frame: PolarsFrame = polars.DataFrame(series)
    return frame


class ParquetRows:
    """The rows of a Parquet file."""

    def __init__(self, path: Path) -> None:
        arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(path)
        except arrow.ArrowException:
            raise InvalidRequest(f"{str(path)!r} is not a Parquet file", hint="check how it was written") from None
        self._mark = file_mark(path)
        self._start = 0
        self.total: int | None = self._file.metadata.num_rows

    def resume(self, mark: Mark) -> int:
        """Go on after the rows before `mark` if the file is the same."""
        if {**mark, "rows": 0} == {**self._mark, "rows": 0}:
            self._start = int(mark["rows"])
        return self._start

    def parts(self, size: int) -> Iterator[Part]:
        """Yield the rows that remain; row groups that were read are not read again."""
        metadata = self._file.metadata
        first, before = 0, 0
        while first < metadata.num_row_groups and before + metadata.row_group(first).num_rows <= self._start:
            before += metadata.row_group(first).num_rows
            first += 1
        skip, done = self._start - before, self._start
        for batch in self._file.iter_batches(size, row_groups=list(range(first, metadata.num_row_groups))):
            kept = batch.slice(min(skip, batch.num_rows))
            skip -= batch.num_rows - kept.num_rows
            if kept.num_rows:
                done += kept.num_rows
                yield Part(columns=columns_of(kept) or {}, rows=kept.num_rows, mark={**self._mark, "rows": done})


class ArrowRows:
    """The rows of an Arrow IPC file or stream."""

    def __init__(self, path: Path) -> None:
        arrow, ipc = _library("pyarrow"), _library("pyarrow.ipc")
        try:
            memory = arrow.memory_map(str(path))
            try:
                table = ipc.open_file(memory).read_all()
            except arrow.ArrowInvalid:
                memory.seek(0)
                table = ipc.open_stream(memory).read_all()
        except arrow.ArrowException:
            raise InvalidRequest(f"{str(path)!r} is not an Arrow file", hint="check how it was written") from None
        self._table = table
        self._mark = file_mark(path)
        self._start = 0
        self.total: int | None = table.num_rows

    def resume(self, mark: Mark) -> int:
        """Go on after the rows before `mark` if the file is the same."""
        if {**mark, "rows": 0} == {**self._mark, "rows": 0}:
            self._start = int(mark["rows"])
        return self._start

    def parts(self, size: int) -> Iterator[Part]:
        """Yield the rows that remain, as views of the mapped file."""
        for start in range(self._start, self._table.num_rows, size):
            rows = self._table.slice(start, size)
            yield Part(columns=columns_of(rows) or {}, rows=rows.num_rows, mark={**self._mark, "rows": start + rows.num_rows})


def write_parquet(path: Path, pages: Pages, spec: CollectionSpec) -> None:
    """Write columns id, vector (or vector.NAME), payload (JSON), modality, at; and id_kind where ids are not all alike."""
    parquet = _library("pyarrow.parquet")
    schema = _schema(pages.kinds, spec)
    with parquet.ParquetWriter(path, schema) as writer:
        for page in pages:
            writer.write_table(_arrow_table(page, schema, spec))


def write_arrow(path: Path, pages: Pages, spec: CollectionSpec) -> None:
    """Write the same columns as an Arrow IPC file."""
    arrow, ipc = _library("pyarrow"), _library("pyarrow.ipc")
    schema = _schema(pages.kinds, spec)
    with arrow.OSFile(str(path), "wb") as sink, ipc.new_file(sink, schema) as writer:
        for page in pages:
            writer.write_table(_arrow_table(page, schema, spec))


def stream_columns(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each record batch of an Arrow IPC stream that may come from anybody.

    Raises InvalidRequest where it is none, or holds what takes far more memory than bytes (compression, dictionaries), ExtraMissing.
    """
    arrow, ipc = _library("pyarrow"), _library("pyarrow.ipc")
    schema: Any = None
    messages = ipc.MessageReader.open_stream(stream)
    while True:
        try:
            message = messages.read_next_message()
            if schema is None:
                schema = ipc.read_schema(message)
                _refuse_inflating(arrow, schema)
                continue
            columns = _columns_of_message(ipc, message, schema)
        except StopIteration:
            return
        except (arrow.ArrowException, OSError, ValueError, OverflowError, KeyError, struct.error) as error:
            raise InvalidRequest(
                f"this is not an Arrow IPC stream, or was cut off: {error}", hint="write it with pyarrow.ipc.new_stream"
            ) from None
        if columns:
            yield columns


def _columns_of_message(ipc: Any, message: Any, schema: Any) -> dict[str, Any]:
    if message.type != "record batch" or _is_compressed(memoryview(message.metadata)):
        raise InvalidRequest("a part of the stream is compressed, or no record batch", hint="write it without compression")
    batch = ipc.read_record_batch(message, schema)
    if batch.num_rows > BATCH_ROWS_MAX:
        raise InvalidRequest(
            f"a record batch has {batch.num_rows:,} rows; expected {BATCH_ROWS_MAX:,} at most",
            hint="table.to_batches(max_chunksize=10_000)",
        )
    batch.validate(full=True)
    return columns_of(batch) or {} if batch.num_rows else {}


def _refuse_inflating(arrow: Any, schema: Any) -> None:
    """Raise InvalidRequest for columns of one name, and for types whose values take more memory than bytes in a stream."""
    if len(set(schema.names)) < len(schema.names):
        raise InvalidRequest("two columns of the stream have the same name", hint="rename one of them")
    for field in schema:
        if not (arrow.types.is_null(field.type) or _is_plain(arrow, field.type)):
            raise InvalidRequest(
                f"column {field.name!r:.80} is of type {field.type}, which a stream cannot hold", hint="cast it to a plain type"
            )


def _is_plain(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_plain(arrow, kind.value_type)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_plain(arrow, kind.field(place).type) for place in range(kind.num_fields))
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string, types.is_temporal)
    return any(test(kind) for test in tests)


def _is_compressed(metadata: memoryview) -> bool:
    """Tell whether a record batch has compressed buffers. PyArrow does not tell; the format: RecordBatch.compression in Message.fbs."""

    def field(table: int, slot: int) -> int:
        fields = table - struct.unpack_from("<i", metadata, table)[0]
        size = struct.unpack_from("<H", metadata, fields)[0]
        offset = struct.unpack_from("<H", metadata, fields + 4 + 2 * slot)[0] if 4 + 2 * slot < size else 0
        return table + offset if offset else 0

    def followed(place: int) -> int:
        return int(place + struct.unpack_from("<I", metadata, place)[0])

    header = field(followed(0), MESSAGE_HEADER)
    return bool(header) and bool(field(followed(header), BATCH_COMPRESSION))


def stream_pages(pages: Iterable[Page], spec: CollectionSpec) -> Iterator[bytes]:
    """Yield an Arrow IPC stream of the columns of `write_arrow`, a page at a time; ids are texts, with their kinds. Raises ExtraMissing."""
    ipc = _library("pyarrow.ipc")
    schema = _schema(frozenset(("str", "uuid")), spec)
    sink = BytesIO()
    with ipc.new_stream(sink, schema) as writer:
        for page in pages:
            writer.write_table(_arrow_table(page, schema, spec))
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()


def require_arrow() -> None:
    """Raise ExtraMissing unless PyArrow is installed."""
    _library("pyarrow")


def _library(name: str) -> Any:
    """Return an optional package. Raises ExtraMissing."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        message = f"this needs the package {package}, which is not installed"
        raise ExtraMissing(message, hint="install paradox-memory[frames]") from None


def _of_pandas(frame: Any) -> dict[str, Any]:
    if not frame.columns.is_unique:
        raise InvalidRequest("two columns of the frame have the same name", hint="rename one of them")
    columns: dict[str, Any] = {name: _of_series(frame[name]) for name in frame.columns}
    if frame.index.name in ID_NAMES and not any(name in columns for name in ID_NAMES):
        columns["id"] = _of_series(frame.index.to_series())
    return columns


def _of_series(series: Any) -> Any:
    kind = series.dtype.kind
    if isinstance(series.dtype, np.dtype) and (kind in "iub" or (kind in "fM" and series.notna().all())):
        return series.to_numpy()
    return series.astype(object).where(series.notna(), None).tolist()


def _of_polars(frame: Any) -> dict[str, Any] | None:
    polars = _library("polars")
    if isinstance(frame, polars.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, polars.DataFrame):
        return None
    columns: dict[str, Any] = {}
    for series in frame.get_columns():
        if isinstance(series.dtype, polars.Array) and not series.null_count():
            columns[series.name] = series.to_numpy()
        elif isinstance(series.dtype, polars.List) and series.dtype.inner.is_numeric() and _is_matrix(series):
            columns[series.name] = series.explode().to_numpy().reshape(len(series), -1)
        else:
            columns[series.name] = series.to_list()
    return columns


def _is_matrix(series: Any) -> bool:
    """Whether a Polars list column has as many numbers in each row, and no gaps."""
    return bool(len(series)) and not series.null_count() and series.list.len().n_unique() == 1 and bool(series.list.len()[0])


def _of_arrow(name: str, column: Any) -> Any:
    """Return one Arrow column."""
    arrow = _library("pyarrow")
    array = column.combine_chunks() if isinstance(column, arrow.ChunkedArray) else column
    if isinstance(array, arrow.ChunkedArray):  # no chunk, or more than one holds
        array = arrow.concat_arrays(array.chunks) if array.num_chunks else arrow.array([], array.type)
    kind = array.type
    if arrow.types.is_fixed_size_list(kind) and not array.null_count and _is_number(arrow, kind.value_type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), kind.list_size)
    if (arrow.types.is_list(kind) or arrow.types.is_large_list(kind)) and not array.null_count and _is_number(arrow, kind.value_type):
        lengths = np.diff(array.offsets.to_numpy())
        if len(lengths) and lengths[0] and (lengths == lengths[0]).all():
            return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    if arrow.types.is_timestamp(kind):
        if name == "at" and not array.null_count:
            return array.to_numpy(zero_copy_only=False)
        array = array.cast(arrow.timestamp("us", tz=kind.tz), safe=False)  # Python's times end at microseconds
    return array.to_pylist()


def _is_number(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_integer(kind) or arrow.types.is_floating(kind))


def _alike_ids(ids: list[Any]) -> list[Any]:
    """Return ids as numbers if all are, else as texts."""
    return ids if all(isinstance(id, int) for id in ids) else [str(id) for id in ids]


def _are_alike(values: Iterable[Any]) -> bool:
    """Whether a column's values, and what is in them, are of one type each: a library might bend them into one otherwise."""
    present = [value for value in values if value is not None]
    kinds = {float if type(value) is int else type(value) for value in present}
    if kinds == {list}:
        return _are_alike(chain.from_iterable(present))
    if kinds == {dict}:
        return all(_are_alike(value.get(name) for value in present) for name in dict.fromkeys(chain.from_iterable(present)))
    return len(kinds) <= 1


def _json_texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else msgspec.json.encode(value).decode() for value in values]


def _schema(kinds: frozenset[str], spec: CollectionSpec) -> Any:
    arrow = _library("pyarrow")
    fields = [("id", arrow.int64() if kinds == {"int"} else arrow.string())]
    if len(kinds) > 1 or "uuid" in kinds:
        fields.append(("id_kind", arrow.string()))
    for name, vector in spec.vectors.items():
        width, dtype = shape_of(vector)
        fields.append((vector_column(name, spec), arrow.list_(arrow.from_numpy_dtype(dtype), width)))
    return arrow.schema([*fields, ("payload", arrow.string()), ("modality", arrow.string()), ("at", arrow.timestamp("us", tz="UTC"))])


def _arrow_table(page: Page, schema: Any, spec: CollectionSpec) -> Any:
    arrow = _library("pyarrow")
    ids = page.keys if schema.field("id").type == arrow.int64() else list(map(id_text, page.keys))
    columns: dict[str, Any] = {
        "id": arrow.array(ids, schema.field("id").type),
        "id_kind": arrow.array(list(map(kind_of, page.keys))),
        "payload": arrow.array([payload_json(payload) for payload in page.payloads], arrow.binary()).cast(arrow.string()),
        "modality": arrow.array(page.modality, arrow.string()),
        "at": arrow.array(np.array(page.at_us, dtype=np.int64)).cast(schema.field("at").type),
    }
    for name in spec.vectors:
        columns[vector_column(name, spec)] = _arrow_vectors(arrow, page.vectors[name], page.present.get(name))
    return arrow.table([columns[name] for name in schema.names], schema=schema)


def _arrow_vectors(arrow: Any, matrix: NDArray[Any], present: NDArray[np.bool_] | None) -> Any:
    """Return (n, d) as a column of fixed-size lists, without a copy; rows that are not present are null."""
    mask = None if present is None else arrow.array(~present)
    return arrow.FixedSizeListArray.from_arrays(arrow.array(np.ascontiguousarray(matrix).reshape(-1)), matrix.shape[1], mask=mask)
