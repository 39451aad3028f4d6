"""Writing operations, served against one held collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from paradox.errors import BatchEmpty, BatchMismatch, PayloadTooLarge, PointMissing, QueryInvalid
from paradox.model.admit import check_batch, check_keys, check_payloads
from paradox.model.operations import AddPoints, DeletePoints, Receipt, UpdatePoints
from paradox.model.points import Key, Points, id_of, made_keys
from paradox.model.schema import Limits
from paradox.node.reads import locate, matching_keys
from paradox.shard.build import Segment
from paradox.shard.engine import merged_payload

if TYPE_CHECKING:
    from paradox.node.database import OpenedCollection

EMPTY = msgspec.msgpack.encode({})
TEXT, VECTOR = "text", "vector"
"""Modalities of points that were given as text, and of those that were given as vectors only."""


def add(opened: OpenedCollection, operation: AddPoints, origin: str, limits: Limits) -> Receipt:
    """Check, encode, make durable and searchable."""
    held, rows = opened.held, operation.rows
    vectors = dict(operation.vectors)
    if operation.texts is not None and held.spec.main not in vectors and rows:
        vectors[held.spec.main] = opened.encoder(held.spec.main).encode(operation.texts)
    check_batch(held.spec, rows, vectors, operation.present)
    keys = operation.keys if operation.keys is not None else made_keys(rows, held.env.now_us() // 1000, held.env.random_bytes(10 * rows))
    payloads = operation.payloads if operation.payloads is not None else [EMPTY] * rows
    at_us = operation.at_us if operation.at_us is not None else np.full(rows, held.env.now_us(), dtype=np.int64)
    modality = operation.modality or [TEXT if operation.texts is not None else VECTOR] * rows
    for name, column in (("ids", keys), ("payloads", payloads), ("times", at_us), ("modalities", modality)):
        if len(column) != rows:
            raise BatchMismatch(f"{len(column)} {name} for {rows} points", hint=f"give one of the {name} a point, or leave them out")
    check_keys(keys)
    check_payloads(payloads, limits)
    points = Points(
        keys=keys,
        vectors=vectors,
        payloads=payloads,
        at_us=at_us,
        modality=modality,
        stamp=np.zeros(rows, dtype=np.uint64),
        key_id=np.zeros(rows, dtype=np.uint32),
        origin=origin,
        present=dict(operation.present),
    )
    position = held.commit_write(points, operation.once)
    return Receipt(ids=[id_of(key) for key in keys] if operation.keys is None or _has_uuid(keys) else list(keys), position=position)  # type: ignore[arg-type]


def update(opened: OpenedCollection, operation: UpdatePoints, limits: Limits) -> Receipt:
    """Set payload fields of points that exist."""
    if not operation.keys:
        raise BatchEmpty("the update names no point", hint="give at least one id")
    check_keys(operation.keys)
    check_payloads(operation.payloads, limits)
    there = locate(opened.held, operation.keys)
    missing = next((key for key in operation.keys if key not in there), None)
    if missing is not None:
        raise PointMissing(f"there is no point with id {id_of(missing)!r}; nothing was updated", hint="use add to create points")
    _check_merged([there[key] for key in operation.keys], operation.payloads, limits)
    position = opened.held.commit_patch(operation.keys, operation.payloads)
    return Receipt(ids=[id_of(key) for key in operation.keys], position=position)


def _check_merged(places: list[tuple[Segment, int]], changes: list[bytes], limits: Limits) -> None:
    """Raise PayloadTooLarge when a payload would exceed the limit once changed."""
    for number, ((segment, row), change) in enumerate(zip(places, changes, strict=True)):
        old = segment.payload(row)
        if len(old) + len(change) > limits.payload_bytes_max and len(merged_payload(old, change)) > limits.payload_bytes_max:
            raise PayloadTooLarge(
                f"the payload of point {number} would exceed {limits.payload_bytes_max:,} bytes with what it has; nothing was updated",
                hint="remove fields that are no longer needed by setting them to None",
            )


def delete(opened: OpenedCollection, operation: DeletePoints, limits: Limits) -> Receipt:
    """Delete points by id, or by filter resolved to ids now."""
    held = opened.held
    if (operation.keys is None) == (operation.where is None):
        raise QueryInvalid("delete needs either ids or where", hint="to delete everything, drop the collection")
    if operation.where is not None:
        gone = matching_keys(held, operation.where, limits)
    else:
        there = locate(held, operation.keys or [])
        gone = [key for key in dict.fromkeys(operation.keys or []) if key in there]
    position = held.commit_remove(gone) if gone else held.engine.applied
    return Receipt(ids=[id_of(key) for key in gone], position=position)


def _has_uuid(keys: list[Key]) -> bool:
    return bytes in set(map(type, keys))
