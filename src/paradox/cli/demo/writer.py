"""Writer: a process that adds points one by one and tells of each that was acknowledged, until it is killed.

Run as `python -m paradox.cli.demo.writer FOLDER`.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

COLLECTION = "diary"
DIMENSIONS = 64
POINTS_MAX = 100_000


def vector_of(number: int) -> NDArray[np.float32]:
    """Return the vector of a point, made from its number alone, so that a reader can tell whether it is right. (64,) float32."""
    return np.random.default_rng(number).standard_normal(DIMENSIONS, dtype=np.float32)


def write(folder: str) -> None:
    """Add points, printing each id after the database acknowledged it."""
    import paradox

    with paradox.connect(folder) as database:
        diary = database.collection(COLLECTION, dimensions=DIMENSIONS, metric="dot")
        for number in range(POINTS_MAX):
            diary.add(ids=[number], vectors=vector_of(number)[None, :], payload=[{"number": number}])
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    write(sys.argv[1])
