"""A thousand kills, and none of them costs a point that was acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from durability.deaths import SHAPES, Nursery, live_and_die, remember

KILLS = 24
LIVES = 6  # of each shape: 7 · 6 · 24 = 1,008 kills


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.mark.soak
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", [f"soak {number}" for number in range(LIVES)])
def test_a_thousand_killed_writers_lose_nothing_that_they_acknowledged(nursery: Nursery, tmp_path: Path, name: str, seed: str) -> None:
    try:
        live_and_die(nursery, tmp_path, name, seed, KILLS)
    except BaseException:
        remember(name, seed)
        raise
