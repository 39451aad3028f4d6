"""Bodies: what requests and replies over HTTP hold, one Struct each. They are the public contract: the OpenAPI page is made from them.

Names and meanings are those of the verbs of a collection. Where a field may be an array, JSON takes nested lists. A `where` is a text or a
filter's tree, `at` and `between` are times as the verbs take them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from paradox.model.filters import Filter
from paradox.model.queries import Coverage, Plan

Where: TypeAlias = str | Filter | None
Whole: TypeAlias = Annotated[Any, Meta(extra_json_schema={"type": "integer"})]
Number: TypeAlias = Annotated[Any, Meta(extra_json_schema={"type": "number"})]
Word: TypeAlias = Annotated[Any, Meta(extra_json_schema={"type": "string"})]
"""Declared, but checked where the verbs check them: their messages say more than a decoder's."""


class Body(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The base of what is asked: a field that is not known is refused."""


class CollectionBody(Body):
    """What a collection shall be: one of dimensions, encoder and vectors; the rest has defaults."""

    dimensions: Whole = None
    encoder: Word = None
    vectors: Annotated[Any, Meta(extra_json_schema={"type": "object"})] = None
    metric: Word = None
    shards: Whole = None
    copies: Whole = None
    replicas: Whole = None
    time_bucket: Word = None
    text: Annotated[Any, Meta(extra_json_schema={"type": "array", "items": {"type": "string"}})] = None
    conflicts: Word = None


class AddBody(Body):
    """Points to add or to replace: as `points`, each with id, vector, text, payload, modality, at; or as columns.

    present: for a named vector that not all points have, which of them do.
    """

    points: list[dict[str, Any]] | None = None
    texts: list[str] | None = None
    ids: list[Any] | None = None
    vectors: Any = None
    payload: Any = None
    modality: Any = None
    at: Any = None
    present: dict[str, Any] | None = None


class UpdateBody(Body):
    """Payload fields to set: one map for all ids, or one an id; null removes a field."""

    ids: list[Any]
    payload: Any
    after: int | None = None


class DeleteBody(Body):
    """Points to delete, by id or by filter."""

    ids: list[Any] | None = None
    where: Where = None
    after: int | None = None


class GetBody(Body):
    """Points to fetch by id, in this order."""

    ids: list[Any]
    with_vectors: bool = False
    using: str | None = None
    after: int | None = None
    consistency: Word = None


class TermsBody(Body):
    """What a search says beside its query."""

    k: Whole = 10
    where: Where = None
    modality: str | None = None
    between: Any = None
    using: str | None = None
    mode: Word = "vector"
    recall: Number = 0.95
    exact: bool = False
    after: int | None = None
    consistency: Word = None
    with_payload: bool = True
    with_vectors: bool = False
    within_s: Number = None
    explain: bool = False


class SearchBody(TermsBody):
    """A search: `query` is a text or a vector, or `like` the id of a stored point. plan: tell how it was done.

    vector: that of a text, where its sender has encoded it.
    """

    query: Any = None
    vector: Any = None
    like: Any = None
    plan: bool = False


class SearchManyBody(TermsBody, kw_only=True):
    """Many searches that differ in nothing but their query: texts, or vectors. plan: tell how the one of this number was done.

    vectors: those of texts, where their sender has encoded them.
    """

    queries: Any
    vectors: Any = None
    plan: int | None = None


class CountBody(Body):
    """How many points there are, or match a filter."""

    where: Where = None
    after: int | None = None
    consistency: Word = None


class ScrollBody(Body):
    """Every point of one view, or those that match a filter, in pages of `batch`."""

    where: Where = None
    batch: int = 1000
    with_vectors: bool = False
    using: str | None = None
    after: int | None = None
    consistency: Word = None


class SplitBody(Body):
    """A region to be cut in two, such as r3."""

    collection: str
    region: Any


class MoveBody(Body):
    """A shard, such as s3, to be placed on a node."""

    collection: str
    shard: Any
    node: str


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One point found. score: higher is nearer. at: JSON a time, MessagePack microseconds since 1970."""

    id: Any
    score: float = 0.0
    distance: float = 0.0
    payload: Any = None
    vector: Any = None
    modality: str = ""
    at: datetime | int = 0
    origin: str = ""


class FoundReply(msgspec.Struct, kw_only=True):
    """The points nearest to a query, nearest first, the log position this reflects, and how much of the collection could be asked."""

    hits: list[Row]
    position: int
    coverage: Coverage
    plan: Plan | None = None


class FoundManyReply(msgspec.Struct, kw_only=True):
    """What each of many queries found."""

    hits: list[list[Row]]
    position: int
    coverage: Coverage
    plan: Plan | None = None


class PointsReply(msgspec.Struct, kw_only=True):
    """Points fetched by id; those that do not exist are left out."""

    hits: list[Row]


class ReceiptReply(msgspec.Struct, kw_only=True):
    """A write that is durable: the points written, and the position to pass as `after`."""

    ids: list[Any]
    position: int


class BulkReply(msgspec.Struct, kw_only=True):
    """A stream of points of which all are durable: how many, and the position to pass as `after`."""

    points: int
    position: int


class ScrollReply(msgspec.Struct, kw_only=True):
    """The first part of a scroll; pages follow."""

    total: int
    position: int


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong (RFC 9457). code is stable across versions; retryable: the same request may succeed later."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    retryable: bool = False


class ScrollPage(msgspec.Struct, kw_only=True):
    """One page of a scroll. The last one is empty and says so, or what went wrong; a stream without it was cut off."""

    hits: list[Row]
    last: bool = False
    problem: Problem | None = None
