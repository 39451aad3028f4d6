"""Many points in one folder."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from paradox.cli.bench import vast
from paradox.cli.bench.vast import Nearest, vast_readings
from paradox.errors import StoreFull


def test_the_nearest_of_all_blocks_are_those_of_the_whole() -> None:
    dice = np.random.default_rng(1)
    questions, points = dice.normal(size=(7, 12)).astype(np.float32), dice.normal(size=(95, 12)).astype(np.float32)
    nearest = Nearest(questions)
    for start in range(0, 95, 10):
        nearest.take(start, points[start : start + 10])
    true = np.argsort(-(questions @ points.T), axis=1)[:, :10]
    np.testing.assert_array_equal(nearest.rows, true)
    assert nearest.recall(true.tolist()) == 1.0
    assert nearest.recall([[*one[:5], *range(1_000, 1_005)] for one in true.tolist()]) == 0.5


def test_a_folder_is_filled_opened_and_asked(cache: Path) -> None:
    readings = {reading.name: reading for reading in vast_readings(cache, lambda text: None, points=2_500, duration_s=0.05)}
    assert readings["vast.points"].value == 2_500
    assert readings["vast.recall"].met
    assert readings["vast.disk"].value > 64
    assert readings["vast.one.rate"].value > 0
    assert readings["vast.projected.1000000000.disk"].value == pytest.approx(readings["vast.disk"].value * 1e9 / 2**30)
    assert readings["vast.projected.1000000000.visited"].value < 1e9 / 2_500
    assert not list(cache.glob("vast-*"))


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vast.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1_000_000))
    with pytest.raises(StoreFull, match=r"20,000,000 points of 16 dimensions take 2 GB at times, and 0 GB are free"):
        next(vast_readings(cache, lambda text: None, points=20_000_000, duration_s=0.05))
