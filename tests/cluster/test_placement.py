"""Where shards are placed: balanced, apart, and moved no more than that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from paradox.router.placement import Places, domains, moved, place

NODES = [f"n{number}" for number in range(9)]
ZONES = {node: "abc"[number % 3] for number, node in enumerate(NODES)}
some_nodes = st.sets(st.sampled_from(NODES), min_size=1)


def unzoned(nodes: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(nodes, "")


def load_of(places: Places) -> Counter[str]:
    return Counter(node for there in places for node in there)


def changed(before: Places, after: Places) -> int:
    """Return how many replicas came to nodes that did not have them."""
    return sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))


def expect_good(places: Places, alive: dict[str, str], replicas: int) -> None:
    load = load_of(places)
    assert max(load.values()) - min(load[node] for node in alive) <= 1
    for there in places:
        assert len(there) == len(set(there)) == min(replicas, len(alive))
        assert set(there) <= alive.keys()


@given(shards=st.integers(1, 64), alive=some_nodes, gone=st.sets(st.sampled_from(NODES)), replicas=st.integers(1, 4))
def test_shards_are_balanced_and_few_move(shards: int, alive: set[str], gone: set[str], replicas: int) -> None:
    before = place(shards, unzoned(alive), replicas=replicas)
    expect_good(before, unzoned(alive), replicas)
    assert place(shards, unzoned(alive), before, replicas=replicas) == before
    left = unzoned(alive - gone or NODES[:1])
    after = place(shards, left, before, replicas=replicas)
    expect_good(after, left, replicas)
    orphans = sum(node not in left for there in before for node in there)
    if left.keys() <= alive and replicas == 1:
        assert changed(before, after) <= orphans
    assert place(shards, left, after, replicas=replicas) == after


@given(shards=st.integers(1, 32), alive=some_nodes, replicas=st.integers(2, 4))
def test_replicas_are_in_different_zones_where_there_are_enough(shards: int, alive: set[str], replicas: int) -> None:
    """Also when they were together before their nodes were in zones."""
    zoned = {node: ZONES[node] for node in alive}
    before = place(shards, unzoned(alive), replicas=replicas)
    for places in (place(shards, zoned, replicas=replicas), place(shards, zoned, before, replicas=replicas)):
        assert all(len(there) == len(set(there)) == min(replicas, len(alive)) for there in places)
        if min(replicas, len(alive)) <= len(set(zoned.values())):
            assert all(len({ZONES[node] for node in there}) == len(there) for there in places)
        assert place(shards, zoned, places, replicas=replicas) == places


def test_a_node_that_comes_takes_its_share_and_no_more() -> None:
    before = place(12, unzoned(["n0", "n1", "n2"]))
    after = place(12, unzoned(["n0", "n1", "n2", "n3"]), before)
    assert load_of(after) == {"n0": 3, "n1": 3, "n2": 3, "n3": 3}
    assert changed(before, after) == 3
    before = place(12, unzoned(["n0", "n1", "n2"]), replicas=2)
    after = place(12, unzoned(["n0", "n1", "n2", "n3"]), before, replicas=2)
    assert load_of(after) == {"n0": 6, "n1": 6, "n2": 6, "n3": 6}
    assert changed(before, after) == 6


def test_replicas_that_have_no_node_wait_for_one() -> None:
    alone = place(3, unzoned(["n0"]), replicas=2)
    assert alone == [["n0"]] * 3
    assert place(3, unzoned(["n0", "n1"]), alone, replicas=2) == [["n0", "n1"]] * 3


def test_a_shard_is_moved_to_a_node_in_exchange_for_another() -> None:
    places = place(6, unzoned(["n0", "n1", "n2"]), replicas=2)
    alive = unzoned(["n0", "n1", "n2"])
    shard = next(number for number, there in enumerate(places) if "n2" not in there)
    after = moved(places, shard, "n2", alive, replicas=2)
    assert after is not None
    assert "n2" in after[shard]
    expect_good(after, alive, 2)
    assert changed(places, after) == 2


def test_shards_on_one_node_share_a_domain() -> None:
    assert domains([["b"], ["a"], ["b"], ["c"]]) == domains([["z"], ["x"], ["z"], ["y"]]) == [0, 1, 0, 2]


def test_shards_on_the_same_nodes_share_a_domain() -> None:
    assert domains([["b", "a"], ["a", "b"], ["b", "c"]]) == [0, 0, 1]


def test_shards_in_one_zone_share_a_domain_where_zones_can_keep_copies_apart() -> None:
    zones = {"a": "east", "b": "west", "c": "east"}
    assert domains([["a"], ["b"], ["c"]], zones, copies=2) == [0, 1, 0]
    assert domains([["a"], ["b"], ["c"]], zones, copies=3) == [0, 1, 2]
    assert domains([["a"], ["b"], ["d"]], zones, copies=2) == [0, 1, 2]
    assert domains([["a"], ["c"], ["a"]], zones, copies=2) == [0, 1, 0]
