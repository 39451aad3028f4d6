"""Payloads: what is kept as it is, what becomes JSON, and what is refused with its place."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradox import errors
from paradox.client.payloads import decode_payload, encode_payloads
from paradox.model.schema import Limits

LIMITS = Limits()


def kept(payload: Any) -> Any:
    """Return what is read back of a payload."""
    return decode_payload(encode_payloads([payload], limits=LIMITS)[0])


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.text(max_size=3), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=6,
)


PAYLOADS = st.lists(st.dictionaries(st.text(max_size=2), VALUES, max_size=3), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(PAYLOADS)
def test_plain_payloads_are_kept_as_they_are(payloads: list[dict[str, Any]]) -> None:
    assert list(map(decode_payload, encode_payloads(payloads, limits=LIMITS))) == payloads


@settings(max_examples=60, deadline=None)
@given(PAYLOADS, st.data())
def test_one_odd_value_is_found_wherever_it_hides(payloads: list[dict[str, Any]], draw: st.DataObject) -> None:
    """Whatever the quick look at all payloads together thinks of them, an odd value never passes."""
    number = draw.draw(st.integers(0, len(payloads) - 1))
    odd = draw.draw(st.sampled_from([float("nan"), float("inf"), 2**64, object(), b"", {1: 2}, {1, 2}, "\ud800"]))
    place = [payloads[number]]
    while draw.draw(st.booleans()) and (inner := [value for value in place[-1].values() if isinstance(value, dict)]):
        place.append(inner[0])
    place[-1]["odd"] = draw.draw(st.sampled_from([odd, [odd], {"in": odd}]))
    with pytest.raises(errors.PayloadInvalid, match=f"the payload of point {number} holds .*odd"):
        encode_payloads(payloads, limits=LIMITS)


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = [CIRCLE]
DEEP: dict[str, Any] = {}
for _ in range(64):
    DEEP = {"in": DEEP}
WIDE: list[Any] = []
for _ in range(60):
    WIDE = [WIDE, WIDE]

PAYLOADS_REFUSED: list[tuple[Any, str, str]] = [
    ({"a": {"b": [1, float("nan")]}}, "payload.invalid", "the payload of point 1 holds nan, for which JSON has no number, at 'a.b[1]'"),
    ({"a": float("inf")}, "payload.invalid", "the payload of point 1 holds inf, for which JSON has no number, at 'a'"),
    ({"a": {1: 2}}, "payload.invalid", "the payload of point 1 holds a key of type int, at 'a'"),
    ({"a": object()}, "payload.invalid", "the payload of point 1 holds a value of type object, at 'a'"),
    ({"a": {1, 2}}, "payload.invalid", "the payload of point 1 holds a value of type set, at 'a'"),
    ({"a": b"x"}, "payload.invalid", "the payload of point 1 holds a value of type bytes, at 'a'"),
    ({"a": 2**64}, "payload.invalid", f"the payload of point 1 holds the number {2**64}, which does not fit 64 bits, at 'a'"),
    ({"a": ["\ud800"]}, "payload.invalid", "the payload of point 1 holds text that is not valid Unicode, at 'a[0]'"),
    (CIRCLE, "payload.invalid", "the payload of point 1 holds a value that contains itself, at 'self[0]'"),
    ({"a": "x" * (1 << 20)}, "payload.size", "the payload of point 1 has 1,048,584 bytes; at most 1,048,576 bytes are allowed"),
    ("a", "payload.invalid", "the payload of point 1 is of type str; expected a dict"),
]


@pytest.mark.parametrize(("payload", "code", "message"), PAYLOADS_REFUSED, ids=[message[:60] for _, _, message in PAYLOADS_REFUSED])
def test_a_payload_that_is_not_plain_is_named_with_its_place(payload: Any, code: str, message: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        encode_payloads([{"fine": 1}, payload], limits=LIMITS)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_a_small_payload_that_unfolds_to_2_to_the_60_values_is_refused_early() -> None:
    with pytest.raises(errors.PayloadTooLarge, match="has more than 10,000 values; at most 10,000 bytes are allowed"):
        encode_payloads([{"a": WIDE}], limits=Limits(payload_bytes_max=10_000))


def test_a_payload_may_have_64_levels_and_no_more() -> None:
    assert kept(DEEP["in"]) == DEEP["in"]
    with pytest.raises(errors.PayloadInvalid, match=re.escape("more than 64 levels")):
        kept(DEEP)


def test_values_that_json_has_no_word_for_become_text_and_numbers() -> None:
    payload = {
        "when": datetime(2024, 5, 17, 12, tzinfo=UTC),
        "day": date(2024, 5, 17),
        "id": UUID(int=5),
        "price": Decimal("1.10"),
        "count": np.int64(3),
        "weight": np.float32(0.5),
        "fine": np.bool_(True),
        "list": np.array([1, 2]),
        "pair": (1, 2),
        "none": None,
        "big": 2**64 - 1,
    }
    assert kept(payload) == (
        {
            "when": "2024-05-17T12:00:00+00:00",
            "day": "2024-05-17",
            "id": str(UUID(int=5)),
            "price": "1.10",
            "count": 3,
            "weight": 0.5,
            "fine": True,
            "list": [1, 2],
            "pair": [1, 2],
            "none": None,
            "big": 2**64 - 1,
        }
    )
