"""BM25 by hand: the slow way that the index must agree with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paradox.index.text import TantivyText
from paradox.model.points import Mask

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


def expect_ranked(index: TantivyText, query: str, wanted: Mapping[int, float], depth: int, allow: Mask | None = None) -> None:
    """Fail unless `index` finds the best `depth` allowed rows of `wanted`, best first, ties by row.

    Its scores may differ from those by hand in their last bits, so it is asked for all rows first: those must be right, and then the
    shorter answer must begin as the longer one does.
    """
    all_scores, all_rows = index.search(query, max(len(index), 1))
    assert sorted(all_rows.tolist()) == sorted(wanted)
    np.testing.assert_allclose(all_scores, [wanted[row] for row in all_rows.tolist()], rtol=1e-5, atol=1e-6)
    assert (np.lexsort((all_rows, -all_scores)) == np.arange(len(all_rows))).all()
    allowed = np.ones(len(all_rows), np.bool_) if allow is None else allow[all_rows]
    some_scores, some_rows = index.search(query, depth, allow=allow)
    assert some_rows.tolist() == all_rows[allowed][:depth].tolist()
    assert some_scores.tolist() == all_scores[allowed][:depth].tolist()
