"""A search over shards on many nodes asks each shard for the queries that want it, and for no others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec
import numpy as np
import pytest

from paradox.model.queries import Question
from paradox.model.recall import Routing
from paradox.model.schema import CollectionSpec, VectorSpec
from paradox.model.topology import RegionMap
from paradox.router.layout import Layout, Told
from paradox.router.visiting import Visits
from paradox.shard.manifest import map_to_plain
from paradox.space.regions import Atlas, blank_regions
from paradox.wire.operations import AskShards

SHARDS = 6
CENTRES = np.eye(SHARDS, dtype=np.float32)


def layout(patience: int) -> Layout:
    regions = RegionMap(
        epoch=1,
        names=np.arange(SHARDS, dtype=np.int64),
        centroids=(100 * CENTRES).astype(np.int8),
        shard_of=np.arange(SHARDS, dtype=np.int32),
        scale=0.01,
        next_name=SHARDS,
    )
    spec = CollectionSpec(vectors={"vector": VectorSpec(dimensions=SHARDS)}, shards=SHARDS, copies=2)
    routing = (Routing(patience=patience, recall=1.0, shards=1.0),)
    return Layout(Told(id="x", spec=spec, map=map_to_plain(regions), routing=routing, routed=1, fields={}, position=1))


class Nodes:
    """Two nodes that answer with one point a shard, whose score says which query it is for, and that note what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[float]]] = []

    def ask(self, wanted: Collection[int], ask: Callable[[list[int]], Any]) -> list[tuple[list[int], Any]]:
        replies = []
        for node in (0, 1):
            shards = sorted(shard for shard in wanted if shard % 2 == node)
            if shards:
                replies.append((shards, self.answer(ask(shards))))
        return replies

    def answer(self, asked: AskShards) -> dict[str, Any]:
        vectors = asked.question.vectors
        assert vectors is not None
        answers = {}
        for place, shard in enumerate(asked.shards):
            numbers = asked.queries[place] if asked.queries else list(range(len(vectors)))
            self.asked.append((shard, vectors[numbers, shard].tolist()))
            answers[shard] = [self.found(shard, float(vectors[number, shard])) for number in numbers]
        return {"shards": answers, "position": 1, "moved": 0, "epoch": 1, "lost": {}, "rows": 0, "plan": None}

    def found(self, shard: int, score: float) -> dict[str, Any]:
        columns = {"payloads": None, "vectors": None, "modality": ["x"], "at_us": [0], "origin": [""], "stamp": None}
        return {"keys": [shard], "score": [score], "distance": [1 - score], **columns}


def question(vectors: Any, k: int = 1) -> Question:
    return Question(vectors=np.asarray(vectors, dtype=np.float32), using="vector", k=k)


@pytest.mark.parametrize("patience", [0, 1, 2, 5])
def test_many_queries_get_what_each_would_get_alone(patience: int) -> None:
    vectors = np.abs(np.random.default_rng(0).normal(size=(9, SHARDS)))
    told = layout(patience)
    together = Nodes()
    found = Visits(told, together.ask).search(question(vectors, k=3))
    alone = Nodes()
    for vector, answer in zip(vectors, found, strict=True):
        (expected,) = Visits(told, alone.ask).search(question(vector[None], k=3))
        assert answer.keys == expected.keys
        assert answer.score.tolist() == expected.score.tolist()
    assert sorted(pair for shard, scores in together.asked for pair in ((shard, score) for score in scores)) == sorted(
        pair for shard, scores in alone.asked for pair in ((shard, score) for score in scores)
    )


def test_queries_that_want_other_shards_of_one_node_do_not_search_each_others() -> None:
    nodes = Nodes()
    found = Visits(layout(0), nodes.ask).search(question(CENTRES[[0, 2, 4]]))
    assert [answer.keys for answer in found] == [[0], [2], [4]]
    assert sorted(nodes.asked) == [(0, [1.0]), (2, [1.0]), (4, [1.0])]


def test_what_is_asked_survives_the_way() -> None:
    from paradox.wire.operations import pack_operation, unpack_operation

    asked = AskShards(collection="c", question=question(CENTRES), shards=[1, 2], queries=[[0, 3], [2]])
    back = unpack_operation(pack_operation(asked))
    assert isinstance(back, AskShards)
    assert (back.shards, back.queries) == ([1, 2], [[0, 3], [2]])
    assert msgspec.structs.replace(back, question=asked.question) == asked


@pytest.mark.parametrize(
    ("domain_of", "down", "settled", "hides"),
    [
        ([0, 1, 2, 0, 1, 2], [0], True, False),
        ([0, 1, 2, 0, 1, 2], [0, 3], True, False),  # one node: copies are apart
        ([0, 1, 2, 0, 1, 2], [0, 1], True, True),
        ([0, 1, 2, 0, 1, 2], [0, 3], False, True),  # some points stand by another map
        ([0, 0, 0, 0, 0, 0], [0, 3], True, True),  # there was one node when the map was made
        (None, [0, 3], True, True),
    ],
)
def test_what_is_down_may_hide_points_whose_copies_are_all_there(
    domain_of: list[int] | None, down: list[int], settled: bool, hides: bool
) -> None:
    made = layout(4)
    domains = None if domain_of is None else np.array(domain_of, dtype=np.int32)
    made.regions = msgspec.structs.replace(made.regions, domain_of=domains)
    assert made.may_hide(down, settled=settled) == hides


def test_before_there_are_regions_the_first_shards_have_all() -> None:
    blank = blank_regions(SHARDS, SHARDS)
    points = np.random.default_rng(1).normal(size=(9, SHARDS)).astype(np.float32)
    for metric in ("cosine", "dot", "euclidean"):
        assert Atlas(blank, metric).assign(points, copies=3).tolist() == [[0, 1, 2]] * 9  # type: ignore[arg-type]
