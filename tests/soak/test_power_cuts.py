"""Power cuts after every operation of other lives, with every kind of loss at each."""

from __future__ import annotations

from pathlib import Path

import pytest

from disks import LOSSES
from durability.power import SHAPES, Life


@pytest.mark.soak
@pytest.mark.parametrize(("name", "deeds"), [("plain", 200), ("copies", 100), ("text", 80)])
@pytest.mark.parametrize("seed", range(100, 104))
def test_power_cuts_in_other_lives_lose_nothing_acknowledged(folder_in_memory: Path, name: str, deeds: int, seed: int) -> None:
    life = Life(folder_in_memory, SHAPES[name], seed, losses=LOSSES, keep_every=50)
    life.live(deeds)
    for number, wreck in enumerate(life.kept):
        Life(folder_in_memory, SHAPES[name], number, losses=LOSSES, begin=wreck).live(3)
