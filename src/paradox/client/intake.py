"""Intake: from texts, points as dicts, frames and arrays to the columns of AddPoints.

Only what an engine cannot see is checked here (types, lengths, unknown names); sizes, finite numbers and duplicates are the engine's
business, except when one call becomes several operations: then all of it is checked before the first is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from paradox.client.payloads import encode_payloads, payload_column
from paradox.client.times import is_one_time, time_us, times_us
from paradox.client.vectors import Columns, check_values, vector_columns, with_absent
from paradox.errors import BatchEmpty, BatchMismatch, IdInvalid, InvalidRequest, NumberRange, PayloadInvalid, QueryInvalid
from paradox.model.admit import check_keys, check_present
from paradox.model.filters import Filter
from paradox.model.operations import AddPoints, CollectionView, DeletePoints, Receipt, UpdatePoints
from paradox.model.points import Key, key_of, keys_of
from paradox.model.schema import MAIN_VECTOR, CollectionSpec, Limits

LIMITS = Limits()
OWN_COLUMNS = ("id", "vector", "vectors", "payload", "text", "modality", "at")
HINTS: Mapping[str, str] = {
    "payload": "give one dict for all points, or a list with one dict a point",
    "modality": "give a word such as 'text' or 'image' for all points, or a list with one a point",
    "at": "give one time for all points, or a list with one a point",
    "ids": "give ids=['a', 'b']",
}
FORMS_HINT = "give texts, a list of dicts, a pandas, Polars or PyArrow frame, or vectors=…"


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one add, in the caller's own forms. None = not given. present: which points have a vector, by its name."""

    texts: Any = None
    ids: Any = None
    vectors: Any = None
    payload: Any = None
    modality: Any = None
    at: Any = None
    present: Any = None


def additions(view: CollectionView, given: Any, parts: Parts, *, limits: Limits = LIMITS) -> list[AddPoints]:
    """Return the operations that add what was given, each of at most `batch_points_max` points and about `batch_bytes_max` bytes.

    given: texts, points, a frame or vectors, or None; parts: what was given by keyword. Raises an InvalidRequest that names what is wrong;
    then nothing was sent. Cost: 0.15 s for 100,000 points of 256 dimensions with payloads and text ids.
    """
    if given is not None:
        parts = _joined(parts_of(given, view), parts)
    batch = _columns(view, parts, limits)
    ends = _ends(batch, limits)
    if len(ends) == 1:
        return [batch]
    _check_whole(batch, view.spec)
    return [_cut(batch, start, end) for start, end in pairwise([0, *ends])]


def _ends(batch: AddPoints, limits: Limits) -> list[int]:
    """Return where each operation's rows end: as few operations as the limits allow, none without a row."""
    row_bytes = sum(matrix[:1].nbytes for matrix in batch.vectors.values())
    sizes = np.full(batch.rows, row_bytes, dtype=np.int64)
    for column in (batch.payloads, batch.texts):
        if column is not None:
            sizes += np.fromiter(map(len, column), dtype=np.int64, count=batch.rows)
    totals = np.cumsum(sizes)
    ends, start = [], 0
    while start < batch.rows:
        used = int(totals[start - 1]) if start else 0
        fitting = int(np.searchsorted(totals, used + limits.batch_bytes_max, side="right"))
        start = min(max(start + 1, fitting), start + limits.batch_points_max, batch.rows)
        ends.append(start)
    return ends


def _check_whole(batch: AddPoints, spec: CollectionSpec) -> None:
    """Check what an engine would refuse in one of several operations, for one bad point must not leave the others half added."""
    if batch.keys is not None:
        check_keys(batch.keys)
    check_values(Columns(matrices=batch.vectors, present=batch.present), spec)
    for number, text in enumerate(batch.texts or ()):
        if not text or text.isspace():
            raise PayloadInvalid(
                f"the text of point {number} is empty; expected at least one word", hint="leave the point out, or give its vector"
            )


def joined_receipt(receipts: Sequence[Receipt]) -> Receipt:
    """Return one receipt for several operations that were sent in order."""
    if len(receipts) == 1:
        return receipts[0]
    return Receipt(ids=list(chain.from_iterable(receipt.ids for receipt in receipts)), position=receipts[-1].position)


def update(collection: str, ids: Any, payload: Any, *, limits: Limits = LIMITS) -> UpdatePoints:
    """Return the operation that sets payload fields. payload: one dict for all ids, or one an id. Raises as `additions`."""
    keys = keys_given(ids)
    if not keys:
        raise BatchEmpty("nothing to update: no id was given", hint="give ids=['a', 'b']")
    if isinstance(payload, Mapping):
        return UpdatePoints(collection=collection, keys=keys, payloads=encode_payloads([payload], limits=limits) * len(keys))
    payloads = _listed(payload, "payload")
    _check_lengths({"ids": len(keys), "payload": len(payloads)})
    return UpdatePoints(collection=collection, keys=keys, payloads=encode_payloads(payloads, limits=limits))


def batch_of(batch: Any) -> int:
    """Return how many points to fetch at a time. Raises NumberRange."""
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
        raise NumberRange(f"batch={batch!r:.80}; expected a whole number above 0", hint="leave it out, or give batch=1000")
    return int(batch)


def deletion(collection: str, ids: Any, where: Filter | None) -> DeletePoints:
    """Return the operation that deletes by id or by filter. Raises QueryInvalid unless exactly one is given."""
    if (ids is None) == (where is None):
        what = "both ids and where" if ids is not None else "neither ids nor where"
        raise QueryInvalid(f"delete was given {what}; expected one of them", hint="give ids=[…], or where=\"topic = 'sea'\"")
    return DeletePoints(collection=collection, keys=None if ids is None else keys_given(ids), where=where)


def keys_given(ids: Any) -> list[Key]:
    """Return one id, or many, in their stored form. Raises IdInvalid."""
    if isinstance(ids, (str, int, UUID, np.integer)):
        return [key_of(ids)]  # type: ignore[arg-type]
    if isinstance(ids, np.ndarray):
        if ids.ndim == 0:
            return [key_of(ids.item())]
        if ids.ndim != 1:
            raise IdInvalid(f"ids have the shape {ids.shape}; expected one id a point", hint="give a flat list")
        return keys_of(ids if ids.dtype.kind in "iu" else _values(ids))
    if not isinstance(ids, Iterable):
        return [key_of(ids)]
    return keys_of(_listed(ids, "ids"))


def parts_of(given: Any, view: CollectionView) -> Parts:
    """Return the parts of what was given first: its form is known by its type, or by its first value."""
    if isinstance(given, str):
        return Parts(texts=[given])
    if isinstance(given, Mapping):
        return _of_points([given], view)
    if isinstance(given, np.ndarray):
        if given.dtype.names is not None:
            return parts_of_columns({name: given[name] for name in given.dtype.names}, view)
        return Parts(vectors=given) if given.dtype.kind not in "OUS" else _of_list(given.tolist(), view)
    if type(given).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow"):
        from paradox.client.frames import columns_of

        columns = columns_of(given)
        if columns is not None:
            return parts_of_columns(columns, view)
    return _of_list(_listed(given, "what to add"), view)


def _of_list(given: Sequence[Any], view: CollectionView) -> Parts:
    if not given:
        raise BatchEmpty("nothing to add: the list is empty", hint=FORMS_HINT)
    if isinstance(given[0], str):
        return Parts(texts=given)
    if isinstance(given[0], Mapping):
        return _of_points(given, view)
    if isinstance(given[0], (int, float, list, tuple, np.ndarray, np.number)):
        return Parts(vectors=given)
    raise InvalidRequest(f"a list of {type(given[0]).__name__} cannot be added", hint=FORMS_HINT)


def _of_points(points: Sequence[Any], view: CollectionView) -> Parts:
    """Return points as dicts in parts. A key that is no part of a point is an error: it may be a payload field put in the wrong place."""
    for number, point in enumerate(points):
        if not isinstance(point, Mapping):
            raise BatchMismatch(f"point {number} is of type {type(point).__name__}, but point 0 is a dict", hint="add them in two calls")
    known = {*OWN_COLUMNS, *view.spec.vectors}
    if not known.issuperset(chain.from_iterable(points)):
        number, name = next((number, key) for number, point in enumerate(points) for key in point if key not in known)
        raise PayloadInvalid(
            f"point {number} has the unknown key {name!r:.80}; a point has {', '.join(sorted(known))}",
            hint="put fields of your own under 'payload'",
        )
    columns = {name: [point.get(name) for point in points] for name in known if any(name in point for point in points)}
    return parts_of_columns(columns, view)


def parts_of_columns(columns: dict[str, Any], view: CollectionView) -> Parts:
    """Return named columns in parts: what is not the point's own goes into its payload. None stands for what a point has not."""
    vectors = _vectors_of(columns, view.spec)
    texts = _values(columns.get("text"))
    modality = _values(columns.get("modality"))
    names = {*OWN_COLUMNS, "ids", *view.spec.vectors, *(f"vector.{name}" for name in view.spec.vectors)}
    fields = {name: _values(column) for name, column in columns.items() if name not in names}
    if texts is not None and vectors is not None and any(text is None for text in texts):
        fields["text"] = texts
        modality = ["vector" if text is None else "text" for text in texts] if modality is None else modality
        texts = None
    payload = _values(columns.get("payload"))
    return Parts(
        texts=texts,
        ids=_complete("id", columns.get("id", columns.get("ids"))),
        vectors=vectors,
        payload=_merged(payload, fields) if fields else payload,
        modality=modality,
        at=_complete("at", columns.get("at")),
    )


def _vectors_of(columns: dict[str, Any], spec: CollectionSpec) -> Any:
    """Return the vectors among columns: one column, a dict by name, or None."""
    named = {name: columns[key] for name in spec.vectors for key in (name, f"vector.{name}") if key in columns}
    for key in (MAIN_VECTOR, "vectors"):
        if key not in columns or key in named:
            continue
        column = columns[key]
        if isinstance(column, (list, tuple)) and any(isinstance(one, Mapping) for one in column):
            names = dict.fromkeys(chain.from_iterable(one or {} for one in column))
            named |= {name: [(one or {}).get(name) for one in column] for name in names}
        elif not named:
            named[spec.main] = column
    for name, column in list(named.items()):
        if isinstance(column, (list, tuple)) and all(one is None for one in column):
            del named[name]
    return named or None


def _complete(name: str, column: Any) -> Any:
    """Return a column that every point has; None if no point has it. Raises BatchMismatch naming the first point without it."""
    if not isinstance(column, (list, tuple)) or all(value is not None for value in column):
        return column
    if all(value is None for value in column):
        return None
    number = next(number for number, value in enumerate(column) if value is None)
    raise BatchMismatch(f"point {number} has no {name}, but others have", hint="give it for all points or for none")


def _merged(payload: Any, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return payloads with more fields; a field that is None is absent."""
    names = list(fields)
    rows = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in zip(*fields.values(), strict=True)
    ]
    if payload is None:
        return rows
    if len(payload) != len(rows):
        raise BatchMismatch(f"{len(payload)} payloads for {len(rows)} points", hint="give one payload a point")
    for number, (kept, row) in enumerate(zip(payload, rows, strict=True)):
        both = [name for name in row if kept and name in kept and kept[name] != row[name]]
        if both:
            raise BatchMismatch(f"point {number} has {both[0]!r:.80} twice, in its payload and beside it", hint="give it once")
    return [{**(kept or {}), **row} for kept, row in zip(payload, rows, strict=True)]


def _joined(first: Parts, second: Parts) -> Parts:
    """Return both parts as one. Raises BatchMismatch if something is given in both."""
    parts: dict[str, Any] = {}
    for name in Parts.__struct_fields__:
        one, other = getattr(first, name), getattr(second, name)
        if one is not None and other is not None:
            raise BatchMismatch(f"{name} is given twice, in what to add and as {name}=", hint=f"leave {name}= out")
        parts[name] = other if one is None else one
    return Parts(**parts)


def _columns(view: CollectionView, parts: Parts, limits: Limits) -> AddPoints:
    """Return all parts as columns of one operation, however many rows. Raises BatchEmpty, BatchMismatch and what each part raises."""
    texts = None if parts.texts is None else _texts(parts.texts)
    vectors = None if parts.vectors is None else vector_columns(parts.vectors, view.spec, view.name)
    if texts is None and vectors is None:
        if parts.ids is None and parts.payload is None:
            raise BatchEmpty("nothing to add: neither texts, points nor vectors were given", hint=FORMS_HINT)
        raise BatchMismatch("the points have neither vectors nor texts", hint=FORMS_HINT)
    keys = None if parts.ids is None else keys_given(parts.ids)
    payload = parts.payload if parts.payload is None or isinstance(parts.payload, Mapping) else _listed(parts.payload, "payload")
    one_time = parts.at is None or is_one_time(parts.at)
    at_us = None if one_time else times_us(parts.at if isinstance(parts.at, np.ndarray) else _listed(parts.at, "at"))
    modality = parts.modality if parts.modality is None or isinstance(parts.modality, str) else _listed(parts.modality, "modality")
    lengths = {"texts": texts, "ids": keys, "payload": payload, "modality": modality, "at": at_us}
    counted = {name: len(part) for name, part in lengths.items() if part is not None and not isinstance(part, (str, Mapping))}
    if vectors is not None:
        counted["vectors"] = len(next(iter(vectors.matrices.values())))
    rows = _check_lengths(counted)
    if parts.at is not None and one_time:
        at_us = np.full(rows, time_us(parts.at), dtype=np.int64)
    columns = Columns(matrices={}, present={}) if vectors is None else vectors
    main_given = view.spec.main in columns.matrices
    columns = with_absent(columns, view.spec, rows)
    if parts.present is not None:
        masks = {name: mask if isinstance(mask, np.ndarray) else np.array(mask, dtype=object) for name, mask in parts.present.items()}
        masks = {name: mask.astype(np.bool_) if {*map(type, mask.flat)} == {bool} else mask for name, mask in masks.items()}
        check_present(view.spec, rows, masks)
        columns = Columns(matrices=columns.matrices, present=columns.present | masks)
    return AddPoints(
        collection=view.name,
        rows=rows,
        keys=keys,
        vectors=columns.matrices,
        present=columns.present,
        texts=None if main_given else texts,
        payloads=payload_column(payload, texts, rows, limits=limits),
        at_us=at_us,
        modality=_modalities(modality, rows, "text" if texts is not None else "vector"),
    )


def _check_lengths(lengths: dict[str, int]) -> int:
    """Return the one length. Raises BatchMismatch that shows all, BatchEmpty for none."""
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise BatchMismatch(f"the parts have different lengths: {shown}", hint="give one of each a point")
    rows = next(iter(lengths.values()))
    if not rows:
        raise BatchEmpty("nothing to add: no point was given", hint=FORMS_HINT)
    return rows


def _modalities(modality: Any, rows: int, absent: str) -> list[str] | None:
    """Return a name a row, None when not given. A row without one has `absent`."""
    if modality is None:
        return [absent] * rows if absent == "text" else None
    if isinstance(modality, str):
        return [modality] * rows
    names = [absent if name is None else name for name in modality]
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidRequest(
                f"the modality of point {number} is of type {type(name).__name__}; expected a word", hint="such as 'text' or 'image'"
            )
    return names


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            what = "no text" if text is None else f"a text of type {type(text).__name__}; expected str"
            raise PayloadInvalid(f"point {number} has {what}", hint="add points without text in a call of their own, with vectors=…")
    return texts


def _listed(given: Any, name: str) -> list[Any]:
    """Return any iterable as a list. Raises InvalidRequest for what is none."""
    if isinstance(given, list):
        return given
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, bytearray)):
        raise InvalidRequest(f"{name} is of type {type(given).__name__}; expected a list", hint=HINTS.get(name, FORMS_HINT))
    return list(given)


def _values(column: Any) -> Any:
    """Return a column's values as Python's own."""
    if not isinstance(column, np.ndarray):
        return column
    if column.dtype.kind == "M":
        return column.astype("datetime64[us]").tolist()  # finer units would become bare numbers
    return (np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column).tolist()


def _cut(batch: AddPoints, start: int, stop: int) -> AddPoints:
    """Return some rows of a batch; matrices are views."""
    return AddPoints(
        collection=batch.collection,
        rows=stop - start,
        keys=batch.keys[start:stop] if batch.keys is not None else None,
        vectors={name: matrix[start:stop] for name, matrix in batch.vectors.items()},
        present={name: mask[start:stop] for name, mask in batch.present.items()},
        texts=batch.texts[start:stop] if batch.texts is not None else None,
        payloads=batch.payloads[start:stop] if batch.payloads is not None else None,
        at_us=batch.at_us[start:stop] if batch.at_us is not None else None,
        modality=batch.modality[start:stop] if batch.modality is not None else None,
    )
