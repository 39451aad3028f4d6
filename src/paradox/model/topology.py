"""Topology: regions, where they lie in latent space, and which shard holds each."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import InvalidRequest

NAME_DIGITS_MAX = 18


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


def number_of(name: str | int, letter: str) -> int:
    """Return the number of a region's or a shard's name: 3 for "r3", "3" or 3. Raises InvalidRequest."""
    text = str(name)
    digits = text.removeprefix(letter)
    if isinstance(name, bool) or not (digits.isascii() and digits.isdigit() and len(digits) <= NAME_DIGITS_MAX):
        kind = {"r": "region", "s": "shard"}[letter]
        raise InvalidRequest(f"{text!r:.80} is no name of a {kind}", hint=f"such as {letter}3")
    return int(digits)


ALIVE, WHO = "paradox.alive", "paradox.who"
"""Subjects: where nodes say that they live, and where somebody asks who does."""
SILENT_S = 2.5
"""After which a node that says nothing counts as dead."""


def node_subject(name: str) -> str:
    """Return the subject that a node serves."""
    return f"paradox.node.{name}"
