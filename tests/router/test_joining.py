"""Answers of several shards become one, also while some of them are behind."""

from __future__ import annotations

import numpy as np

from paradox.model.points import Key
from paradox.model.queries import Answer
from paradox.router.joining import fused, joined
from paradox.wire.operations import answer_from
from paradox.wire.pack import pack, unpack


def answer(*rows: tuple[Key, float, int]) -> Answer:
    """Return an answer of rows of id, score and stamp; payloads say the stamp."""
    score = np.array([score for _, score, _ in rows], dtype=np.float32)
    return Answer(
        keys=[key for key, _, _ in rows],
        score=score,
        distance=-score,
        payloads=[bytes([stamp]) for *_, stamp in rows],
        vectors=None,
        modality=["vector"] * len(rows),
        at_us=[0] * len(rows),
        origin=[""] * len(rows),
        stamp=np.array([stamp for *_, stamp in rows], dtype=np.uint64),
    )


def told(answer: Answer) -> list[tuple[Key, int]]:
    assert answer.payloads is not None
    return [(key, payload[0]) for key, payload in zip(answer.keys, answer.payloads, strict=True)]


def test_the_newest_version_of_a_point_counts_also_when_an_older_one_is_nearer() -> None:
    old, new = answer(("a", 0.9, 1), ("b", 0.8, 2)), answer(("b", 0.8, 2), ("a", 0.1, 3))
    for order in ((old, new), (new, old)):
        assert told(joined(order, 2)) == [("b", 2), ("a", 3)]
        assert told(joined(order, 1)) == [("b", 2)]


def test_an_older_version_does_not_take_a_place_in_two_rankings() -> None:
    near, words = answer(("a", 0.9, 1), ("b", 0.8, 2)), answer(("b", 5.0, 2), ("a", 1.0, 3))
    for one, other in ((near, words), (words, near)):
        assert told(fused(one, other, 2)) == [("b", 2), ("a", 3)]


def test_stamps_travel() -> None:
    sent = answer(("a", 0.9, 250))
    came = answer_from(unpack(pack(sent, "msgpack"), "msgpack", dict))
    assert came.stamp is not None
    assert came.stamp.dtype == np.uint64
    assert came.stamp.tolist() == [250]
