"""Topology: regions, where they lie in latent space, and which shard holds each."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class RegionMap(msgspec.Struct, frozen=True, kw_only=True):
    """The regions of a collection at one epoch, in rows.

    names: (r,) int64, a region's number for life. centroids: (r, d) int8, in steps of `scale`: a component is centroid * scale.
    shard_of: (r,) int32. domain_of: (s,) int32, equal for shards that may fail together; None = each on its own. Small integers make
    assignment exact, so alike on every processor.
    """

    epoch: int
    names: NDArray[np.int64]
    centroids: NDArray[np.int8]
    shard_of: NDArray[np.int32]
    scale: float
    next_name: int
    domain_of: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.names)


def region_name(number: int) -> str:
    """Return a region's name as users see it."""
    return f"r{number}"


def shard_name(number: int) -> str:
    """Return a shard's name as users see it."""
    return f"s{number}"


ALIVE, WHO = "paradox.alive", "paradox.who"
"""Subjects: where nodes say that they live, and where somebody asks who does."""
SILENT_S = 2.5
"""After which a node that says nothing counts as dead."""


def node_subject(name: str) -> str:
    """Return the subject that a node serves."""
    return f"paradox.node.{name}"
