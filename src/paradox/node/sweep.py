"""Sweeping the store of one collection that many nodes write to: segments that no snapshot reaches, and snapshots of nodes that are gone.

A segment is written before the manifest that names it, and another node may be reading an older manifest: so nothing goes that was
not seen unreached again and again for SAFE_S. Time is that of the one who sweeps, so no two clocks are compared, and who begins to sweep
begins to wait.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from paradox.errors import FormatTooNew, SegmentCorrupt
from paradox.node.snapshots import KEPT, MANIFESTS, delete_segment, reached, segments_in
from paradox.ports.objects import ObjectStore
from paradox.shard.manifest import Manifest, decode_manifest

SAFE_S = 900.0
"""How long something must have been of no use: far longer than it takes from writing a segment, or taking over a shard, to the manifest."""
UNFINISHED = ("tmp/*", "**/.unfinished-*")
"""What writers that were killed leave: work folders, and files without a name yet."""


class Sweep:
    """What is of no use in one collection's store, and since when. For one thread."""

    def __init__(self, store: ObjectStore, folder: Path, *, elapsed_s: Callable[[], float], shards: int) -> None:
        self._store = store
        self._folder = folder
        self._elapsed_s = elapsed_s
        self._shards = shards
        self._since: dict[str, float] = {}

    def once(self, *, live: Collection[str], placed: Collection[str]) -> None:
        """Look, and delete what has been of no use for SAFE_S. live: nodes that live; placed: those that are to hold shards.

        Where a manifest cannot be read nothing is deleted: it is not known what it reaches.
        """
        manifests = self._manifests()
        if manifests is None:
            self._since.clear()
            return
        gone = {f"{MANIFESTS}{node}" for node in manifests if node not in live and node not in placed}
        needless = {name for name in gone if is_covered(manifests, name.removeprefix(MANIFESTS), live, shards=self._shards)}
        kept = set().union(*(reached(one) for own in manifests.values() for one in own))
        segments = segments_in(self._store) - kept
        unfinished = {str(path) for pattern in UNFINISHED for path in self._folder.glob(pattern)}
        for name in self._due(needless | segments | unfinished):
            if name in needless:
                for manifest in self._store.list(f"{name}/"):
                    self._store.delete(manifest)
            elif name in segments:
                delete_segment(self._store, self._folder, name)
            else:
                _delete(Path(name))

    def _due(self, useless: Collection[str]) -> list[str]:
        """Note what is of no use now, and return what has been so for long enough."""
        now = self._elapsed_s()
        self._since = {name: self._since.get(name, now) for name in sorted(useless)}
        return [name for name, since in self._since.items() if now - since >= SAFE_S]

    def _manifests(self) -> dict[str, list[Manifest]] | None:
        """Return the manifests of each node, oldest first; None when one of them cannot be read."""
        found: dict[str, list[Manifest]] = {}
        for name in self._store.list(MANIFESTS):
            try:
                with suppress(KeyError):  # its node has a newer one
                    found.setdefault(name.split("/")[1], []).append(decode_manifest(self._store.get(name), name))
            except (SegmentCorrupt, FormatTooNew):
                return None
        return found


def is_covered(manifests: Mapping[str, Sequence[Manifest]], node: str, live: Iterable[str], *, shards: int) -> bool:
    """Tell whether nodes that live have as many snapshots of each shard that a node has one of, none of them older than its own."""
    for shard in range(shards):
        own = [one.position for one in manifests[node] if one.covers(shard)]
        others = [one for other in live for one in manifests.get(other, ()) if one.covers(shard) and one.position >= max(own, default=0)]
        if own and len(others) < KEPT:
            return False
    return True


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
