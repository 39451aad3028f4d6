"""Packing: bodies of requests and replies as MessagePack or JSON.

Both hold the same plain values. In MessagePack an array is an extension of type 1 (dtype and shape as a MessagePack pair, then the values,
row by row), and a UUID its 16 bytes; in JSON an array is nested lists, and a UUID its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import RequestUnreadable

Form: TypeAlias = Literal["json", "msgpack"]
Body = TypeVar("Body")
ARRAY = 1
MEDIA: Mapping[Form, str] = MappingProxyType({"json": "application/json", "msgpack": "application/msgpack"})
STREAM: Mapping[Form, str] = MappingProxyType({"json": "application/x-ndjson", "msgpack": "application/x-msgpack-stream"})
ARROW, LINES = "application/vnd.apache.arrow.stream", "application/x-ndjson"
"""Streams of any length."""
DTYPE = re.compile(r"[<|=]?(?:f[248]|[iu][1248]|b1)|<M8\[us\]")
"""What an array may hold: numbers, bools and times. No reader ever unpickles, and NumPy reads no other text as a dtype."""


def pack(value: Any, form: Form) -> bytes:
    """Return plain values, Structs and arrays as bytes. Raises RequestUnreadable for numbers beyond 64 bits."""
    try:
        return _JSON.encode(value) if form == "json" else _MSGPACK.encode(value)
    except (OverflowError, UnicodeEncodeError, TypeError) as error:
        raise RequestUnreadable(f"a value cannot be sent: {error}", hint="numbers have 64 bits, texts are Unicode") from None


def unpack(raw: bytes | memoryview, form: Form, kind: type[Body]) -> Body:
    """Return the `kind` that these bytes hold. Raises RequestUnreadable that says where they do not."""
    try:
        if form == "json":
            return msgspec.json.decode(raw, type=kind)
        return msgspec.msgpack.decode(raw, type=kind, ext_hook=_extended)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        what = str(error).replace("Object", "the body", 1).replace("`$.", "`").replace(" - at `$`", "")
        raise RequestUnreadable(
            f"the body cannot be read as {MEDIA[form]}: {what}", hint="see /openapi.json for what it may hold"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be packed")


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubM" and value.ndim in (1, 2) and 0 not in value.shape[1:]:
        return msgspec.msgpack.Ext(ARRAY, msgspec.msgpack.encode((value.dtype.str, value.shape)) + value.tobytes())
    return _plain(value)


def _extended(code: int, data: memoryview) -> NDArray[Any]:
    """Return the array of an extension. Raises ValueError for anything else."""
    if code != ARRAY:
        raise ValueError(f"an extension has the unknown type {code}")
    lead = bytes(data[: min(len(data), 64)])
    length = _lead_length(lead)
    name, shape = msgspec.msgpack.decode(lead[:length], type=tuple[str, tuple[int, ...]])
    if not DTYPE.fullmatch(name):
        raise ValueError(f"an array has the dtype {name!r:.40}; expected numbers, bools or times in microseconds")
    if not 1 <= len(shape) <= 2 or 0 in shape[1:] or min(shape) < 0:
        raise ValueError(f"an array has the shape {shape!r:.80}; expected (n,) or (n, d)")
    return np.frombuffer(bytes(data[length:]), dtype=np.dtype(name)).reshape(shape)


def _lead_length(lead: bytes) -> int:
    """Return how many bytes the pair of dtype and shape takes: two short values of MessagePack in an array of two."""
    if len(lead) < 3 or lead[0] != 0x92 or lead[1] & 0xE0 != 0xA0:
        raise ValueError("an array does not begin with its dtype and shape")
    at = 2 + (lead[1] & 0x1F)
    if at >= len(lead) or lead[at] & 0xF0 != 0x90:
        raise ValueError("an array does not begin with its dtype and shape")
    sizes, at = lead[at] & 0x0F, at + 1
    for _ in range(sizes):
        mark = lead[at] if at < len(lead) else 0
        at += 1 + {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(mark, 0)
    return at


_JSON = msgspec.json.Encoder(enc_hook=_plain)
_MSGPACK = msgspec.msgpack.Encoder(enc_hook=_packed, uuid_format="bytes")


def id_given(value: Any, form: Form) -> Any:
    """Return an id of a body as callers of Python give it: JSON writes a UUID as its text, MessagePack as its bytes."""
    if form == "json":
        return UUID(value) if isinstance(value, str) and len(value) == 36 and value.count("-") == 4 and _is_uuid(value) else value
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == 16 else value


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
