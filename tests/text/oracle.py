"""BM25 by hand: the slow way that the index must agree with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

SATURATION, LENGTH_SHARE = 1.2, 0.75
"""k1 and b of BM25."""


def scores(texts: Sequence[Mapping[str, str]], query: str, fields: Sequence[str]) -> dict[int, float]:
    """Return row → score of the rows that hold any word of `query`. Words are divided by blanks and taken as they are."""
    told = [row for row, text in enumerate(texts) if any(text.values())]
    found: dict[int, float] = {}
    for field in fields:
        words = {row: texts[row].get(field, "").split() for row in told}
        mean = sum(map(len, words.values())) / max(len(told), 1)
        for word in dict.fromkeys(query.split()):
            holders = [row for row in told if word in words[row]]
            rarity = math.log(1 + (len(told) - len(holders) + 0.5) / (len(holders) + 0.5))
            for row in holders:
                count = words[row].count(word)
                length = 1 - LENGTH_SHARE + LENGTH_SHARE * len(words[row]) / mean
                found[row] = found.get(row, 0.0) + rarity * (SATURATION + 1) * count / (count + SATURATION * length)
    return found


def expect_same(answer: tuple[np.ndarray, np.ndarray], wanted: Mapping[int, float], depth: int) -> None:
    """Fail unless `answer` is the best `depth` of `wanted`, best first, ties by row. Scores may differ in their last bits."""
    got_scores, got_rows = answer
    order = sorted(wanted, key=lambda row: (-round(wanted[row], 5), row))
    assert len(got_rows) == min(depth, len(order))
    assert len(set(got_rows.tolist())) == len(got_rows)
    np.testing.assert_allclose(got_scores, [wanted[row] for row in got_rows.tolist()], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got_scores, [wanted[row] for row in order[:depth]], rtol=1e-5, atol=1e-6)
    for score in set(got_scores.tolist()):
        same = got_rows[got_scores == score]
        assert (np.diff(same) > 0).all()
        tied = [row for row in wanted if math.isclose(wanted[row], score, rel_tol=1e-5, abs_tol=1e-6)]
        assert sorted(same.tolist()) == sorted(tied)[: len(same)]
