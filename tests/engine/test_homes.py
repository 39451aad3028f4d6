"""Rows that are merged stand in the region that the map gives them; where they were placed by this map, they are not placed again."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from engine.small import opened, settle
from paradox.node.upkeep import regions_of_shard
from paradox.shard.build import Source, arrange
from paradox.shard.sealed import Sealed
from paradox.space.regions import Atlas, assign


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_are_placed_again_only_by_another_map(tmp_path: Path, shards: int) -> None:
    dice = np.random.default_rng(shards)
    database, embedded = opened(tmp_path)
    with database:
        collection = database.collection("points", dimensions=8, shards=shards)
        for _ in range(6):
            collection.add(vectors=dice.standard_normal((200, 8)))
        settle(embedded)
        held = embedded.opened("points").held
        told = 0
        for shard in held.engine.shards:
            regions = regions_of_shard(held.engine.regions, shard.number)
            sealed = [segment for segment in shard.segments if isinstance(segment, Sealed) and segment.epoch == regions.epoch]
            sources = [Source(segment, np.sort(dice.permutation(segment.rows)[: segment.rows // 2])) for segment in sealed]
            if not sources or len(regions) < 2:
                continue
            with patch.object(Atlas, "assign", side_effect=AssertionError("they were placed by this map")):
                kept = arrange(sources, spec=held.spec, regions=regions)
            anew = arrange(sources, spec=held.spec, regions=msgspec.structs.replace(regions, epoch=regions.epoch + 1))
            vectors = np.concatenate([segment.vectors[held.spec.main].matrix() for segment in sealed])
            starts = np.cumsum([0, *(segment.rows for segment in sealed)])
            assert np.array_equal(kept.home, assign(vectors[starts[kept.source] + kept.row], regions, metric="cosine")[:, 0])
            assert np.array_equal(kept.home, anew.home)
            assert np.array_equal(kept.row, anew.row)
            told += len(kept.row)
    assert told > 200
