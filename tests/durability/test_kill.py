"""kill -9 at any moment loses nothing that was acknowledged: real programs, real files, real kills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from durability.deaths import SEEDS, SHAPES, Nursery, live_and_die, remember

KILLS = 12
LIVES = [(name, "1") for name in SHAPES]
REMEMBERED = [tuple(line.split(maxsplit=1)) for line in SEEDS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def places() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize(("name", "seed"), [*LIVES, *REMEMBERED])
def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    nursery: Nursery, places: Counter[str], tmp_path: Path, name: str, seed: str
) -> None:
    try:
        places.update(live_and_die(nursery, tmp_path, name, seed, KILLS))
    except BaseException:
        remember(name, seed)
        raise


def test_writers_were_killed_in_the_middle_of_everything(places: Counter[str]) -> None:
    """What comes before is worth nothing if all kills fall into quiet moments."""
    assert places["open"] + places["deed"] >= 60
    assert places["building"] >= 3, places
    assert places["open"] >= 1, places
