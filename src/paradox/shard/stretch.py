"""Stretch: an array that grows at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_MIN = 64
GROWTH = 16
"""Pages that were never written cost nothing, so space is reserved in big steps and rarely copied."""


class Stretch:
    """Rows of one dtype and width. Readers may keep `values()` across appends: old rows never move or change under them.

    (`set` is the exception, used for flags that a reader may see early or late without harm.)
    """

    def __init__(self, dtype: Any, *shape: int) -> None:
        self._array: NDArray[Any] = np.empty((ROWS_MIN, *shape), dtype=dtype)
        self.rows = 0

    def append(self, values: NDArray[Any]) -> None:
        """Add (m, *shape) rows. Cost: amortised O(m)."""
        needed = self.rows + len(values)
        if needed > len(self._array):
            grown = np.empty(
                (max(needed, GROWTH * len(self._array)) if needed < ROWS_MIN * GROWTH**2 else 2 * needed, *self._array.shape[1:]),
                dtype=self._array.dtype,
            )
            grown[: self.rows] = self._array[: self.rows]
            self._array = grown
        self._array[self.rows : needed] = values
        self.rows = needed

    def set(self, rows: NDArray[np.int64], value: Any) -> None:
        """Overwrite single rows."""
        self._array[rows] = value

    def values(self) -> NDArray[Any]:
        """Return the rows so far, as a view."""
        rows = self.rows  # read before the array, which may be exchanged for a longer one at any moment
        return self._array[:rows]
