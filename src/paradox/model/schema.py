"""Schema: what a collection is, the limits of what it takes, and the names it may bear."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from paradox.errors import FeatureMissing, NameInvalid, SpecInvalid

Metric: TypeAlias = Literal["cosine", "dot", "euclidean", "hamming"]
METRICS: tuple[Metric, ...] = ("cosine", "dot", "euclidean", "hamming")
DIMENSIONS_MAX = 16_384
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NAME_HINT = "use 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit"
NAME_SHOWN_MAX = 60
NAMES_OF_DEVICES = frozenset(("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))))
SHARDS_MAX = 4_096
COPIES_MAX = 3
REPLICAS_MAX = 8
MAIN_VECTOR = "vector"
"""The name of a collection's only, unnamed vector."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one request and of one segment, with their defaults."""

    k_max: int = 10_000
    payload_bytes_max: int = 1 << 20
    payload_depth_max: int = 64
    filter_depth_max: int = 100
    filter_terms_max: int = 20_000
    batch_points_max: int = 16_384
    batch_bytes_max: int = 64 << 20
    growing_points_max: int = 65_536
    growing_bytes_max: int = 256 << 20
    segment_points_max: int = 2_000_000
    region_points_max: int = 1_000
    region_points_min: int = 100
    log_file_bytes_max: int = 256 << 20


class VectorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One named vector of a collection. `fingerprint` names the encoder's space; empty when vectors come from outside."""

    dimensions: int
    metric: Metric = "cosine"
    encoder: str = ""
    fingerprint: str = ""


class CollectionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection is, for ever: two specs that differ in any field are different collections.

    time_bucket: "day", "month", "year", "decade" or None (one bucket). text: payload fields under full-text search.
    """

    vectors: dict[str, VectorSpec]
    shards: int = 1
    copies: int = 1
    replicas: int = 1
    time_bucket: str | None = None
    text: tuple[str, ...] = ()
    conflicts: str = "latest"

    @property
    def main(self) -> str:
        """The name of the vector that decides a point's region: the first."""
        return next(iter(self.vectors))


TIME_BUCKETS = ("day", "month", "year", "decade")


def check_name(name: object, *, of: str = "a collection") -> str:
    """Return `name` if it can be a folder name everywhere. Raises NameInvalid."""
    if not isinstance(name, str):
        raise NameInvalid(f"the name of {of} is of type {type(name).__name__}; expected str", hint=NAME_HINT)
    if not NAME_PATTERN.fullmatch(name) or name.endswith("."):
        shown = repr(name) if len(name) <= NAME_SHOWN_MAX else f"{name[:NAME_SHOWN_MAX]!r}… ({len(name)} characters)"
        raise NameInvalid(f"{shown} cannot be {of}'s name", hint=NAME_HINT)
    if name.partition(".")[0].lower() in NAMES_OF_DEVICES:
        raise NameInvalid(f"{name!r} cannot be {of}'s name: some systems keep it for a device", hint="choose another name")
    return name


def check_spec(spec: CollectionSpec) -> CollectionSpec:
    """Return `spec` if it is sound. Raises SpecInvalid."""
    if not spec.vectors:
        raise SpecInvalid("a collection needs at least one vector", hint="give dimensions=384, encoder='text' or vectors={'title': 384}")
    for name, vector in spec.vectors.items():
        check_name(name, of="a vector")
        if vector.metric not in METRICS:
            raise SpecInvalid(f"metric {vector.metric!r} is unknown", hint=f"choose one of {', '.join(METRICS)}")
        if not 1 <= vector.dimensions <= DIMENSIONS_MAX:
            raise SpecInvalid(
                f"vector {name!r} has {vector.dimensions:,} dimensions; expected 1 to {DIMENSIONS_MAX:,}",
                hint="give the length of your vectors, such as dimensions=384",
            )
        if vector.metric == "hamming" and vector.dimensions % 8:
            raise SpecInvalid(
                f"vector {name!r} has {vector.dimensions} bits, which do not fill whole bytes",
                hint="hamming vectors are packed bits: give dimensions as a multiple of 8",
            )
    if not 1 <= spec.shards <= SHARDS_MAX:
        raise SpecInvalid(f"shards={spec.shards}; expected 1 to {SHARDS_MAX:,}", hint="leave it out: one shard is best in one folder")
    if not 1 <= spec.copies <= COPIES_MAX:
        raise SpecInvalid(f"copies={spec.copies}; expected 1 to {COPIES_MAX}", hint="leave it out: one copy is enough in one folder")
    if not 1 <= spec.replicas <= REPLICAS_MAX:
        raise SpecInvalid(f"replicas={spec.replicas}; expected 1 to {REPLICAS_MAX}", hint="leave it out: copies keep what a node lost")
    if spec.copies > spec.shards:
        raise SpecInvalid(
            f"copies={spec.copies} with shards={spec.shards}: copies of a point live on different shards",
            hint=f"give shards={spec.copies} or more",
        )
    if spec.time_bucket is not None and spec.time_bucket not in TIME_BUCKETS:
        raise SpecInvalid(f"time_bucket={spec.time_bucket!r} is unknown", hint=f"choose one of {', '.join(TIME_BUCKETS)}, or None")
    if spec.conflicts != "latest":
        raise FeatureMissing(f"conflicts={spec.conflicts!r} is not available in this version", hint="leave it out: the last write wins")
    return spec
