"""What Hypothesis draws: payloads that collide, values at the edges of int64 and float64, and every kind of filter."""

from __future__ import annotations

from uuid import UUID

from hypothesis import strategies as st

from filters.oracle import Point
from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Or, Prefix

NUMBERS = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**60 + 1]
NUMBERS += [
    0.5,
    -0.5,
    1.0,
    2.0**53,
    2.0**53 + 2,
    -(2.0**53),
    -(2.0**53) - 2,
    2.0**60,
    2.0**63,
    -(2.0**63),
    2.0**64,
    -(2.0**64),
    1e300,
    -1e300,
]
TEXTS = [
    "",
    "sea",
    "Sea",
    "sky sea",
    "sea-sky",
    "seas sky",
    "sky",
    "straße",
    "STRASSE",
    "İx",
    "i",
    "é",
    "z",
    "\uffff",
    "\U0001f600",
    "se",
    "1",
    "true",
]
EDGES = [*NUMBERS, *TEXTS, True, False, None]
"""Values at the edges of int64, uint64 and float64, texts whose words and order are easy to get wrong, and the rest."""

values = st.sampled_from(EDGES)
few_values = st.sampled_from([0, 1, 2, 0.5, "sea", "sky", "sea sky", True, False, None])
"""So few that a filter often finds something, and not all."""

KEYS = ["a", "b", "c", "a.b", "b.c", "a.b.c", "aab"]
nested = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3) | st.none(), max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner | st.integers(0, 3), min_size=1, max_size=4),
    max_leaves=8,
)
"""Payloads in which keys with dots and objects give one path several times."""
payloads = st.fixed_dictionaries(
    {},
    optional={
        "a": few_values,
        "b": few_values | st.lists(few_values, max_size=3),
        "c": st.fixed_dictionaries({}, optional={"d": few_values}),
    },
)
IDS = ["a", "p1", "", str(UUID(int=5)), 0, 1, 2, -1, 2**63 - 1, -(2**63), UUID(int=5).bytes, UUID(int=6).bytes, UUID(int=10).bytes]
points = st.builds(
    Point,
    key=st.sampled_from(IDS),
    modality=st.sampled_from(["text", "image", "structured"]),
    at_us=st.sampled_from([0, 1, -1, 10**6, 1_700_000_000_123_456, 2**63 - 1, -(2**63)]),
    origin=st.sampled_from(["", "paris", "tokyo"]),
    payload=payloads,
)

TIMES = ["1970-01-01", "1970-01-01T00:00:00.000001Z", "2023-11-14T22:13:20.123456", "1969-12-31T19:00:01-05:00"]
TIMES += [0, 1, 1.5, -1e-6, 1e300, 2**63, None, True]
payload_fields = st.sampled_from(["a", "b", "c", "c.d", "unknown"])
own_fields = st.sampled_from(["id", "modality", "origin"])
OWN_TEXTS = ["text", "image", "paris", "", "p1", *(str(UUID(int=number)) for number in (5, 6, 10)), str(UUID(int=10)).upper()]
OWN_VALUES = [*OWN_TEXTS, 0, 1, 1.0, 1.5, -1, 2**63, 2**63 - 1, 1e300, True, None]
own_values = st.sampled_from(OWN_VALUES)
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def conditions_on(field: st.SearchStrategy[str], value: st.SearchStrategy[object]) -> st.SearchStrategy[Filter]:
    return (
        st.builds(Compare, field, operators, value)
        | st.builds(In, field, st.lists(value, max_size=4).map(tuple))
        | st.builds(Between, field, value, value)
    )


conditions = (
    conditions_on(payload_fields, few_values)
    | conditions_on(own_fields, own_values)
    | conditions_on(st.just("at"), st.sampled_from(TIMES))
    | st.builds(Exists, payload_fields | own_fields)
    | st.builds(Contains, payload_fields, few_values)
    | st.builds(Prefix, payload_fields | own_fields, st.sampled_from(["", "s", "sea", "p", "te"]))
    | st.builds(Matches, payload_fields | own_fields, st.sampled_from(["", "SEA", "sky sea", "text"]))
)
trees: st.SearchStrategy[Filter] = st.recursive(
    conditions,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
