"""Chains and contents: holders that applied the same agree, and any difference shows."""

from __future__ import annotations

import pytest

from paradox.shard.chain import EVERY, KEPT, Chain, Difference, difference_of


def chained(bodies: list[bytes], *, at: int = 0, value: int | None = 0) -> Chain:
    chain = Chain(at, value)
    for position, body in enumerate(bodies, at + 1):
        chain.extend(position, [body])
    return chain


def test_a_chain_says_what_was_applied_and_in_which_order() -> None:
    one = chained([b"a", b"b", b"c"])
    assert one.value == chained([b"a", b"b", b"c"]).value
    others = [[b"a", b"c", b"b"], [b"a", b"b"], [b"a", b"b", b"d"], [b"x", b"b", b"c"], [b"", b"ab", b"c"], [b"a", b"b", b"c", b""]]
    assert len({chained(bodies).value for bodies in others} | {one.value}) == len(others) + 1


def test_it_does_not_depend_on_pieces_or_on_where_it_was_taken_up() -> None:
    whole = chained([b"abc", b"def"])
    pieces = Chain(0, 0)
    pieces.extend(1, [b"a", bytearray(b"b"), memoryview(b"c")])
    pieces.extend(2, [b"", b"def"])
    assert pieces.value == whole.value
    assert chained([b"def"], at=1, value=chained([b"abc"]).value).value == whole.value


def test_an_entry_that_is_applied_again_counts_once() -> None:
    chain = chained([b"a", b"b"])
    before = chain.value
    chain.extend(2, [b"b"])
    assert chain.value == before


def test_marks_are_at_equal_positions_and_few() -> None:
    chain = chained([b"x"] * (EVERY * (KEPT + 2) + 5))
    positions = [position for position, _ in chain.marks()]
    assert positions == [*(EVERY * number for number in range(3, KEPT + 3)), EVERY * (KEPT + 2) + 5]


def test_a_snapshot_without_a_chain_says_nothing() -> None:
    chain = chained([b"x"] * EVERY, at=7, value=None)
    assert chain.value is None
    assert chain.marks() == []


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        ({"n1": [(1024, 5)], "n2": [(1024, 5), (1030, 9)], "n3": [(2048, 1)]}, None),
        ({"n1": [(1024, 5)], "n2": [(1024, 6)]}, Difference(1024, ("n1", "n2"), ("n1", "n2"))),
        ({"n1": [(1024, 5)], "n2": [(1024, 6)], "n3": [(1024, 5)]}, Difference(1024, ("n1", "n2", "n3"), ("n2",))),
        ({"n1": [(1024, 5), (2048, 1)], "n2": [(2048, 2), (1024, 5)]}, Difference(2048, ("n1", "n2"), ("n1", "n2"))),
        ({"n1": [], "n2": [(1, 1)]}, None),
    ],
)
def test_holders_are_compared_where_several_have_a_mark(marks: dict[str, list[tuple[int, int]]], found: Difference | None) -> None:
    assert difference_of(marks) == found
