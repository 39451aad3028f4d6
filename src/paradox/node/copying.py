"""Copying a snapshot from one node to another: the newest manifest, and the files of its segments, piece by piece over the bus."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import msgspec

from paradox.errors import InternalError, SegmentCorrupt
from paradox.node.held import MANIFESTS, SEGMENTS, HeldCollection
from paradox.objects.local import LocalStore
from paradox.shard.manifest import decode_manifest, encode_manifest

PIECE_BYTES = 4 << 20
ARRIVING = "arriving"

Fetch = Callable[[str, int], bytes]
"""Returns a piece of a file of the other node's collection, from an offset on; empty at its end. Raises KeyError when it is gone."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells of its newest snapshot. files: of all segments, below the folder of the collection."""

    manifest: bytes
    position: int
    files: list[str]


def snapshot_of(held: HeldCollection) -> Snapshot | None:
    """Return what there is to copy; None when nothing was sealed yet."""
    manifest = held.manifest
    if manifest is None:
        return None
    names = {entry.name for entry in manifest.segments}
    files = [name for name in held.store.list(SEGMENTS) if name.split("/")[1] in names]
    return Snapshot(manifest=b"".join(encode_manifest(manifest)), position=manifest.position, files=files)


def read_piece(held: HeldCollection, file: str, offset: int) -> bytes | None:
    """Return a piece of a segment's file; None when the segment is there no more. Raises InternalError for any other file."""
    assert held.folder is not None
    path = (held.folder / file).resolve()
    if not path.is_relative_to((held.folder / SEGMENTS).resolve()):
        raise InternalError("a node was asked for a file that is no segment's", hint="run one version on all machines of a cluster")
    try:
        with path.open("rb") as opened:
            opened.seek(offset)
            return opened.read(PIECE_BYTES)
    except OSError:
        return None


def copy_snapshot(store: LocalStore, snapshot: Snapshot, fetch: Fetch) -> None:
    """Put a snapshot in the place of what the store of a collection holds. Raises KeyError when the other node made a newer one meanwhile,
    SegmentCorrupt when the manifest did not arrive whole; then nothing was changed. Segments check themselves when they are opened.
    """
    manifest = decode_manifest(snapshot.manifest, "of another node")
    arriving = store.root / "tmp" / ARRIVING
    shutil.rmtree(arriving, ignore_errors=True)
    for file in snapshot.files:
        target = arriving / file
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as written:
            while piece := fetch(file, written.tell()):
                written.write(piece)
    for name in (*store.list(MANIFESTS), *store.list(SEGMENTS)):
        store.delete(name)
    shutil.rmtree(store.root / SEGMENTS, ignore_errors=True)
    for file in snapshot.files:
        store.adopt(file, arriving / file)
    store.put(f"{MANIFESTS}{1:020d}", encode_manifest(manifest))
    shutil.rmtree(arriving, ignore_errors=True)


def position_of(store: Any) -> int:
    """Return the position of the newest whole manifest; 0 when there is none."""
    for name in reversed(store.list(MANIFESTS)):
        try:
            return decode_manifest(store.get(name), name).position
        except (KeyError, SegmentCorrupt):
            continue
    return 0
