"""Layout: many dimensions drawn in two, so that neighbours stay neighbours. Pure arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paradox.model.points import Matrix, Rows

SEED = 7
EPOCHS = 150
STEP = 0.2
REPELLED = 5
"""Random points that each point is pushed from, an epoch."""
REPULSION = 16.0
GRAVITY = 0.03
"""Pull to the middle, so that islands do not drift out of the picture."""
SPREAD = 1.6
FORCE_MAX = 4.0
START_WIDTH = 3.0


def principal(vectors: Matrix, dimensions: int) -> Matrix:
    """Return (n, dimensions) float32: the vectors along their widest directions. Cost: n·d² multiply-adds."""
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    return np.ascontiguousarray(centred @ directions[:, ::-1][:, :dimensions], dtype=np.float32)


def arrange(start: Matrix, neighbours: Rows) -> Matrix:
    """Return (n, 2) float32: a drawing in which each point is pulled to its neighbours and pushed from others.

    start: (n, 2 or more), where to begin, such as principal components. neighbours: (n, k) rows, nearest first; -1 marks an empty place.
    Cost: 150 · n · (2k + 5) pairs. The same input gives the same drawing.
    Source: McInnes, Healy, Melville, "UMAP", arXiv 1802.03426, section 3, with the kernel 1 / (1 + a·d²) and forces summed over
    all edges an epoch instead of sampled.
    """
    count = len(start)
    dice = np.random.default_rng(SEED)
    tails, pull, degree = _edges(neighbours)
    first = np.cumsum(degree) - degree
    linked = degree > 0
    width = np.maximum(start[:, :2].std(axis=0), 1e-9)
    scaled = start[:, :2] / width * START_WIDTH + dice.normal(0.0, 0.01, (count, 2))
    places = (scaled[:, 0] + 1j * scaled[:, 1]).astype(np.complex64)  # a place is one number: taking many is 15 × faster than rows of two
    force = np.zeros_like(places)
    for epoch in range(EPOCHS):
        apart = places.repeat(degree) - places.take(tails)
        apart *= np.maximum(-2.0 * SPREAD * pull / (1.0 + SPREAD * _squared_length(apart)), -FORCE_MAX)
        force[linked] = np.add.reduceat(apart, first[linked]) if linked.any() else 0.0
        for _ in range(REPELLED):
            apart = places - places.take(dice.permutation(count))
            near = _squared_length(apart)
            apart *= 2.0 / ((0.001 + near) * (1.0 + SPREAD * near))
            force += REPULSION * _bounded(apart)
        force -= GRAVITY * places
        places += STEP * (1.0 - epoch / EPOCHS) * _bounded(force)
        force[:] = 0.0
    return np.stack([places.real, places.imag], axis=1)


def _squared_length(places: NDArray[np.complex64]) -> NDArray[np.float32]:
    squared: NDArray[np.float32] = places.real**2 + places.imag**2
    return squared


def _bounded(force: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return forces with each component held within FORCE_MAX."""
    parts = force.view(np.float32)
    bounded: NDArray[np.complex64] = np.clip(parts, -FORCE_MAX, FORCE_MAX).view(np.complex64)
    return bounded


def _edges(neighbours: Rows) -> tuple[Rows, NDArray[np.float32], Rows]:
    """Return (where each edge leads, its weight, how many edges start at each point): edges both ways, sorted by where they start.

    A neighbour's weight falls with its place in the list: the nearest is 1, the last e⁻².
    """
    count, places = neighbours.shape
    weights = np.exp(-2.0 * np.arange(places, dtype=np.float32) / max(places - 1, 1))
    rows = np.repeat(np.arange(count), places)
    other = neighbours.ravel().astype(np.int64)
    weight = np.tile(weights, count)
    real = (other >= 0) & (other != rows)
    rows, other, weight = rows[real], other[real], weight[real]
    heads, tails = np.concatenate([rows, other]), np.concatenate([other, rows])
    order = np.argsort(heads, kind="stable")
    pull = (np.concatenate([weight, weight])[order] / 2).astype(np.float32)
    return tails[order], pull, np.bincount(heads, minlength=count)


def gather(places: Matrix, groups: int, rounds: int = 20) -> tuple[Rows, Matrix]:
    """Return (group of each point, (groups, 2) centres) by k-means. Source: Lloyd 1982; started by Arthur, Vassilvitskii 2007."""
    dice = np.random.default_rng(SEED)
    centres = _seeds(places, groups, dice)
    members = np.zeros(len(places), dtype=np.int64)
    for _ in range(rounds):
        members = np.argmin(_squared(places, centres), axis=1)
        counts = np.bincount(members, minlength=groups)
        for axis in range(places.shape[1]):
            sums = np.bincount(members, weights=places[:, axis], minlength=groups)
            centres[:, axis] = np.where(counts > 0, sums / np.maximum(counts, 1), centres[:, axis])
    return members, centres


def _seeds(places: Matrix, groups: int, dice: np.random.Generator) -> Matrix:
    chosen = [int(dice.integers(len(places)))]
    nearest = _squared(places, places[chosen])[:, 0]
    for _ in range(groups - 1):
        total = float(nearest.sum())
        weights = nearest / total if total > 0 else None
        chosen.append(int(dice.choice(len(places), p=weights)))
        nearest = np.minimum(nearest, _squared(places, places[chosen[-1:]])[:, 0])
    return places[chosen].copy()


def _squared(places: Matrix, centres: Matrix) -> NDArray[np.float64]:
    """Return (n, c) squared distances."""
    apart = places[:, None, :].astype(np.float64) - centres[None, :, :]
    squared: NDArray[np.float64] = np.einsum("ncd,ncd->nc", apart, apart)
    return squared


def densest(places: Matrix, cells: int = 24) -> Matrix:
    """Return (2,): the mean of the points in the fullest cell of a grid over `places`, a good place for a label."""
    low, high = places.min(axis=0), places.max(axis=0)
    cell = np.minimum((places - low) / np.maximum(high - low, 1e-9) * cells, cells - 1).astype(np.int64)
    number = cell[:, 0] * cells + cell[:, 1]
    fullest = np.bincount(number).argmax()
    middle: Matrix = places[number == fullest].mean(axis=0, dtype=np.float64).astype(np.float32)
    return middle
