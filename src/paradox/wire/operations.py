"""Operations and their replies as bytes, for the way between the programs of a cluster: MessagePack maps, arrays as in `pack.py`.

Both ends are ours and of one version, so what arrives is read, not admitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, get_args

import msgspec
import numpy as np

from paradox.errors import FeatureMissing, InternalError, ParadoxError, error_of
from paradox.model import operations as ops
from paradox.model.filters import Filter
from paradox.model.points import Key, id_of
from paradox.model.queries import Answer, Answers, Coverage, Plan, Question
from paradox.wire.pack import pack, unpack


class CopySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """From node to node: what is there to copy? Reply: dict of the fields of node.copying.Snapshot, or None."""

    collection: str


class CopyPiece(msgspec.Struct, frozen=True, kw_only=True):
    """From node to node: a piece of a segment's file. Reply: bytes, empty at the end; None when the file is gone."""

    collection: str
    file: str
    offset: int


Asked: TypeAlias = ops.Operation | CopySnapshot | CopyPiece
KINDS: Mapping[str, Any] = MappingProxyType({kind.__name__: kind for kind in get_args(Asked)})


def pack_operation(operation: Asked, **beside: Any) -> bytes:
    """Return an operation as bytes. beside: plain values that go with it."""
    if isinstance(operation, ops.OpenCollection):
        encoder = operation.wanted.get("encoder")
        if callable(encoder) or hasattr(encoder, "fingerprint"):
            raise FeatureMissing(
                "an encoder that is an object or a function cannot be used by a cluster", hint="name one, encoder='text', or send vectors"
            )
    return pack({"verb": type(operation).__name__, "fields": operation, **beside}, "msgpack")


def unpack_operation(raw: bytes) -> tuple[Asked, dict[str, Any]]:
    """Return the operation of `pack_operation`'s bytes, and what went with it. Raises RequestUnreadable, InternalError."""
    told: dict[str, Any] = unpack(raw, "msgpack", dict)
    kind, fields = KINDS.get(told.pop("verb", "")), told.pop("fields", None)
    if kind is None or not isinstance(fields, dict):
        raise InternalError("a message holds no operation this version knows", hint="run one version on all machines of a cluster")
    if "question" in fields:
        fields["question"] = _question(fields["question"])
    if fields.get("where") is not None:
        fields["where"] = msgspec.convert(fields["where"], Filter)
    return kind(**fields), told


def _question(fields: dict[str, Any]) -> Question:
    fields["texts"] = tuple(fields["texts"])
    if fields["where"] is not None:
        fields["where"] = msgspec.convert(fields["where"], Filter)
    if fields["between_us"] is not None:
        fields["between_us"] = tuple(fields["between_us"])
    return Question(**fields)


def pack_reply(reply: Any, *, plan: Plan | None = None) -> bytes:
    """Return a reply as bytes. plan: what an Answers' trace made."""
    if isinstance(reply, Answers):
        reply = {"of": reply.of, "position": reply.position, "coverage": reply.coverage, "plan": plan}
    elif isinstance(reply, ops.Receipt):
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
        case ops.Ask():
            return _answers(reply)
        case ops.GetPoints():
            return answer_from(reply)
        case ops.AddPoints() | ops.UpdatePoints() | ops.DeletePoints():
            return ops.Receipt(ids=[_id(one) for one in reply["ids"]], position=reply["position"])
        case ops.OpenCollection():
            return msgspec.convert(reply, ops.CollectionView)
        case ops.ExplainPlan():
            return msgspec.convert(reply, Plan)
        case _:
            return reply


def _answers(reply: dict[str, Any]) -> Answers:
    plan = None if reply["plan"] is None else msgspec.convert(reply["plan"], Plan)
    return Answers(
        of=[answer_from(answer) for answer in reply["of"]],
        position=reply["position"],
        coverage=msgspec.convert(reply["coverage"], Coverage),
        trace=lambda number=0: plan,
    )


def answer_from(fields: dict[str, Any]) -> Answer:
    """Return the Answer whose fields these are."""
    for name in ("score", "distance"):
        fields[name] = np.asarray(fields[name], dtype=np.float32)
    if fields["vectors"] is not None:
        fields["vectors"] = np.asarray(fields["vectors"])
    return Answer(**fields)


def _id(one: Key) -> Any:
    return id_of(one)
