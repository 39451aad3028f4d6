"""Losses: which points went with a damaged segment, so that it is known when the last of them was written anew, or deleted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.errors import FormatTooNew, SegmentCorrupt
from paradox.model.entries import Entry, Remove, Write
from paradox.model.points import hash_keys
from paradox.node.snapshots import SEGMENTS
from paradox.router.scatter import Scatter
from paradox.shard.container import Container
from paradox.shard.sealed import POINTS_FILE


class Losses:
    """The points of each damaged segment that nobody wrote since, by the hashes of their ids.

    Segments of which even the ids cannot be read are not in it: what went with them is not known, and stays lost.
    """

    def __init__(self, folder: Path | None) -> None:
        """folder: of the collection."""
        self._folder = folder
        self._missing: dict[str, set[int]] = {}

    def know(self, missing: Mapping[str, bytes], lost: Collection[str]) -> None:
        """Take over what a manifest says of segments that are lost, as `plain` has told it."""
        known = {name: missing[name] for name in lost if name in missing}
        self._missing |= {name: set(np.frombuffer(raw, dtype="<u8").tolist()) for name, raw in known.items()}

    def note(self, segment: str, dead: NDArray[Any]) -> None:
        """Remember the live points of a segment, if its ids can be read. dead: the rows that were gone already."""
        assert self._folder is not None
        try:
            container = Container(self._folder / SEGMENTS / segment / POINTS_FILE)
            container.verify(("key.hashes", "key.rows"))
        except (SegmentCorrupt, FormatTooNew, KeyError):
            return
        live = ~np.isin(container["key.rows"], dead)
        self._missing[segment] = set(container["key.hashes"][live].tolist())

    def heal(self, engine: Scatter, entry: Entry, quarantined: dict[str, str]) -> dict[str, str]:
        """Take what an entry writes or deletes out of what is lost, and return the damaged segments of which something is missed still."""
        if not engine.lost or not isinstance(entry, (Write, Remove)):
            return quarantined
        hashes = set(hash_keys(entry.points.keys if isinstance(entry, Write) else entry.keys).tolist())
        left = {name: self._missing[name] - hashes for name in engine.lost.keys() & self._missing.keys()}
        self._missing |= left
        whole = {name for name, missing in left.items() if not missing}
        engine.lost = {  # in one step: others are reading
            name: (shard, len(left[name]) if name in left else rows) for name, (shard, rows) in engine.lost.items() if name not in whole
        }
        return {name: why for name, why in quarantined.items() if name not in whole}

    def plain(self, lost: Collection[str]) -> dict[str, bytes]:
        """Return what is missing of segments that are lost, for a manifest."""
        return {name: np.array(sorted(self._missing[name]), dtype="<u8").tobytes() for name in sorted(lost) if name in self._missing}
