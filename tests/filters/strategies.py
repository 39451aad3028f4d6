"""What Hypothesis draws: payloads that collide, values at the edges of int64 and float64, and every kind of filter."""

from __future__ import annotations

from uuid import UUID

from filters.oracle import Point
from hypothesis import strategies as st

from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Or, Prefix

EDGES = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 9007199254740993, 1990]
integers = st.sampled_from(EDGES) | st.integers(-(2**63), 2**64 - 1)
floats = st.sampled_from([0.5, -0.0, 1.0, 2.0**53, 2.0**63, -(2.0**63), 2.0**64, 1e300, -1e300, 1990.5, 5e-324]) | st.floats(
    allow_nan=False, allow_infinity=False
)
phrases = st.sampled_from(["", "sea", "Sea", "sky sea", "sea-sky", "straße STRASSE", "İstanbul", "é", "z", "\U0001f600", "a'b", "ab", "abc", "true"])
texts = phrases | st.text(max_size=5)
scalars = integers | floats | texts | st.booleans()
values = scalars | st.none()

KEYS = ["a", "b", "c", "a.b", "b.c", "a.b.c", "", "naïve", "at", "id"]
payloads = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), values | st.lists(values | st.lists(values, max_size=2), max_size=4), max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), values | inner | st.lists(inner | values, max_size=2), max_size=4),
    max_leaves=6,
)
keys = st.sampled_from(["a", "p1", str(UUID(int=5)), 0, 1, -1, 2**63 - 1, UUID(int=5).bytes, UUID(int=6).bytes])
points = st.builds(
    Point,
    key=keys,
    modality=st.sampled_from(["text", "image", "structured"]),
    at_us=st.sampled_from([0, 1, -1, 1_700_000_000_123_456, 2**63 - 1, -(2**63)]) | st.integers(-(2**50), 2**50),
    origin=st.sampled_from(["", "paris", "tokyo"]),
    payload=payloads,
)

times = st.sampled_from(["1970-01-01", "1970-01-01T00:00:00.000001Z", "2023-11-14T22:13:20.123456", "1969-12-31T19:00:00-05:00"])
payload_fields = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "a.a", "a.b.c.a", "c.", "a..b", "naïve", "unknown"])
text_fields = st.sampled_from(["id", "modality", "origin"]) | payload_fields
own_texts = st.sampled_from(["text", "image", "paris", "", "p1", str(UUID(int=5)), str(UUID(int=6)), str(UUID(int=5)).upper()[:-1] + "A"])
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def conditions_on(field: st.SearchStrategy[str], value: st.SearchStrategy[object]) -> st.SearchStrategy[Filter]:
    return (
        st.builds(Compare, field, operators, value)
        | st.builds(In, field, st.lists(value, max_size=20).map(tuple))
        | st.builds(Between, field, value, value)
    )


conditions = (
    conditions_on(payload_fields, values)
    | conditions_on(text_fields, values | own_texts)
    | conditions_on(st.just("at"), times | st.integers(-(10**9), 2 * 10**9) | st.floats(-1e9, 2e9) | st.sampled_from([None, True, 1e300, 2**63]))
    | st.builds(Exists, text_fields | st.just("at"))
    | st.builds(Contains, text_fields, values)
    | st.builds(Prefix, text_fields, texts | own_texts)
    | st.builds(Matches, text_fields, texts | own_texts)
)
trees: st.SearchStrategy[Filter] = st.recursive(
    conditions,
    lambda inner: st.builds(Not, inner)
    | st.builds(And, st.lists(inner, max_size=3).map(tuple))
    | st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)
