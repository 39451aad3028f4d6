"""Columns against the oracle: any payloads, any filter, any way the rows came in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, get_args
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.oracle import Point, encoded, expected, found_by, own_of
from filters.strategies import EDGES, IDS, KEYS, OWN_VALUES, TIMES, nested, points, trees
from paradox.errors import FilterType, InternalError, PayloadInvalid
from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Operator, Or, Prefix
from paradox.shard import columns as columns_module
from paradox.shard import field_column, payload_entries, text_column
from paradox.shard.columns import Columns
from paradox.shard.value_tests import value_at


@contextmanager
def tight_bounds() -> Iterator[None]:
    """Make every bound so small that a handful of points passes it: hashed texts, dropped arrays, rare fields, small batches."""
    with (
        patch.object(text_column, "WORDS_FREE", 1),
        patch.object(text_column, "SIGNS_FREE", 3),
        patch.object(text_column, "SIGNS_MEAN_MAX", 2),
        patch.object(field_column, "ELEMENTS_FREE", 2),
        patch.object(field_column, "ELEMENTS_MEAN_MAX", 1),
        patch.object(columns_module, "FIELDS_MAX", 2),
        patch.object(payload_entries, "BATCH_ROWS", 3),
    ):
        yield


@contextmanager
def usual_bounds() -> Iterator[None]:
    yield


bounds = pytest.mark.parametrize("bounds", [usual_bounds, tight_bounds])


def columns_of(rows: list[Point]) -> Columns:
    columns = Columns()
    columns.extend(encoded(rows))
    return columns


def point(number: int, **payload: object) -> Point:
    return Point(key=number, modality="text", at_us=number, origin="", payload=payload)


def conditions_of(field: str, value: Any, other: Any) -> Iterator[Filter]:
    """Yield every condition on a field that two values can make."""
    for operator in get_args(Operator):
        yield Compare(field, operator, value)
    yield Between(field, value, other)
    yield In(field, (value, other))
    yield Contains(field, value)
    if isinstance(value, str) and field != "at":
        yield Prefix(field, value)
        yield Matches(field, value)


def stored_again(columns: Columns) -> Columns:
    return Columns.from_arrays(columns.to_arrays(), len(columns))


@bounds
@pytest.mark.parametrize("stored", [False, True], ids=["grown", "stored"])
def test_every_condition_on_every_edge_value_is_exact(bounds, stored):
    """All pairs of a held and an asked value; each value alone, and inside an array."""
    rows = [point(number, a=value) for number, value in enumerate([*EDGES, *([value, None, "other", {"a": 1}, []] for value in EDGES)])]
    with bounds():
        columns = stored_again(columns_of(rows)) if stored else columns_of(rows)
        own, payloads = own_of(rows), encoded(rows)
        asked = [*EDGES, "absent", "zz", 3, 0.25]
        for value, other in zip(asked, [*asked[5:], *asked[:5]], strict=True):
            for condition in conditions_of("a", value, other):
                found = columns.evaluate(condition, own, payloads.__getitem__).tolist()
                assert found == expected(condition, rows), condition


@pytest.mark.parametrize("directory", [False, True], ids=["ids looked through", "ids looked up"])
def test_every_condition_on_the_own_fields_is_exact(directory):
    names, moments = ["", "text", "image", "paris"], [0, 1, -1, 10**6, 1_500_000, 1_700_000_000_123_456, 2**63 - 1, -(2**63)]
    rows = [Point(key, names[number % 4], moments[number % 8], names[number % 3], {}) for number, key in enumerate(IDS)]
    columns = columns_of(rows)
    for field in ("id", "modality", "origin", "at"):
        asked = TIMES if field == "at" else OWN_VALUES
        for value, other in zip(asked, [*asked[3:], *asked[:3]], strict=True):
            for condition in conditions_of(field, value, other):
                assert found_by(columns, condition, rows, directory=directory) == expected(condition, rows), condition


@bounds
@pytest.mark.parametrize("kind", [int, float, str])
def test_a_long_list_of_values_finds_the_same_as_each_of_them(bounds, kind):
    known = [value for value in EDGES if type(value) is kind]
    rows = [point(number, a=value) for number, value in enumerate(EDGES)]
    wanted = (*known[::2], *(kind(number) for number in range(1_000, 1_040)))
    with bounds():
        columns = columns_of(rows)
        for form in (columns, stored_again(columns)):
            assert found_by(form, In("a", wanted), rows) == expected(In("a", wanted), rows)


@bounds
@given(nests=st.lists(nested, max_size=6))
@settings(max_examples=80, deadline=None)
def test_dotted_paths_reach_nested_objects_and_keys_with_dots(bounds, nests):
    rows = [Point(number, "", 0, "", payload) for number, payload in enumerate(nests)]
    with bounds():
        columns = columns_of(rows)
        for path in KEYS:
            for condition in (Exists(path), Compare(path, "=", 1), Compare(path, "!=", 2)):
                assert found_by(columns, condition, rows) == expected(condition, rows)


def test_a_path_is_followed_key_by_key():
    payload = {"a": {"b.c": 2}, "axb": {"c": 1}, "a.b": None, "d": {"e": {}}}
    assert value_at(payload, "axb.c") == 1
    assert value_at(payload, "a.b.c") == 2
    assert value_at(payload, "d.e") == {}
    assert [value_at(payload, path) for path in ("a.b", "d.e.f", "x", "a.", ".a", "axb.")] == [None] * 6


@bounds
@given(rows=st.lists(points, max_size=12), tree=trees)
@settings(max_examples=150, deadline=None)
def test_a_filter_finds_what_the_oracle_finds(bounds, rows, tree):
    with bounds():
        assert found_by(columns_of(rows), tree, rows) == expected(tree, rows)


@bounds
@given(rows=st.lists(points, max_size=16), tree=trees, data=st.data())
@settings(max_examples=60, deadline=None)
def test_rows_that_come_in_pieces_are_found_like_those_that_come_at_once(bounds, rows, tree, data):
    with bounds():
        columns, done = Columns(), 0
        while done < len(rows):
            step = data.draw(st.integers(1, len(rows) - done))
            columns.extend(encoded(rows[done : done + step]))
            done += step
            assert found_by(columns, tree, rows[:done]) == expected(tree, rows[:done])
        assert columns.fields() == columns_of(rows).fields()


@bounds
@given(rows=st.lists(points, max_size=12), more=st.lists(points, max_size=6), tree=trees)
@settings(max_examples=60, deadline=None)
def test_stored_columns_find_the_same_and_take_more_rows(bounds, rows, more, tree):
    with bounds():
        built = columns_of(rows)
        arrays = built.to_arrays()
        for array in arrays.values():
            assert array.dtype != object
            array.flags.writeable = False
        stored = Columns.from_arrays(arrays, len(rows))
        assert len(stored) == len(rows)
        assert stored.fields() == built.fields()
        assert found_by(stored, tree, rows) == expected(tree, rows)
        stored.extend(encoded(more))
        assert found_by(stored, tree, rows + more) == expected(tree, rows + more)


@given(rows=st.lists(points, max_size=8, unique_by=lambda row: row.key), tree=trees)
@settings(max_examples=60, deadline=None)
def test_a_directory_of_keys_finds_the_same(rows, tree):
    assert found_by(columns_of(rows), tree, rows, directory=True) == expected(tree, rows)


@bounds
@given(rows=st.lists(points, min_size=1, max_size=8), tree=trees, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_reader_of_fewer_rows_sees_only_those(bounds, rows, tree, data):
    known = data.draw(st.integers(0, len(rows)))
    with bounds():
        assert found_by(columns_of(rows), tree, rows[:known]) == expected(tree, rows[:known])


@given(present=st.lists(st.booleans(), max_size=200), step=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_fields_that_come_and_go_keep_their_rows(present, step):
    """Dense, gapped and sparse stretches of one field, so that its layout changes back and forth."""
    rows = [point(number, **({"a": number} if here else {})) for number, here in enumerate(present)]
    columns = Columns()
    for start in range(0, len(rows), step):
        columns.extend(encoded(rows[start : start + step]))
    for tree in (Exists("a"), Compare("a", ">=", 30), Not(Compare("a", "=", 0))):
        assert found_by(columns, tree, rows) == expected(tree, rows)


def test_a_sparse_field_that_becomes_common_is_laid_out_again():
    rows = [point(number, **({"a": number} if number < 1 or number > 100 else {})) for number in range(600)]
    columns = columns_of(rows[:50])
    for start in range(50, 600, 10):
        columns.extend(encoded(rows[start : start + 10]))
        assert found_by(columns, Compare("a", ">", 200), rows[: start + 10]) == expected(Compare("a", ">", 200), rows[: start + 10])


def test_columns_are_usable_from_read_only_files(tmp_path: Path):
    rows = [point(number, a=f"word {number % 7}", b=[number % 3, "x"], c=number / 2) for number in range(50)]
    for name, array in columns_of(rows).to_arrays().items():
        np.save(tmp_path / f"{name.replace('/', '+')}.npy", array, allow_pickle=False)
    arrays = {path.stem.replace("+", "/"): np.load(path, mmap_mode="r") for path in tmp_path.iterdir()}
    stored = Columns.from_arrays(arrays, len(rows))
    for tree in (Prefix("a", "word 3"), Compare("a", ">", "word 2"), Contains("b", 2), Compare("c", "<", 4), Matches("a", "WORD 5")):
        assert found_by(stored, tree, rows) == expected(tree, rows)
    stored.extend(encoded([point(50, a="new")]))
    assert found_by(stored, Compare("a", "=", "new"), [*rows, point(50, a="new")])[-1]


def test_long_text_stays_in_payloads_and_is_read_only_where_cheaper_conditions_leave_rows():
    rows = [point(number, year=number, story=f"{'long ' * 30} {number}") for number in range(1_000)]
    columns, payloads, read = columns_of(rows), encoded(rows), []

    def payload(row: int) -> bytes:
        read.append(row)
        return payloads[row]

    assert sum(array.nbytes for array in columns.to_arrays().values()) < 50_000
    tree = And((Matches("story", "LONG 17"), Or((Compare("year", "=", 17), Compare("year", "=", 18)))))
    assert np.flatnonzero(columns.evaluate(tree, own_of(rows), payload)).tolist() == [17]
    assert read == [17, 18]
    read.clear()
    assert columns.evaluate(Compare("story", "=", rows[5].payload["story"]), own_of(rows), payload).sum() == 1
    assert read == [5]
    read.clear()
    either = Or((Matches("story", "nothing"), Compare("year", ">=", 10)))
    assert columns.evaluate(either, own_of(rows), payload).sum() == 990
    assert read == list(range(10))


def test_mostly_unique_text_is_found_by_its_hash():
    rows = [point(number, name=f"n{number}") for number in range(3_000)]
    columns = columns_of(rows)
    assert columns.fields() == {"name": frozenset({"text"})}
    for tree in (Compare("name", "=", "n77"), In("name", ("n1", "n2", "zzz")), Compare("name", "!=", "n5"), Prefix("name", "n29")):
        assert found_by(columns, tree, rows) == expected(tree, rows)


def test_endless_field_names_do_not_make_endless_columns():
    rows = [point(number, common=1, **{f"user{number}": number}) for number in range(2_000)]
    columns = columns_of(rows)
    assert len(columns.to_arrays()) < 2_000
    assert len(columns.fields()) == 2_001
    for tree in (Compare("user1999", "=", 1999), Exists("user1500"), Compare("user3", "!=", 4), Exists("common")):
        assert found_by(columns, tree, rows) == expected(tree, rows)


def test_values_beyond_json_are_present_and_equal_to_nothing():
    payloads = [msgspec.msgpack.encode({"a": b"bytes"}), msgspec.msgpack.encode({"a": float("nan")}), msgspec.msgpack.encode({})]
    columns = Columns()
    columns.extend(payloads)
    own = own_of([point(0), point(1), point(2)])

    def found(tree):
        return columns.evaluate(tree, own, payloads.__getitem__).tolist()

    assert found(Exists("a")) == [True, True, False]
    assert found(Compare("a", "=", 1)) == [False, False, False]
    assert found(Compare("a", "!=", 1)) == [True, True, False]
    assert found(Compare("a", "<", 1)) == [False, False, False]


def test_fields_names_every_kind_and_leaves_null_out():
    rows = [point(0, a=1, b="x", c=None, d={"e": [True]}, f=True), point(1, a="one", b=2.5, d={"e": {}})]
    assert columns_of(rows).fields() == {
        "a": frozenset({"number", "text"}),
        "b": frozenset({"number", "text"}),
        "d": frozenset({"object"}),
        "d.e": frozenset({"array", "object"}),
        "f": frozenset({"bool"}),
    }


def test_text_that_is_no_time_is_refused_for_at():
    with pytest.raises(FilterType, match="'at' with the text 'yesterday'"):
        found_by(columns_of([point(0)]), Compare("at", ">", "yesterday"), [point(0)])


def test_bytes_that_are_no_payload_are_refused():
    with pytest.raises(PayloadInvalid, match="not a MessagePack map"):
        Columns().extend([b"\x01"])


def test_more_points_than_columns_is_a_bug_of_ours():
    with pytest.raises(InternalError, match="one value a row"):
        found_by(columns_of([point(0)]), Exists("a"), [point(0), point(1)])


def test_readers_may_evaluate_while_rows_arrive_and_ask_for_them_at_once():
    rows = [point(number, **({"a": number} if number % 3 else {}), b=f"t{number % 50}", c=[number % 5, "x"]) for number in range(1_500)]
    payloads, columns, wrong = encoded(rows), Columns(), []
    trees = (Compare("a", ">", 100), Compare("b", "=", "t7"), Contains("c", 3), Prefix("b", "t4"))
    answers = {tree: np.array(expected(tree, rows)) for tree in trees}

    def read(offset: int) -> None:
        for known in range(1 + offset, len(rows), 37):
            columns.catch_up(payloads, known)
            own = own_of(rows[:known])
            wrong.extend(
                (tree, known) for tree in trees if (columns.evaluate(tree, own, payloads.__getitem__) != answers[tree][:known]).any()
            )

    threads = [Thread(target=read, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(columns) >= len(rows) - 37
