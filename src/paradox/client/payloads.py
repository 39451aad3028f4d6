"""Payloads: from what people write to MessagePack maps, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from paradox.errors import BatchMismatch, PayloadInvalid, PayloadTooLarge, SegmentCorrupt
from paradox.model.schema import Limits

SCALARS = frozenset({str, int, float, bool, type(None)})
CONTAINERS = frozenset({dict, list})
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
PAYLOADS_AT_ONCE = 8_192
VALUES_AT_ONCE_MAX = 200_000
"""Payloads are looked at together, as long as their values of one depth are no more than these; then one by one."""


def payload_column(payload: Any, texts: Sequence[str] | None, rows: int, *, limits: Limits) -> list[bytes] | None:
    """Return one MessagePack map a point, or None when there is nothing to keep.

    payload: one mapping for all points, or one (or None) a point. A text is kept under "text".
    Raises PayloadInvalid naming the point and the place in it, PayloadTooLarge, BatchMismatch when a payload holds another text.
    """
    if payload is None:
        return None if texts is None else encode_payloads([{"text": text} for text in texts], limits=limits)
    if isinstance(payload, Mapping):
        if texts is None:
            return encode_payloads([payload], limits=limits) * rows
        payload = [payload] * rows
    if texts is None:
        return encode_payloads(payload, limits=limits)
    return encode_payloads(
        [_with_text(one, text, number) for number, (one, text) in enumerate(zip(payload, texts, strict=True))], limits=limits
    )


def encode_payloads(payloads: Sequence[Any], *, limits: Limits) -> list[bytes]:
    """Return each payload as a MessagePack map; None is an empty one. Raises PayloadInvalid, PayloadTooLarge."""
    encode = msgspec.msgpack.Encoder().encode
    encoded: list[bytes] | None = None
    chunks = range(0, len(payloads), PAYLOADS_AT_ONCE)
    if all(_are_plain(payloads[start : start + PAYLOADS_AT_ONCE], limits.payload_depth_max) for start in chunks):
        try:
            encoded = [encode(payload) for payload in payloads]
        except (OverflowError, UnicodeEncodeError):
            encoded = None  # the walk below finds the place
    if encoded is None:
        encoded = [encode(_Walk(number, limits).payload(payload)) for number, payload in enumerate(payloads)]
    longest = max(map(len, encoded), default=0)
    if longest > limits.payload_bytes_max:
        number = next(number for number, one in enumerate(encoded) if len(one) > limits.payload_bytes_max)
        raise _too_large(number, f"{len(encoded[number]):,} bytes", limits)
    return encoded


def decode_payload(encoded: bytes) -> dict[str, Any]:
    """Return a payload as plain Python values. Raises SegmentCorrupt when it is not what was stored."""
    try:
        return msgspec.msgpack.decode(encoded, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise SegmentCorrupt("a stored payload cannot be read", hint="run verify: it names the damaged file") from None


def _too_large(number: int, size: str, limits: Limits) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the payload of point {number} has {size}; at most {limits.payload_bytes_max:,} bytes are allowed",
        hint="keep large texts and files elsewhere and their address in the payload, or cut the text into several points",
    )


def _with_text(payload: Any, text: str, number: int) -> dict[str, Any]:
    if payload is None:
        return {"text": text}
    if not isinstance(payload, Mapping):
        return _Walk(number, Limits()).payload(payload)
    kept = payload.get("text", text)
    if kept != text:
        raise BatchMismatch(
            f"point {number} has the text {text!r:.40}, but its payload holds the text {kept!r:.40}",
            hint="leave 'text' out of the payload: a text is kept there by itself",
        )
    return {**payload, "text": text}


def _are_plain(payloads: Sequence[Any], depth_max: int) -> bool:
    """Whether all values of all payloads are of JSON's own types and finite, looked at together, level by level.

    This costs a few C calls a level in place of a Python step a value: 10 ms, not 150, for 100,000 payloads of three fields.
    False means only "not sure": the walk decides.
    """
    if set(map(type, payloads)) != {dict}:
        return False
    level: Sequence[Any] = payloads
    for _ in range(depth_max):
        maps = [value for value in level if type(value) is dict]
        if not set(map(type, chain.from_iterable(maps))) <= {str}:
            return False
        lists = [value for value in level if type(value) is list] if len(maps) < len(level) else []
        if sum(map(len, maps)) + sum(map(len, lists)) > VALUES_AT_ONCE_MAX:
            return False
        values = list(chain(chain.from_iterable(map(dict.values, maps)), chain.from_iterable(lists)))
        kinds = set(map(type, values))
        if not kinds <= SCALARS | CONTAINERS:
            return False
        if float in kinds and not all(map(math.isfinite, [value for value in values if type(value) is float])):
            return False
        if kinds.isdisjoint(CONTAINERS):
            return True
        level = [value for value in values if type(value) in CONTAINERS]
    return False


class _Walk:
    """A walk through one payload that converts what JSON has no word for, and names the place of what it cannot."""

    def __init__(self, number: int, limits: Limits) -> None:
        self._number = number
        self._limits = limits
        self._values_left = limits.payload_bytes_max  # a value takes a byte or more, so a payload with more values is too large
        self._place: list[str | int] = []
        self._above: set[int] = set()

    def payload(self, given: Any) -> dict[str, Any]:
        """Return the payload in plain values. Raises PayloadInvalid, PayloadTooLarge."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise PayloadInvalid(
                f"the payload of point {self._number} is of type {type(given).__name__}; expected a dict",
                hint="give one dict for all points, or a list with one dict a point",
            )
        return self._map(given)

    def _value(self, value: Any) -> Any:
        self._values_left -= 1
        if self._values_left < 0:
            raise _too_large(self._number, f"more than {self._limits.payload_bytes_max:,} values", self._limits)
        if value is None or isinstance(value, (bool, np.bool_)):
            return None if value is None else bool(value)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (int, np.integer)):
            if INT_MIN <= value <= INT_MAX:
                return int(value)
            raise self._wrong(f"the number {value!r:.40}, which does not fit 64 bits", "keep it as text")
        if isinstance(value, (float, np.floating)):
            if math.isfinite(value):
                return float(value)
            raise self._wrong(f"{float(value)}, for which JSON has no number", "leave the field out, or set it to None")
        if isinstance(value, (datetime, date, time)) and value == value:
            return value.isoformat()
        if isinstance(value, (UUID, Decimal)) or (isinstance(value, np.datetime64) and not np.isnat(value)):
            return str(value)
        if isinstance(value, Mapping):
            return self._map(value)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            return self._value(value[()])
        if isinstance(value, (list, tuple, np.ndarray)):
            return self._list(value)
        raise self._wrong(f"a value of type {type(value).__name__}", "use text, numbers, booleans, None, lists and dicts")

    def _map(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        self._enter(given)
        plain: dict[str, Any] = {}
        for key, value in given.items():
            if not isinstance(key, str):
                raise self._wrong(f"a key of type {type(key).__name__}", "use text for keys")
            self._place.append(key)
            plain[self._text(key)] = self._value(value)
            self._place.pop()
        self._above.remove(id(given))
        return plain

    def _list(self, given: Any) -> list[Any]:
        self._enter(given)
        plain: list[Any] = []
        for number, value in enumerate(given):
            self._place.append(number)
            plain.append(self._value(value))
            self._place.pop()
        self._above.remove(id(given))
        return plain

    def _enter(self, given: object) -> None:
        if id(given) in self._above:
            raise self._wrong("a value that contains itself", "break the circle")
        if len(self._above) == self._limits.payload_depth_max:
            raise self._wrong(f"more than {self._limits.payload_depth_max} levels", "flatten it, or keep the inner part as text")
        self._above.add(id(given))

    def _text(self, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self._wrong("text that is not valid Unicode", "decode it with errors='replace'") from None
        return str.__str__(text)

    def _wrong(self, what: str, hint: str) -> PayloadInvalid:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self._place).removeprefix(".")
        shown = place if len(place) <= 80 else f"{place[:38]}…{place[-38:]}"
        return PayloadInvalid(f"the payload of point {self._number} holds {what}" + (f", at {shown!r}" if shown else ""), hint=hint)
