"""Snapshots: the manifests of one collection in its store, and the segments they name.

In a folder there is one writer of manifests. In a cluster each node writes its own, under its name, of the shards it holds; the segments
of all lie side by side, so that another node may take a shard over.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from paradox.errors import SegmentCorrupt
from paradox.model.topology import RegionMap
from paradox.ports.objects import ObjectStore
from paradox.shard.growing import Growing
from paradox.shard.manifest import Manifest, decode_manifest, encode_manifest

MANIFESTS = "manifests/"
SEGMENTS = "segments/"
KEPT = 2
"""Of each writer; the older one is for when the newer is damaged."""


class Frozen(msgspec.Struct, frozen=True):
    """What was set aside at one position, to be sealed: the growing segment of each shard; the map, shards and chain of that moment."""

    position: int
    growing: dict[int, Growing]
    regions: RegionMap
    shards: frozenset[int]
    chain: int | None


class Snapshots:
    """The manifests that one holder writes, and those of others beside."""

    def __init__(self, store: ObjectStore, folder: Path | None, *, node: str = "", shards: int = 1) -> None:
        """node: who writes them; "" = the only one there is. shards: of the collection."""
        self._store = store
        self._folder = folder
        self._node = node
        self._shards = shards
        self._prefix = f"{MANIFESTS}{node}/" if node else MANIFESTS
        self._made = max((int(name.rsplit("/", 1)[1]) for name in self.names()), default=0)

    def names(self) -> list[str]:
        """Return the names of own manifests, oldest first."""
        return self._store.list(self._prefix)

    def newest(self, damaged: dict[str, str]) -> Manifest | None:
        """Return the newest own manifest that is whole. damaged: takes the names of those that are not, and why."""
        for name in reversed(self.names()):
            try:
                return decode_manifest(self._store.get(name), name)
            except KeyError:
                damaged[name] = f"manifest {name} was removed while it was being read"
            except SegmentCorrupt as error:
                damaged[name] = error.message
        return None

    def put(self, manifest: Manifest) -> None:
        """Add a manifest; the newest one counts. Raises SegmentCorrupt when a segment was swept away before it was named."""
        if self._node and self._folder is not None:  # where others sweep
            for entry in manifest.segments:
                if not (self._folder / SEGMENTS / entry.name).is_dir():
                    what = f"segment {entry.name} is gone from the store; no snapshot is made"
                    raise SegmentCorrupt(what, hint="start this node anew: it begins at the snapshot before, and reads the log from there")
        self._made += 1
        self._store.put(f"{self._prefix}{self._made:020d}", encode_manifest(manifest))

    # -- those of others

    def of_all(self) -> Iterator[Manifest]:
        """Yield every manifest that can be read, whoever wrote it."""
        for _, manifest in self._of_all():
            yield manifest

    def _of_all(self) -> Iterator[tuple[str, Manifest]]:
        for name in self._store.list(MANIFESTS):
            with suppress(SegmentCorrupt, KeyError):
                yield name, decode_manifest(self._store.get(name), name)

    def covering(self, shard: int) -> Manifest | None:
        """Return the newest snapshot of a shard, whoever wrote it."""
        return max((one for one in self.of_all() if one.covers(shard)), key=lambda one: one.position, default=None)

    def newest_of_all(self) -> Manifest | None:
        """Return the newest snapshot of anything."""
        return max(self.of_all(), key=lambda one: one.position, default=None)

    def floor(self, shards: Iterable[int]) -> int:
        """Return up to which position no shard needs the log, even when the newest snapshot of each is damaged."""
        positions: dict[int, list[int]] = {shard: [] for shard in shards}
        for manifest in self.of_all():
            for shard, known in positions.items():
                if manifest.covers(shard):
                    known.append(manifest.position)
        return min(sorted(known)[-KEPT] if len(known) >= KEPT else 0 for known in positions.values())

    # -- what nobody needs

    def collect(self, quarantined: Iterable[str]) -> None:
        """Delete old manifests. The only writer also deletes the segments that none names any more, and what a crash left; see `Sweep`."""
        for name in self._superseded():
            self._store.delete(name)
        if self._node:
            return
        kept = set(quarantined)
        for name in self._store.list(MANIFESTS):
            with suppress(SegmentCorrupt, KeyError):  # nobody will open what a damaged manifest names
                kept |= reached(decode_manifest(self._store.get(name), name))
        for segment in segments_in(self._store) - kept:
            delete_segment(self._store, self._folder, segment)

    def _superseded(self) -> list[str]:
        """Return the own manifests that nobody needs: each of their shards has KEPT newer ones, whoever made them.

        So the newest ones of a shard stay when it has gone to another node: the log was trimmed because they are there.
        """
        own = set(self.names()[:-KEPT])
        if not self._node:
            return sorted(own)
        newer = [0] * self._shards
        superseded = []
        for name, manifest in sorted(self._of_all(), key=lambda one: (one[1].position, one[0]), reverse=True):
            covered = [shard for shard in range(self._shards) if manifest.covers(shard)]
            if name in own and all(newer[shard] >= KEPT for shard in covered):
                superseded.append(name)
            for shard in covered:
                newer[shard] += 1
        return superseded


def reached(manifest: Manifest) -> set[str]:
    """Return the names of the segments that a manifest needs, or has set aside."""
    return {entry.name for entry in manifest.segments} | set(manifest.quarantined)


def segments_in(store: ObjectStore) -> set[str]:
    """Return the names of all segments of a collection's store."""
    return {name.split("/")[1] for name in store.list(SEGMENTS)}


def delete_segment(store: ObjectStore, folder: Path | None, segment: str) -> None:
    """Delete all files of a segment; no error when there are none."""
    for name in store.list(f"{SEGMENTS}{segment}/"):
        store.delete(name)
    assert folder is not None
    shutil.rmtree(folder / SEGMENTS / segment, ignore_errors=True)
