"""Where shards are placed: balanced, and moved no more than that takes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from paradox.router.placement import domains, place

NODES = [f"n{number}" for number in range(9)]


@given(shards=st.integers(1, 64), alive=st.sets(st.sampled_from(NODES), min_size=1), gone=st.sets(st.sampled_from(NODES)))
def test_shards_are_balanced_and_few_move(shards: int, alive: set[str], gone: set[str]) -> None:
    before = place(shards, sorted(alive))
    load = Counter(before)
    assert max(load.values()) - min(load[node] for node in alive) <= 1
    assert place(shards, sorted(alive), before) == before
    left = sorted(alive - gone) or NODES[:1]
    after = place(shards, left, before)
    load = Counter(after)
    assert max(load.values()) - min(load[node] for node in left) <= 1
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    orphans = sum(node not in left for node in before)
    assert moved <= orphans + (0 if set(left) <= alive else shards)


def test_a_node_that_comes_takes_its_share_and_no_more() -> None:
    before = place(12, ["n0", "n1", "n2"])
    after = place(12, ["n0", "n1", "n2", "n3"], before)
    assert Counter(after) == {"n0": 3, "n1": 3, "n2": 3, "n3": 3}
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 3


def test_shards_on_one_node_share_a_domain() -> None:
    assert domains(["b", "a", "b", "c"]) == domains(["z", "x", "z", "y"]) == [0, 1, 0, 2]


def test_shards_in_one_zone_share_a_domain_where_zones_can_keep_copies_apart() -> None:
    zones = {"a": "east", "b": "west", "c": "east"}
    assert domains(["a", "b", "c"], zones, copies=2) == [0, 1, 0]
    assert domains(["a", "b", "c"], zones, copies=3) == [0, 1, 2]
    assert domains(["a", "b", "d"], zones, copies=2) == [0, 1, 2]
    assert domains(["a", "c", "a"], zones, copies=2) == [0, 1, 0]
