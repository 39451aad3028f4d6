"""Operations: what a client asks of a database, one Struct a verb, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.model.entries import Once
from paradox.model.filters import Filter
from paradox.model.points import Id, Key
from paradox.model.queries import Answer, Consistency, Question
from paradox.model.schema import CollectionSpec


class OpenCollection(msgspec.Struct, frozen=True, kw_only=True):
    """Open a collection, or create it when `create`. Reply: CollectionView.

    wanted: what the caller said of it, field by field (the names of CollectionSpec, plus `dimensions`, `metric` and `encoder`, which may
    be a name or an Encoder or a function). Raises CollectionMissing, SpecConflict, SpecInvalid, EncoderMismatch.
    """

    name: str
    wanted: dict[str, Any]
    create: bool


class CollectionView(msgspec.Struct, frozen=True, kw_only=True):
    """An open collection as its client sees it. id: tells it from an earlier or a later one of its name; "" where there is none."""

    name: str
    spec: CollectionSpec
    id: str = ""


class ListCollections(msgspec.Struct, frozen=True, kw_only=True):
    """Reply: list[str], sorted."""


class DropCollection(msgspec.Struct, frozen=True, kw_only=True):
    """Delete a collection with all its points. Reply: None. Raises CollectionMissing."""

    name: str


class AddPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Add or replace points. Reply: Receipt.

    Columns of n rows. keys: None = made here. vectors: by name; empty with `texts` = encoded here. present: which rows have a vector,
    for names that not all rows have. payloads: MessagePack maps, None = empty. at_us: None = now. modality: None = "text" for texts, else
    "vector". once: so that asking several nodes adds them once.
    """

    collection: str
    rows: int
    keys: list[Key] | None = None
    vectors: dict[str, NDArray[Any]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    texts: list[str] | None = None
    payloads: list[bytes] | None = None
    at_us: NDArray[np.int64] | None = None
    modality: list[str] | None = None
    once: Once | None = None


class UpdatePoints(msgspec.Struct, frozen=True, kw_only=True):
    """Set payload fields of points, leaving vectors alone. after: a position whose writes are seen. Reply: Receipt. Raises PointMissing."""

    collection: str
    keys: list[Key]
    payloads: list[bytes]
    after: int = 0


class DeletePoints(msgspec.Struct, frozen=True, kw_only=True):
    """Delete points by id or by filter. after: a position whose writes are seen. Reply: Receipt naming what was there and is gone."""

    collection: str
    keys: list[Key] | None = None
    where: Filter | None = None
    after: int = 0


class GetPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Reply: Answer with a row for each id that exists, in the order asked."""

    collection: str
    keys: list[Key]
    with_vectors: bool = False
    using: str = ""
    after: int = 0
    consistency: Consistency = "session"


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Search. texts in the question are encoded here when it has no vectors and its mode needs them; `like` asks with a stored point.

    Reply: Answers.
    """

    collection: str
    question: Question
    like: Key | None = None


class ExplainPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Run a search both as planned and exactly, and tell. Reply: Plan."""

    collection: str
    question: Question
    like: Key | None = None


class CountPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Reply: int."""

    collection: str
    where: Filter | None = None
    after: int = 0
    consistency: Consistency = "session"


class ScrollPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Every point of one consistent view. Reply: Scroll, whose answers hold at most `batch` points each."""

    collection: str
    where: Filter | None = None
    batch: int = 1000
    with_vectors: bool = False
    using: str = ""
    after: int = 0
    consistency: Consistency = "session"


class Scroll(msgspec.Struct, frozen=True, kw_only=True):
    """Pages of one view, made as they are read, with `total` points in all."""

    answers: Iterator[Answer]
    total: int
    position: int


class DescribeCollection(msgspec.Struct, frozen=True, kw_only=True):
    """Reply: dict of plain values: name, spec, points, position, segments, regions, shards, bytes, fields, …"""

    collection: str


class DescribeDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """Reply: dict of plain values: healthy (bool), sentence (str), path, writer, collections, quarantined, working (background work), …"""


class VerifyDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """Read every stored byte against its checksum.

    Reply: dict of healthy (bool), checked (files), bytes, and damaged, a list of dicts of file and reason.
    """


class SplitRegion(msgspec.Struct, frozen=True, kw_only=True):
    """Cut one region in two, now. Reply: dict of region, points, into (two names), epoch of the new map. Raises Missing, InvalidRequest."""

    collection: str
    region: int


class MoveShard(msgspec.Struct, frozen=True, kw_only=True):
    """Place a shard on another node of a cluster, for good.

    Reply: dict of shard, node, before (the node it was on), exchanged (a shard that goes there instead, or None).
    """

    collection: str
    shard: int
    node: str


Operation: TypeAlias = (
    OpenCollection
    | ListCollections
    | DropCollection
    | AddPoints
    | UpdatePoints
    | DeletePoints
    | GetPoints
    | Ask
    | ExplainPlan
    | CountPoints
    | ScrollPoints
    | DescribeCollection
    | DescribeDatabase
    | VerifyDatabase
    | SplitRegion
    | MoveShard
)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A write that is durable. ids: the points written, in the order given. position: pass it as `after=` to read it elsewhere."""

    ids: list[Id]
    position: int
