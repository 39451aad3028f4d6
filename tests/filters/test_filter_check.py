"""The check of a filter against what a collection holds."""

from __future__ import annotations

import pytest

from paradox.errors import FilterField, FilterType
from paradox.model.filter_syntax import parse
from paradox.model.schema import Limits
from paradox.planner.filter_check import check_filter

FIELDS = {
    "year": frozenset({"number"}),
    "topic": frozenset({"text"}),
    "mixed": frozenset({"number", "text"}),
    "draft": frozenset({"bool"}),
    "tags": frozenset({"array"}),
    "meta": frozenset({"object"}),
    "meta.author": frozenset({"text"}),
}


def check(text: str, fields: dict[str, frozenset[str]] = FIELDS) -> None:
    check_filter(parse(text, Limits()), fields)


SOUND = [
    "year >= 1990 and topic in ('a', 'b') and not exists(draft)",
    "mixed = 1 or mixed = 'x' or mixed between 1 and 2",
    "draft = true or draft != false or draft in (true)",
    "contains(tags, 'x') or contains(tags, 1) or exists(tags)",
    "exists(meta) and meta.author prefix 'a' and meta.author matches 'b'",
    "id = 1 or id = 'x' or id prefix 'p' or modality = 'text' or origin in ('a')",
    "at > 5 or at < 1.5 or at between '2024-01-01' and '2024-05-17T12:00:00Z'",
]


@pytest.mark.parametrize("text", SOUND)
def test_a_sound_filter_passes(text):
    check(text)


UNFIT = {
    "year = 'abc'": "field 'year' holds numbers; the filter compares it with text 'abc'",
    "year in (1, 'abc')": "field 'year' holds numbers; the filter compares it with text 'abc'",
    "year between 1 and '2'": "numbers stand without quotes: 2",
    "year = true": "field 'year' holds numbers; the filter compares it with true",
    "topic > 5": "text stands in quotes: '5'",
    "draft = 'true'": "bools stand without quotes: true",
    "draft < true": "the filter orders 'draft' by true and false",
    "draft between false and true": "the filter orders 'draft'",
    "mixed = true": "field 'mixed' holds numbers and text; the filter compares it with true",
    "topic = null": "write exists(topic) or not exists(topic)",
    "tags = 'x'": "write contains(tags, 'x')",
    "contains(topic, 'x')": "field 'topic' holds text; contains needs an array",
    "contains(tags, null)": "null, which counts as absent",
    "prefix(year, 'x')": "field 'year' holds numbers; prefix needs text",
    "tags matches 'x'": "write contains(tags, …)",
    "at prefix '2024'": "prefix needs text",
    "at > 'yesterday'": "'at' with the text 'yesterday'; expected a time",
    "modality = 1": "field 'modality' holds text; the filter compares it with number 1",
    "meta = 1": "field 'meta' holds objects",
    "topic = 'x' or not (year > 1 and year > 'x')": "field 'year' holds numbers",
}


@pytest.mark.parametrize(("text", "said"), UNFIT.items(), ids=list(UNFIT))
def test_a_value_of_another_kind_is_refused(text, said):
    with pytest.raises(FilterType) as raised:
        check(text)
    assert said in str(raised.value)


def test_an_unknown_field_is_refused_naming_near_ones():
    with pytest.raises(FilterField) as raised:
        check("yaer > 5")
    message = str(raised.value)
    assert "no point has the field 'yaer'" in message
    assert "did you mean 'year'?" in message
    assert "draft, meta, meta.author, mixed, tags, topic, year; of every point: id, modality, at, origin" in message


def test_an_unknown_field_is_looked_for_inside_objects_and_among_the_own_fields():
    with pytest.raises(FilterField, match=r"did you mean 'meta\.author'"):
        check("author = 'x'")
    with pytest.raises(FilterField, match="did you mean 'modality'"):
        check("modalty = 'x'")


def test_of_many_fields_only_some_are_named():
    with pytest.raises(FilterField) as raised:
        check("nothing = 1", {f"field{number}": frozenset({"number"}) for number in range(100_000)})
    assert "and 99980 more" in str(raised.value)
    assert len(str(raised.value)) < 500


def test_an_empty_collection_allows_everything():
    check("anything > 5 and tags = null", {})
