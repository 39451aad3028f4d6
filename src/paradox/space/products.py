"""Products of many vectors with many, on the caller's core alone.

A BLAS that shares a product of some microseconds among threads keeps them spinning for milliseconds afterwards, on the cores that other
callers' searches need: beside a reader, a writer waited ten times longer for that than its product took.
"""

from __future__ import annotations

import math

import numpy as np

from paradox.model.points import Matrix

ALONE_MAX = 250_000
"""Multiply-adds a call: OpenBLAS, which NumPy brings, shares a product among threads from 2^18 on."""
TALL = 2
"""Tiles of few rows are so many times as high as a square one: fewer are copied."""
MANY = 64
"""Rows that are worth laying the other side out in tiles, which halves the time."""
WIDTH = 32
"""Rows of a tile: what fills a processor's vectors twice."""


def products(left: Matrix, right: Matrix) -> Matrix:
    """Return (n, r) inner products of (n, d) rows with (r, d) rows, all float32. Cost: n · r · d multiply-adds."""
    height = ALONE_MAX // (WIDTH * max(1, left.shape[1])) & ~3
    if len(left) < MANY or not height or not len(right):
        return _of_few(left, right)
    if len(right) < 2 * WIDTH:
        return _with_few(left, right)
    result = np.empty((len(left), len(right)), dtype=np.float32)
    count = len(right) // WIDTH
    whole = count * WIDTH
    tiles = np.ascontiguousarray(right[:whole].reshape(count, WIDTH, right.shape[1]).transpose(0, 2, 1))
    for top in range(0, len(left), height):
        part, rows = left[top : top + height], result[top : top + height]
        rows[:, :whole] = np.matmul(part, tiles).transpose(1, 0, 2).reshape(len(part), whole)
    result[:, whole:] = _of_few(right[whole:], left).T
    return result


def _with_few(left: Matrix, right: Matrix) -> Matrix:
    """Many rows with few: all pieces of the many in one call, which costs half as much as a call each."""
    dimensions, count = left.shape[1], len(right)
    height = ALONE_MAX // (dimensions * count)
    whole = len(left) // height * height
    result = np.empty((len(left), count), dtype=np.float32)
    np.matmul(left[:whole].reshape(-1, height, dimensions), right.T, out=result[:whole].reshape(-1, height, count))
    if whole < len(left):
        result[whole:] = _of_few(left[whole:], right)
    return result


def _of_few(left: Matrix, right: Matrix) -> Matrix:
    dimensions = max(1, left.shape[1])
    height = max(1, min(len(left), TALL * math.isqrt(ALONE_MAX // dimensions)))
    width = max(1, ALONE_MAX // (dimensions * height))
    result = np.empty((len(left), len(right)), dtype=np.float32)
    for top in range(0, len(left), height):
        part = left[top : top + height]
        for start in range(0, len(right), width):
            np.matmul(part, right[start : start + width].T, out=result[top : top + height, start : start + width])
    return result
