"""Bulk: points in streams of any length, as JSON lines or Arrow record batches, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Literal, TypeAlias

import msgspec

from paradox.client.formats import BYTE_ORDER_MARK, columns_of_rows, ids_from
from paradox.client.intake import Parts, parts_of_columns
from paradox.errors import BatchMismatch, InvalidRequest, PayloadInvalid
from paradox.model.operations import CollectionView

BulkForm: TypeAlias = Literal["lines", "arrow"]
PART_ROWS, PART_BYTES, PART_CELLS = 4_096, 8 << 20, 1 << 20
"""Lines that make a part, or fewer when they are long or each has names of its own; a record batch is one by itself."""


def columns_in(stream: IO[bytes], form: BulkForm) -> Iterator[dict[str, Any]]:
    """Yield the columns of each part of a stream. Raises PayloadInvalid, InvalidRequest where it is not of its form, ExtraMissing."""
    if form == "lines":
        return _of_lines(stream)
    from paradox.client.frames import stream_columns

    return stream_columns(stream)


def _of_lines(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    rows: list[dict[str, Any]] = []
    names: set[str] = set()
    size = 0
    for number, line in enumerate(stream):
        text = line.removeprefix(BYTE_ORDER_MARK).strip() if number == 0 else line.strip()
        try:
            if text:
                rows.append(decode(text))
                names |= rows[-1].keys()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if rows:
                yield columns_of_rows(rows)
            raise PayloadInvalid(
                f"line {number + 1:,} is not a JSON object: {error}", hint="mend it, and send it and the lines after it again"
            ) from None
        size += len(line)
        if rows and (len(rows) >= PART_ROWS or size >= PART_BYTES or len(rows) * len(names) >= PART_CELLS):
            yield columns_of_rows(rows)
            rows, names, size = [], set(), 0
    if rows:
        yield columns_of_rows(rows)


def parts_of_written(columns: dict[str, Any], view: CollectionView) -> Parts:
    """Return columns that somebody wrote in parts: ids by their kinds, payloads from their JSON. Raises BatchMismatch, InvalidRequest."""
    columns = dict(columns)
    name, kinds = "ids" if "ids" in columns else "id", columns.pop("id_kind", None)
    if name in columns:
        columns[name] = ids_from(columns[name], kinds)
    payload = columns.get("payload")
    if isinstance(payload, list) and any(isinstance(one, (str, bytes)) for one in payload):
        columns["payload"] = [_payload_of(one, number) for number, one in enumerate(payload)]
    return parts_of_columns(columns, view)


def is_empty(parts: Parts) -> bool:
    """Tell whether there is nothing in these parts that a point can be made of."""
    return parts.texts is None and parts.vectors is None


def emptiness(what: str, columns: dict[str, Any], view: CollectionView) -> BatchMismatch:
    """Return the error that says so. what: where the columns are from."""
    there = ", ".join(name for name in columns if name != "id_kind") or "none"
    return BatchMismatch(
        f"{what} has neither a column of texts nor one of vectors; its columns are {there:.300}",
        hint=f"name the column of the texts 'text', or that of the vectors {view.spec.main!r}",
    )


def _payload_of(given: Any, number: int) -> Any:
    if not isinstance(given, (str, bytes)):
        return given
    try:
        return msgspec.json.decode(given, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = f"the payload of point {number} is text, but no JSON object"
        raise InvalidRequest(message, hint="rename the column, if it is a plain field") from None
