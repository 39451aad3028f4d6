"""Manifests: what a snapshot consists of, at one log position. Written under a new number each time, the newest whole one counts."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from paradox.errors import FormatTooNew, SegmentCorrupt
from paradox.model.recall import Curve, Routing
from paradox.model.topology import RegionMap

MAGIC = b"PDXMAN1\n"
VERSION = 1
HEAD = struct.Struct("<8sQQ")  # magic, XXH3 of the body, its length


class SegmentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed segment of the snapshot. dead: rows (uint32, little endian) that were gone at the snapshot's position.

    files: name → (length, XXH3) of every file of the segment but the points file, which checks itself.
    """

    name: str
    shard: int
    rows: int
    dead: bytes
    files: dict[str, tuple[int, int]]
    scan_curves: dict[str, Curve] = {}
    probe_curves: dict[str, Curve] = {}

    def dead_rows(self) -> NDArray[np.uint32]:
        """Return `dead` as rows."""
        return np.frombuffer(self.dead, dtype="<u4")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot: everything the log said up to `position` stands in these segments, less their dead rows.

    quarantined: damaged segments that were set aside, and what is wrong with each. Their points are missing. lost: the shard each
    belonged to, and how many live rows it had. missing: the hashes (u64, little endian) of the ids of those rows that were not written anew
    or deleted since, where they are known. fields: the payload fields that points ever had, and the kinds of their values, also where
    the points are gone. patience: how far searches over shards must go. shards: those it is a snapshot of; None = all there are. chain:
    over the entries up to `position`; None = the version that wrote it kept none.
    """

    version: int = VERSION
    incarnation: int
    position: int
    stamp: int
    segments: tuple[SegmentEntry, ...]
    quarantined: dict[str, str] = {}
    lost: dict[str, tuple[int, int]] = {}
    missing: dict[str, bytes] = {}
    map: dict[str, Any]
    patience: tuple[Routing, ...] = ()
    fields: dict[str, tuple[str, ...]] = {}
    shards: tuple[int, ...] | None = None
    chain: int | None = None

    def covers(self, shard: int) -> bool:
        """Tell whether it is a snapshot of this shard."""
        return self.shards is None or shard in self.shards


def map_to_plain(regions: RegionMap) -> dict[str, Any]:
    """Return a map of regions as plain values."""
    return {
        "epoch": regions.epoch,
        "scale": regions.scale,
        "next_name": regions.next_name,
        "dimensions": regions.centroids.shape[1],
        "names": regions.names.astype("<i8").tobytes(),
        "centroids": regions.centroids.tobytes(),
        "shard_of": regions.shard_of.astype("<i4").tobytes(),
        "domain_of": None if regions.domain_of is None else regions.domain_of.astype("<i4").tobytes(),
    }


def map_from_plain(plain: dict[str, Any]) -> RegionMap:
    """Return the map of `map_to_plain`'s values."""
    return RegionMap(
        epoch=plain["epoch"],
        names=np.frombuffer(plain["names"], dtype="<i8"),
        centroids=np.frombuffer(plain["centroids"], dtype=np.int8).reshape(-1, plain["dimensions"]),
        shard_of=np.frombuffer(plain["shard_of"], dtype="<i4"),
        scale=plain["scale"],
        next_name=plain["next_name"],
        domain_of=np.frombuffer(domains, dtype="<i4") if (domains := plain.get("domain_of")) is not None else None,
    )


def encode_manifest(manifest: Manifest) -> list[bytes]:
    """Return a manifest's bytes in pieces."""
    body = msgspec.msgpack.encode(manifest)
    return [HEAD.pack(MAGIC, xxhash.xxh3_64_intdigest(body), len(body)), body]


def decode_manifest(raw: bytes, name: str) -> Manifest:
    """Return the manifest of these bytes. Raises SegmentCorrupt, FormatTooNew."""
    if len(raw) >= HEAD.size:
        magic, expected, length = HEAD.unpack_from(raw)
        body = raw[HEAD.size :]
        if magic == MAGIC and len(body) == length and xxhash.xxh3_64_intdigest(body) == expected:
            version = msgspec.msgpack.decode(body).get("version", 0)
            if version > VERSION:
                raise FormatTooNew(
                    f"manifest {name} has format {version}; this version reads up to {VERSION}", hint="upgrade paradox-memory"
                )
            return msgspec.msgpack.decode(body, type=Manifest)
    raise SegmentCorrupt(f"manifest {name} is damaged or was cut off", hint="an older manifest and the log are used instead; run verify")
