"""The filter language: what is read, what is refused and how, and that what is spelled reads back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import reduce
from operator import and_, or_
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.strategies import EDGES, trees
from paradox.errors import FilterSyntax
from paradox.model.filter_syntax import as_filter, parse, spell
from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Or, Prefix, field
from paradox.model.schema import Limits

LIMITS = Limits()


def refused(where: object, limits: Limits = LIMITS) -> str:
    with pytest.raises(FilterSyntax) as raised:
        as_filter(where, limits)
    return str(raised.value)


def pointed_at(text: str) -> str:
    """Return what stands over the caret of the error for `text`."""
    _, window, caret, *_ = refused(text).split("\n")
    assert caret.strip() == "^"
    return window[caret.index("^") :]


READ = {
    "year >= 1990": Compare("year", ">=", 1990),
    "year=1990": Compare("year", "=", 1990),
    "year == -1.5e3": Compare("year", "=", -1500.0),
    "year <> .5": Compare("year", "!=", 0.5),
    "year != +7": Compare("year", "!=", 7),
    "a < 1 and b <= 2 and c > 3": And((Compare("a", "<", 1), Compare("b", "<=", 2), Compare("c", ">", 3))),
    "a = 1 or b = 2 and c = 3": Or((Compare("a", "=", 1), And((Compare("b", "=", 2), Compare("c", "=", 3))))),
    "(a = 1 or b = 2) and c = 3": And((Or((Compare("a", "=", 1), Compare("b", "=", 2))), Compare("c", "=", 3))),
    "not a = 1 and b = 2": And((Not(Compare("a", "=", 1)), Compare("b", "=", 2))),
    "not (a = 1 and b = 2)": Not(And((Compare("a", "=", 1), Compare("b", "=", 2)))),
    "NOT NOT a = TRUE": Not(Not(Compare("a", "=", True))),
    "topic IN ('sea', \"sky\")": In("topic", ("sea", "sky")),
    "topic not in (1, null, false)": Not(In("topic", (1, None, False))),
    "topic in ()": In("topic", ()),
    "year between 1 and 2 and a = 1": And((Between("year", 1, 2), Compare("a", "=", 1))),
    "year not between 1 and 2": Not(Between("year", 1, 2)),
    "exists(draft)": Exists("draft"),
    "Exists ( draft )": Exists("draft"),
    "contains(tags, 'x')": Contains("tags", "x"),
    "tags contains 3": Contains("tags", 3),
    "tags not contains 3": Not(Contains("tags", 3)),
    "prefix(id, 'p')": Prefix("id", "p"),
    "id prefix 'p'": Prefix("id", "p"),
    "matches(text, 'old ship')": Matches("text", "old ship"),
    "text matches 'old ship'": Matches("text", "old ship"),
    'name = \'it\'\'s\' or name = "a ""b"""': Or((Compare("name", "=", "it's"), Compare("name", "=", 'a "b"'))),
    "name = 'and (or'": Compare("name", "=", "and (or"),
    "meta.year.x1 = 1": Compare("meta.year.x1", "=", 1),
    "tags.0 = 1": Compare("tags.0", "=", 1),
    "größe.日本 = 1": Compare("größe.日本", "=", 1),
    "`odd name`.`a.b` = 1": Compare("odd name.a.b", "=", 1),
    "`tick``s` = 1": Compare("tick`s", "=", 1),
    "`and` = 1": Compare("and", "=", 1),
    "exists = 1 and order = 2": And((Compare("exists", "=", 1), Compare("order", "=", 2))),
    "all()": And(()),
    "any(a = 1)": Or((Compare("a", "=", 1),)),
    "all(a = 1, b = 2 or c = 3)": And((Compare("a", "=", 1), Or((Compare("b", "=", 2), Compare("c", "=", 3))))),
    "  a\n =\t1 ": Compare("a", "=", 1),
    "id = 18446744073709551615": Compare("id", "=", 2**64 - 1),
}


@pytest.mark.parametrize(("text", "tree"), READ.items(), ids=list(READ))
def test_a_filter_is_read(text, tree):
    assert repr(parse(text, LIMITS)) == repr(tree)  # repr tells 1 from 1.0 and True


PLACES = {
    "": "",
    "year >=": "",
    "year >= and x": "and x",
    "topic = sea": "sea",
    "at >= 2024-05-17": "2024-05-17",
    "1990 < year": "1990 < year",
    "year 1990": "1990",
    "a = 1 b = 2": "b = 2",
    "a = 1 && b = 2": "&& b = 2",
    "(a = 1": "(a = 1",
    "a = 1)": ")",
    "a = 'x": "'x",
    "a in (1 2)": "2)",
    "a in 1": "1",
    "a in (1,)": ")",
    "a between 1 or 2": "or 2",
    "a prefix 5": "5",
    "a not = 1": "= 1",
    "exists(a": "",
    "exists a": "a",
    "contains(a)": ")",
    "starts(a, 'x')": "starts(a, 'x')",
    "in = 1": "in = 1",
    "``= 1": "``= 1",
    "a = 99999999999999999999": "99999999999999999999",
    f"a = {'9' * 5000}": "9" * 27,
    "a = 1e999": "1e999",
    "a = nan": "nan",
    "a = 'x' and all(b = 1": "all(b = 1",
    "a = 1,": ",",
}


@pytest.mark.parametrize(("text", "rest"), PLACES.items(), ids=[text[:20] for text in PLACES])
def test_the_caret_stands_under_the_place(text, rest):
    assert pointed_at(text).startswith(rest)


DUE = {
    "year": "expected one of: =, !=, <, <=, >, >=, in, not in, between, contains, prefix, matches",
    "year = ": "expected one of: text in quotes, a number, true, false, null",
    "a = 1 or": "expected one of: a field, not, '(', exists(…), contains(…), prefix(…), matches(…)",
    "a = 1 b": "expected one of: and, or, the end of the filter",
    "(a = 1 b": "expected one of: and, or, ')'",
    "all(a = 1 b": "expected one of: and, or, ',', ')'",
    "a in (1 b": "expected one of: ',', ')'",
    "starts(a)": "expected one of: exists(…), contains(…), prefix(…), matches(…), all(…), any(…)",
    "a matches 1": "expected text in quotes",
    "exists(": "expected a field",
    "topic = sea": "put quotes around text and times: 'sea'",
    "a is null": "write exists(field) or not exists(field)",
    "a = 1 || b = 2": "write 'or'",
    "1990 < year": "the field stands first",
    "between = 1": "put it in backticks: `between`",
}


@pytest.mark.parametrize(("text", "said"), DUE.items(), ids=list(DUE))
def test_an_error_says_what_is_valid_there(text, said):
    assert said in refused(text)


def test_a_long_filter_shows_a_window_around_the_place():
    text = f"{'x' * 500} = 1 and topic = sea and {'y' * 500} = 2"
    message = refused(text)
    _, window, *_ = message.split("\n")
    assert window.startswith("  …")
    assert window.endswith("…")
    assert len(window) < 90
    assert pointed_at(text).startswith("sea and")
    assert f"at character {text.index('sea') + 1}" in message


def test_a_filter_of_many_lines_is_drawn_on_one():
    assert pointed_at("a = 1\nand b = \n\t sea") == "sea"


@given(tree=trees)
@settings(max_examples=150, deadline=None)
def test_what_is_spelled_reads_back(tree):
    assert repr(parse(spell(tree), LIMITS)) == repr(tree)


@pytest.mark.parametrize("value", EDGES, ids=repr)
def test_every_value_is_spelled_as_what_it_is(value):
    tree = Compare("a", "=", value)
    assert repr(parse(spell(tree), LIMITS)) == repr(tree)


@given(name=st.text(min_size=1, max_size=6), value=st.text(max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_name_and_any_text_can_be_spelled(name, value):
    tree = Contains(name, value)
    assert parse(spell(tree), LIMITS) == tree


@given(
    text=st.lists(
        st.sampled_from(["a", "= ", "1", "'x'", "(", ")", " and ", " or ", "not ", "in ", ",", "all(", "`", "'", "between "]), max_size=12
    )
)
@settings(max_examples=150, deadline=None)
def test_any_string_is_read_or_refused_with_a_caret(text):
    where, tree, message = "".join(text), None, ""
    try:
        tree = parse(where, LIMITS)
    except FilterSyntax as error:
        message = error.message
    assert "^" in message if tree is None else parse(spell(tree), LIMITS) == tree


@given(tree=trees)
@settings(max_examples=100, deadline=None)
def test_a_canonical_tree_has_no_and_in_and_and_stays_as_it_is(tree):
    once = as_filter(tree, LIMITS)
    assert as_filter(once, LIMITS) == once
    assert as_filter(spell(tree), LIMITS) == once

    def walk(part: Filter) -> None:
        if isinstance(part, (And, Or)):
            assert len(part.of) != 1
            for inner in part.of:
                assert type(inner) is not type(part)
                walk(inner)
        elif isinstance(part, Not):
            walk(part.of)

    walk(once)


def test_both_spellings_give_one_tree():
    built = (field("year") >= 1990) & field("topic").one_of("sea", "sky") & ~field("draft").exists()
    assert as_filter(built, LIMITS) == as_filter("year >= 1990 and (topic in ('sea', 'sky') and not exists(draft))", LIMITS)
    assert as_filter((field("a") == 1) | (field("b") != 2) | (field("c") < 3), LIMITS) == as_filter("a = 1 or b != 2 or c < 3", LIMITS)
    assert as_filter(field("a").between(1, 2), LIMITS) == as_filter("a between 1 and 2", LIMITS)
    assert as_filter(field("a").contains(1) & field("b").prefix("x"), LIMITS) == as_filter("contains(a, 1) and prefix(b, 'x')", LIMITS)
    assert as_filter(~field("a").matches("x y"), LIMITS) == as_filter("not a matches 'x y'", LIMITS)


def test_no_filter_stays_none():
    assert as_filter(None, LIMITS) is None


VALUES = {
    "datetime": (datetime(2024, 5, 17, 12, tzinfo=UTC), "2024-05-17T12:00:00+00:00"),
    "date": (date(2024, 5, 17), "2024-05-17"),
    "datetime64": (np.datetime64("2024-05-17T12:00:00", "ns"), "2024-05-17T12:00:00"),
    "uuid": (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    "numpy integer": (np.int32(5), 5),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("x"), "x"),
}


@pytest.mark.parametrize(("value", "plain"), VALUES.values(), ids=list(VALUES))
def test_values_of_other_types_become_plain(value, plain):
    tree = as_filter(field("a") == value, LIMITS)
    assert isinstance(tree, Compare)
    assert type(tree.value) is type(plain)
    assert tree.value == plain


WRONG = {
    "a number": (5, "a filter is of type int; expected a string"),
    "a dictionary": ({"year": 1990}, "a filter is of type dict"),
    "not a number": (field("a") > float("nan"), "compared with nan; expected a finite number"),
    "infinity": (field("a") > np.float32("inf"), "expected a finite number"),
    "a huge integer": (field("a") == 2**64, "beyond 64 bits"),
    "a list": (field("a").one_of(["x", "y"]), "of type list; expected text"),
    "bytes": (field("a") == b"x", "of type bytes"),
    "no name": (field("") == 1, "expected its path"),
    "a name that is no text": (field(5) == 1, "expected its path"),  # type: ignore[arg-type]
    "a lone surrogate": (field("a") == "\ud800", "not valid Unicode"),
    "a lone surrogate in a name": (field("\ud800") == 1, "not valid Unicode"),
    "a lone surrogate in a string": ("a = '\ud800'", "not valid Unicode"),
    "a prefix that is no text": (field("a").prefix(5), "expected text"),  # type: ignore[arg-type]
    "an unknown operator": (Compare("a", "~", 1), "'~' is no operator"),  # type: ignore[arg-type]
    "a part that is no filter": (And((Compare("a", "=", 1), "b = 2")), "a part of the filter is of type str"),  # type: ignore[arg-type]
    "values that are no tuple": (In("a", "xyz"), "in str; expected a tuple"),  # type: ignore[arg-type]
    "parts that are no tuple": (Or(Compare("a", "=", 1)), "Or holds Compare; expected a tuple"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("where", "said"), WRONG.values(), ids=list(WRONG))
def test_what_is_no_filter_is_refused(where, said):
    assert said in refused(where)


def test_ten_thousand_conditions_are_no_deep_filter():
    joined = " and ".join(f"x != {number}" for number in range(10_000))
    tree = parse(joined, LIMITS)
    assert isinstance(tree, And)
    assert len(tree.of) == 10_000
    conditions = [field("x") != number for number in range(10_000)]
    assert as_filter(reduce(and_, conditions), LIMITS) == tree
    assert as_filter(reduce(or_, conditions[:100]) & reduce(and_, conditions[100:200]), LIMITS) is not None
    assert parse(f"x in ({','.join(map(str, range(10_000)))})", LIMITS) == In("x", tuple(range(10_000)))


def test_a_filter_as_deep_as_the_limit_is_read_and_one_level_more_is_refused():
    limits = Limits(filter_depth_max=5)
    for text in ("not " * 5 + "a = 1", "(" * 5 + "a = 1" + ")" * 5, "not (" * 2 + "not a = 1" + "))"):
        assert as_filter(text, limits) is not None
    for text in ("not " * 6 + "a = 1", "(" * 6 + "a = 1" + ")" * 6, "not (" * 3 + "a = 1" + ")))", "not " * 5 + "a not in (1)"):
        assert "filter_depth_max = 5" in refused(text, limits)
    alternating: Filter = Compare("a", "=", 1)
    for level in range(5):
        assert as_filter(alternating, limits) is not None
        alternating = (And, Or)[level % 2]((alternating, Compare("b", "=", level)))
    assert as_filter(alternating, limits) is not None
    assert "filter_depth_max = 5" in refused(Or((alternating, Not(alternating))), limits)
    assert "filter_depth_max = 5" in refused(Not(alternating), limits)


def test_an_endless_filter_is_refused_without_recursion():
    assert "filter_depth_max" in refused("(" * 1_000_000)
    assert "filter_depth_max" in refused("not " * 1_000_000)
    deep: Filter = Compare("a", "=", 1)
    for _ in range(100_000):
        deep = Not(deep)
    assert "filter_depth_max" in refused(deep)
    while isinstance(deep, Not):  # taken apart here, since Python frees nested objects recursively
        deep = deep.of


def test_more_terms_than_the_limit_are_refused():
    limits = Limits(filter_terms_max=4)
    assert as_filter("a in (1, 2, 3) and b = 1", limits) is not None
    for text in (
        "a in (1, 2, 3, 4, 5)",
        "a in (1, 2, 3) and b = 1 and c = 1",
        "b = 1 and a in (1, 2, 3, 4)",
        "x=1 or x=2 or x=3 or x=4 or x=5",
    ):
        assert "filter_terms_max = 4" in refused(text, limits)
    assert "filter_terms_max = 4" in refused(In("a", (1, 2, 3, 4, 5)), limits)
    assert "filter_terms_max = 4" in refused(reduce(or_, [field("x") == number for number in range(5)]), limits)


def test_a_text_that_is_never_closed_is_refused_at_once():
    assert "never closed" in refused("a = '" + "x''" * 100_000)
    assert "never closed" in refused("`" + "x``" * 100_000)
