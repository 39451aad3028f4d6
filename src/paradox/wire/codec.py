"""The codec: log entries as bytes. A MessagePack head names the columns; their buffers follow, each at a multiple of 8 bytes.

A matrix is never copied on the way out (it is one of the body's pieces) nor on the way in (it is a view of what was read).
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import FormatTooNew, LogCorrupt
from paradox.model.entries import Barrier, Entry, MapChange, Patch, Remove, Write
from paradox.model.points import Key, Points
from paradox.model.topology import RegionMap
from paradox.ports.log import Body

VERSION = 1
LEAD = struct.Struct("<HHI")  # version, flags (none yet), length of the head
_encode = msgspec.msgpack.Encoder().encode


class Column(msgspec.Struct, frozen=True):
    """One array's place in the body: bytes from the end of the head, length, dtype and shape."""

    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]


class Head(msgspec.Struct, frozen=True):
    """What an entry says beside its arrays."""

    kind: str
    facts: dict[str, Any]
    columns: dict[str, Column]


_decode_head = msgspec.msgpack.Decoder(Head).decode


def encode(entry: Entry) -> Body:
    """Return an entry's bytes in pieces."""
    match entry:
        case Write(points=points, regions=regions, epoch=epoch, moved=moved):
            facts = {
                "epoch": epoch,
                **({"moved": True} if moved else {}),
                "keys": points.keys,
                "modality": _runs(points.modality),
                "origin": points.origin,
                **_names(entry),
            }
            columns: dict[str, NDArray[Any]] = {
                "regions": regions,
                "at_us": points.at_us,
                "stamp": points.stamp,
                "key_id": points.key_id,
                "payload.lengths": np.fromiter(map(len, points.payloads), dtype=np.uint32, count=len(points)),
            }
            columns |= {f"vector.{name}": column for name, column in points.vectors.items()}
            columns |= {f"present.{name}": mask for name, mask in points.present.items()}
            return _body("write", facts, columns, points.payloads)
        case Patch(keys=keys, payloads=payloads, stamp=stamp):
            return _body("patch", {"keys": keys, "payloads": payloads, "stamp": stamp, **_names(entry)}, {}, [])
        case Remove(keys=keys, stamp=stamp):
            return _body("remove", {"keys": keys, "stamp": stamp, **_names(entry)}, {}, [])
        case MapChange(map=regions_map):
            return _body("map", map_facts(regions_map), map_columns(regions_map), [])
        case Barrier(kept=kept):
            return _body("barrier", {"kept": True} if kept else {}, {}, [])


def _names(entry: Write | Patch | Remove) -> dict[str, Any]:
    return {"names": entry.names} if entry.names else {}


def map_facts(regions: RegionMap) -> dict[str, Any]:
    """Return the plain values of a map."""
    return {"epoch": regions.epoch, "scale": regions.scale, "next_name": regions.next_name}


def map_columns(regions: RegionMap) -> dict[str, NDArray[Any]]:
    """Return the arrays of a map."""
    columns: dict[str, NDArray[Any]] = {"names": regions.names, "centroids": regions.centroids, "shard_of": regions.shard_of}
    return columns if regions.domain_of is None else columns | {"domain_of": regions.domain_of}


def map_from(facts: dict[str, Any], columns: dict[str, NDArray[Any]]) -> RegionMap:
    """Return the map of its plain values and arrays."""
    return RegionMap(
        epoch=facts["epoch"],
        scale=facts["scale"],
        next_name=facts["next_name"],
        names=np.array(columns["names"]),
        centroids=np.array(columns["centroids"]),
        shard_of=np.array(columns["shard_of"]),
        domain_of=np.array(columns["domain_of"]) if "domain_of" in columns else None,
    )


def _body(kind: str, facts: dict[str, Any], columns: dict[str, NDArray[Any]], payloads: list[bytes]) -> Body:
    placed, pieces, offset = {}, [], 0
    for name, array in columns.items():
        view = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
        placed[name] = Column(offset, len(view), array.dtype.str, array.shape)
        pieces.append(view)
        padding = -len(view) % 8
        if padding:
            pieces.append(memoryview(b"\0" * padding))
        offset += len(view) + padding
    joined = b"".join(payloads)
    placed["payload.bytes"] = Column(offset, len(joined), "|u1", (len(joined),))
    head = _encode(Head(kind, facts, placed))
    return [LEAD.pack(VERSION, 0, len(head)) + head + b"\0" * (-(LEAD.size + len(head)) % 8), *pieces, joined]


def _runs(names: list[str]) -> list[Any]:
    """Return names as [name, count] runs, since most batches have one."""
    runs: list[Any] = []
    if names and names.count(names[0]) == len(names):
        return [[names[0], len(names)]]
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1][1] += 1
        else:
            runs.append([name, 1])
    return runs


def decode(body: memoryview) -> Entry:
    """Return the entry of `encode`'s bytes; arrays are views of `body`. Raises LogCorrupt, FormatTooNew."""
    try:
        version, _, length = LEAD.unpack_from(body)
        if version > VERSION:
            raise FormatTooNew(f"a log entry has format {version}; this version reads up to {VERSION}", hint="upgrade paradox-memory")
        head = _decode_head(body[LEAD.size : LEAD.size + length])
        base = LEAD.size + length + -(LEAD.size + length) % 8
        columns = {name: _array(body, base, column) for name, column in head.columns.items()}
        return _entry(head, columns)
    except (struct.error, msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
        raise LogCorrupt(f"a log entry cannot be read: {error}", hint="run verify; restore from a copy") from None


def _array(body: memoryview, base: int, column: Column) -> NDArray[Any]:
    raw = body[base + column.offset : base + column.offset + column.length]
    return np.frombuffer(raw, dtype=np.dtype(column.dtype)).reshape(column.shape)


def _entry(head: Head, columns: dict[str, NDArray[Any]]) -> Entry:
    facts = head.facts
    names = tuple(facts.get("names", ()))
    match head.kind:
        case "write":
            keys: list[Key] = facts["keys"]
            points = Points(
                keys=keys,
                vectors=_named(columns, "vector."),
                payloads=_split(columns["payload.bytes"], columns["payload.lengths"]),
                at_us=columns["at_us"],
                modality=[name for name, count in facts["modality"] for _ in range(count)],
                stamp=columns["stamp"],
                key_id=columns["key_id"],
                origin=facts["origin"],
                present=_named(columns, "present."),
            )
            return Write(points=points, regions=columns["regions"], epoch=facts["epoch"], moved=facts.get("moved", False), names=names)
        case "patch":
            return Patch(keys=facts["keys"], payloads=facts["payloads"], stamp=facts["stamp"], names=names)
        case "remove":
            return Remove(keys=facts["keys"], stamp=facts["stamp"], names=names)
        case "map":
            return MapChange(map=map_from(facts, columns))
        case "barrier":
            return Barrier(kept=facts.get("kept", False))
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _named(columns: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in columns.items() if name.startswith(prefix)}


def _split(joined: NDArray[np.uint8], lengths: NDArray[np.uint32]) -> list[bytes]:
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    raw = joined.tobytes()
    return [raw[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []
