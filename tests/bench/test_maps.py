"""What a map of very many regions costs."""

from __future__ import annotations

import numpy as np

from paradox.cli.bench import maps
from paradox.cli.bench.maps import map_readings, nearest_of_all, synthetic_map
from paradox.space.regions import levels


def test_a_map_of_many_regions_gives_every_figure() -> None:
    readings = {reading.name: reading for reading in map_readings(lambda text: None, regions=20_000)}
    assert list(readings) == [
        "map.regions",
        "map.grouped_in",
        "map.memory",
        "map.rank_p50",
        "map.rank_p99",
        "map.recall_10",
        "map.recall_100",
        "map.assign_1",
        "map.assign_2",
        "map.assign_batch",
        "map.no_families.recall_10",
        "map.no_families.recall_100",
    ]
    assert all(reading.value is not None and reading.value > 0 for reading in readings.values())
    assert readings["map.rank_p50"].bar == 1.0
    assert readings["map.recall_10"].value > readings["map.no_families.recall_10"].value  # type: ignore[operator]


def test_regions_of_a_family_stand_together() -> None:
    made = synthetic_map(np.random.default_rng(0), 20_000, maps.SPREAD)
    centroids = made.centroids.astype(np.float64)
    assert np.abs(centroids).max() < levels(maps.DIMENSIONS)  # nothing was cut off
    lengths = np.linalg.norm(centroids, axis=1)
    assert lengths.std() < 0.01 * lengths.mean()
    centroids /= lengths[:, None]
    assert (centroids[0] @ centroids[1]) > 0.7 > 0.3 > abs(centroids[0] @ centroids[-1])


def test_the_true_nearest_regions_are_found_by_comparing_all() -> None:
    made = synthetic_map(np.random.default_rng(1), 40_000, maps.SPREAD)
    questions = maps.beside(np.random.default_rng(2), made, 5, 0.5)
    expected = np.argsort(-(questions @ made.centroids.astype(np.float32).T), axis=1)[:, :10]
    assert np.array_equal(nearest_of_all(made, questions, 10), expected)
