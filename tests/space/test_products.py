"""Products by tiles are the products."""

from __future__ import annotations

import numpy as np
import pytest

from paradox.space.products import products


@pytest.mark.parametrize("rows", [0, 1, 61, 62, 63, 64, 65, 200])
@pytest.mark.parametrize(("others", "dimensions"), [(0, 8), (1, 1), (31, 256), (32, 256), (172, 256), (1000, 24), (3, 10_000), (40, 2_000)])
def test_tiles_make_the_whole(rows: int, others: int, dimensions: int) -> None:
    dice = np.random.default_rng(rows)
    left = dice.integers(-9, 10, (rows, dimensions)).astype(np.float32)
    right = dice.integers(-9, 10, (others, dimensions)).astype(np.float32)
    np.testing.assert_array_equal(products(left, right), left @ right.T)
