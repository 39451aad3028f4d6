"""Spilling: which second region covers best what the first one misses (SOAR, Sun et al., arXiv 2404.00774)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SPILL_WEIGHT = 1.0  # λ of SOAR: how much a complementary region must point away from the first one's residual
RESIDUAL_MIN = 1e-6


def spill_loss(
    product: NDArray[Any],
    between: NDArray[Any],
    squares: NDArray[Any],
    *,
    at_first: NDArray[Any],
    own: NDArray[Any],
    first: NDArray[Any],
) -> NDArray[np.float32]:
    """Return (n, c) losses of c regions for each of n points: |r'|² + λ (r'·r / |r|)², r the residual to the first region, r' to this one.

    product: of each point with each region's centroid. between: of its first region's centroid with them. squares (n, c) or (c,): of
    their lengths. at_first (n,): product of the point with its first region's centroid. own, first (n,): squared lengths of the two.
    """
    residual = np.maximum(own[:, None] - 2 * at_first[:, None] + first[:, None], np.float32(RESIDUAL_MIN))
    along = (own[:, None] - at_first[:, None]) - product
    along += between
    along *= np.float32(SPILL_WEIGHT) * along
    along /= residual
    along += squares - 2 * product
    return along
