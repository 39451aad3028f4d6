"""What an operator does to one collection by hand: regions that are split before they would be."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from paradox.errors import InvalidRequest, LogConflict, Missing, NodesUnreachable
from paradox.model.events import MapChanged
from paradox.model.points import Matrix
from paradox.model.topology import RegionMap, region_name
from paradox.node.held import HeldCollection
from paradox.space.regions import assign, is_blank
from paradox.space.split import halved, sizes

BLOCK = 8_192
SAMPLE_MAX = 16_384
OVERTAKEN_MAX = 20
"""How often the map may be changed by another program meanwhile."""


def split_region(held: HeldCollection, region: int) -> dict[str, Any]:
    """Cut a region in two, on its shard, and return the names of both. Raises Missing, InvalidRequest, NodesUnreachable, LogConflict."""
    for _ in range(OVERTAKEN_MAX):
        with suppress(LogConflict):
            return _split_once(held, region)
    return _split_once(held, region)


def _split_once(held: HeldCollection, region: int) -> dict[str, Any]:
    regions = held.engine.regions
    row, metric, name = _row_of(held, regions, region), held.spec.vectors[held.spec.main].metric, region_name(region)
    shard = int(regions.shard_of[row])
    if shard not in held.engine.held:
        raise NodesUnreachable("a shard is not on this node any more", hint="ask the node that has it now")
    points, sample = _points_of(held, regions, row, shard)
    least = max(1, sizes(held.limits, held.engine.count(), len(held.engine.held)).least)
    if points < 2 * least:
        raise InvalidRequest(
            f"region {name} holds {points:,} point{'s' * (points != 1)}; halves of fewer than {least:,} would be given up again",
            hint="split one that holds more, or none: crowded regions are split by themselves",
        )
    new = halved(regions, row, sample, metric=metric)
    if new is None:
        raise InvalidRequest(f"the points of region {name} are all alike", hint="no border could tell them apart")
    held.commit_map(msgspec.structs.replace(new, domain_of=held.domains))
    held.env.record(MapChanged(collection=held.name, epoch=new.epoch, regions=len(new)))
    return {"region": name, "points": points, "into": [region_name(one) for one in new.names[-2:].tolist()], "epoch": new.epoch}


def _row_of(held: HeldCollection, regions: RegionMap, region: int) -> int:
    if held.spec.vectors[held.spec.main].metric == "hamming":
        raise InvalidRequest(f"collection {held.name!r} has no regions: its vectors are bits", hint="there is nothing to split")
    if is_blank(regions) and held.node:
        raise InvalidRequest(
            f"the regions of {held.name!r} are nowhere yet", hint="the first map is made by itself, once there are points to place them by"
        )
    rows = np.flatnonzero(regions.names == region)
    if not len(rows):
        some = ", ".join(map(region_name, regions.names[:10].tolist()))
        raise Missing(
            f"collection {held.name!r} has no region {region_name(region)}",
            hint=f"it has {len(regions):,}, such as {some}; the plan of a search names those it visits",
        )
    return int(rows[0])


def _points_of(held: HeldCollection, regions: RegionMap, row: int, shard: int) -> tuple[int, Matrix]:
    """Return how many points a region holds, and the vectors of some of them."""
    spec = held.spec
    metric, count, taken = spec.vectors[spec.main].metric, 0, 0
    sample: list[Matrix] = []
    for segment in held.engine.shards[shard].segments:
        live = segment.alive()
        rows = np.flatnonzero(live & segment.owned()[: len(live)])
        for start in range(0, len(rows), BLOCK):
            vectors = np.asarray(segment.vectors[spec.main].matrix()[rows[start : start + BLOCK]])
            mine = vectors[assign(vectors, regions, metric=metric)[:, 0] == row]
            count += len(mine)
            if taken < SAMPLE_MAX:
                sample.append(mine)
                taken += len(mine)
    return count, np.concatenate(sample) if sample else np.empty((0, 0), dtype=np.float32)
