"""Operations and their replies as bytes, for the way between the programs of a cluster: MessagePack maps, arrays as in `pack.py`.

Both ends are ours and of one version, so what arrives is read, not admitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, get_args

import msgspec
import numpy as np

from paradox.errors import InternalError, ParadoxError, error_of
from paradox.model import operations as ops
from paradox.model.entries import Once
from paradox.model.filters import Filter
from paradox.model.points import Key, id_of
from paradox.model.queries import Answer, Question
from paradox.wire.pack import pack, unpack


class LookAt(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node: what is this collection, as you see it? Reply: dict of the fields of router.layout.Layout."""

    collection: str


class WeighRegions(msgspec.Struct, frozen=True, kw_only=True):
    """From a node to a node: how many points does each region of your map store, of those you answer for, copies included?

    Reply: {"epoch": of the map, "loads": (r,) float64}.
    """

    collection: str


class AskShards(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node: search these shards, each alone. words: how common the words of each text are everywhere, for text mode.

    queries: for each of the shards the numbers of the queries that it is asked; none = it is asked all.
    Reply: {"shards": {number: [Answer a query]}, "position", "moved", "epoch", "lost": {name: (shard, rows)}, "plan": of query `plan`}.
    position: up to which the node has applied the log; moved: where that moved points from shard to shard last.
    """

    collection: str
    question: Question
    shards: list[int]
    queries: list[list[int]] = []
    words: list[Any] = []
    plan: int | None = None


class CountWords(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node: how common are the words of each text in these shards? Reply: [[rows, [[field, word, count]]]]."""

    collection: str
    texts: list[str]
    shards: list[int]


class FetchKeys(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node that holds these shards: points by id, as far as they are there.

    at: the position of a kept barrier: what was there then; 0 = what is there now.
    Reply: {"found": Answer, "position", "moved"}.
    """

    collection: str
    keys: list[Key]
    shards: list[int] = []
    down: list[int] = []
    with_vectors: bool = False
    using: str = ""
    after: int = 0
    at: int = 0


class CountShards(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node: for how many points do these shards answer, while `down` ones do not?

    at: as above. Reply: {"found": int, "position", "moved"}.
    """

    collection: str
    shards: list[int]
    down: list[int]
    where: Filter | None = None
    after: int = 0
    at: int = 0


class FindKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The same, for their ids. Reply: {"found": list of keys, "position", "moved"}."""

    collection: str
    shards: list[int]
    down: list[int]
    where: Filter | None = None
    after: int = 0
    at: int = 0


class ScrollShards(msgspec.Struct, frozen=True, kw_only=True):
    """The same, page by page. Reply: {"found": name of the scroll, "total", "position", "moved"}."""

    collection: str
    shards: list[int]
    down: list[int]
    where: Filter | None = None
    batch: int = 1000
    with_vectors: bool = False
    using: str = ""
    after: int = 0
    at: int = 0


class NextPage(msgspec.Struct, frozen=True, kw_only=True):
    """The next page of a scroll. leave: it is not read any further. Reply: Answer; None after the last."""

    scroll: str
    leave: bool = False


class Barrier(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node: a position of a collection's log that is not before anything acknowledged to anybody so far.

    kept: all nodes keep what there is at that position for a moment.
    Reply: the position of an entry that says nothing, or of one that others asked for at the same time.
    """

    collection: str
    kept: bool = False


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """From a router to a node: log this change of points that were found to be there. payloads: fields to set; None = delete.

    once: so that asking several nodes does it once. Reply: the position.
    """

    collection: str
    keys: list[Key]
    payloads: list[bytes] | None = None
    once: Once | None = None


Asked: TypeAlias = (
    ops.Operation
    | LookAt
    | WeighRegions
    | AskShards
    | CountWords
    | FetchKeys
    | CountShards
    | FindKeys
    | ScrollShards
    | NextPage
    | Barrier
    | Write
)
KINDS: Mapping[str, Any] = MappingProxyType({kind.__name__: kind for kind in get_args(Asked)})


def pack_operation(operation: Asked) -> bytes:
    """Return an operation as bytes."""
    return pack({"verb": type(operation).__name__, "fields": operation}, "msgpack")


def unpack_operation(raw: bytes) -> Asked:
    """Return the operation of `pack_operation`'s bytes. Raises RequestUnreadable, InternalError."""
    told: dict[str, Any] = unpack(raw, "msgpack", dict)
    kind, fields = KINDS.get(told.pop("verb", "")), told.pop("fields", None)
    if kind is None or not isinstance(fields, dict):
        raise InternalError("a message holds no operation this version knows", hint="run one version on all machines of a cluster")
    if "question" in fields:
        fields["question"] = _question(fields["question"])
    if fields.get("where") is not None:
        fields["where"] = msgspec.convert(fields["where"], Filter)
    if fields.get("once") is not None:
        fields["once"] = msgspec.convert(fields["once"], Once)
    operation: Asked = kind(**fields)
    return operation


def _question(fields: dict[str, Any]) -> Question:
    fields["texts"] = tuple(fields["texts"])
    if fields["where"] is not None:
        fields["where"] = msgspec.convert(fields["where"], Filter)
    if fields["between_us"] is not None:
        fields["between_us"] = tuple(fields["between_us"])
    return Question(**fields)


def pack_reply(reply: Any) -> bytes:
    """Return a reply as bytes."""
    if isinstance(reply, ops.Receipt):
        reply = {"ids": list(reply.ids), "position": reply.position}
    return pack({"reply": reply}, "msgpack")


def pack_error(error: ParadoxError) -> bytes:
    """Return an error as bytes."""
    return pack({"code": error.code, "message": error.message, "hint": error.hint}, "msgpack")


def unpack_reply(raw: bytes, operation: Asked) -> Any:
    """Return what the operation's docstring names, or raise the error that the bytes hold."""
    told: dict[str, Any] = unpack(raw, "msgpack", dict)
    if "code" in told:
        raise error_of(told["code"], told["message"], hint=told["hint"])
    reply = told["reply"]
    match operation:
        case FetchKeys():
            return reply | {"found": answer_from(reply["found"])}
        case NextPage():
            return None if reply is None else answer_from(reply)
        case ops.AddPoints() | ops.UpdatePoints() | ops.DeletePoints():
            return ops.Receipt(ids=[_id(one) for one in reply["ids"]], position=reply["position"])
        case ops.OpenCollection():
            return msgspec.convert(reply, ops.CollectionView)
        case _:
            return reply


def answer_from(fields: dict[str, Any]) -> Answer:
    """Return the Answer whose fields these are."""
    for name in ("score", "distance"):
        fields[name] = np.asarray(fields[name], dtype=np.float32)
    if fields["vectors"] is not None:
        fields["vectors"] = np.asarray(fields["vectors"])
    if fields["stamp"] is not None:
        fields["stamp"] = np.asarray(fields["stamp"], dtype=np.uint64)
    return Answer(**fields)


def _id(one: Key) -> Any:
    return id_of(one)
