"""Trace: what a search did, from which its plan is drawn when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.model.queries import Plan, Question, Step
from paradox.model.schema import CollectionSpec
from paradox.model.topology import RegionMap, region_name, shard_name
from paradox.shard.build import Segment
from paradox.shard.geometry import unit
from paradox.shard.sealed import Sealed
from paradox.shard.search import Visit
from paradox.space.buckets import bucket_of
from paradox.space.regions import rank

WAYS: Mapping[str, str] = {
    "nothing": "skip segment",
    "exact": "score the matches exactly",
    "scan": "scan every code, rescore exactly",
    "packed": "scan every packed code, rescore exactly",
    "probe": "probe the nearest regions, rescore exactly",
    "text": "full text, BM25",
}


class Trace:
    """One search: the segments there were, and the visits paid."""

    def __init__(
        self,
        spec: CollectionSpec,
        regions: RegionMap,
        held: Sequence[Sequence[Segment]],
        visits: tuple[Visit, ...],
        question: Question,
        *,
        routed: float,
    ) -> None:
        self._spec = spec
        self._regions = regions
        self._held = held
        self._visits = visits
        self._question = question
        self._routed = routed

    def plan(self, query: int = 0) -> Plan:
        """Return the plan for one of the question's queries, with names. Cost: one ranking of regions a segment probed."""
        shards = sorted({visit.shard for visit in self._visits})
        names: set[int] = set()
        skipped = total = 0
        steps = []
        for number in shards:
            parts = [visit for visit in self._visits if visit.shard == number]
            children = []
            for visit in parts:
                visited = self._regions_visited(visit, query)
                names.update(visited)
                children.append(self._describe(visit, len(visited)))
            steps.append(Step(what=f"shard {shard_name(number)}", detail=_many(len(parts), "segment"), steps=tuple(children)))
        for segments in self._held:
            for segment in segments:
                gone, all_of = self._partitions(segment)
                skipped, total = skipped + gone, total + all_of
        rows = sum(visit.segment.rows for visit in self._visits)
        recall = self._routed * sum(visit.choice.recall * visit.segment.rows for visit in self._visits) / rows if rows else 1.0
        ordered = sorted(names)
        root = Step(
            what=f"search top {self._question.k}",
            detail=f"{self._question.mode}, recall {self._question.recall:g} asked, {len(shards)} of {len(self._held)} shards",
            estimated={"recall": recall, "us": sum(visit.choice.cost_us for visit in self._visits)},
            steps=tuple(steps),
        )
        return Plan(
            expected_recall=recall,
            shards=tuple(shard_name(number) for number in shards),
            shards_total=len(self._held),
            regions=tuple(region_name(number) for number in ordered),
            regions_total=len(self._regions),
            partitions_skipped=skipped,
            partitions_total=total,
            root=root,
        )

    def _describe(self, visit: Visit, regions: int) -> Step:
        choice, segment = visit.choice, visit.segment
        estimated = {"recall": choice.recall, "us": choice.cost_us, "candidates": float(choice.depth)}
        if visit.allowed is not None:
            estimated["matches"] = float(visit.allowed)
        kind = "growing" if not isinstance(segment, Sealed) else "sealed"
        detail = f"{kind} {segment.name}, {_many(segment.rows, 'row')}"
        if choice.way == "probe":
            detail += f", {regions} of {len(segment.region_names) if isinstance(segment, Sealed) else 1} regions"
        return Step(what=WAYS[choice.way], detail=detail, estimated=estimated)

    def _regions_visited(self, visit: Visit, query: int) -> list[int]:
        segment = visit.segment
        if not isinstance(segment, Sealed) or visit.choice.way == "nothing":
            return []
        if visit.choice.way != "probe" or self._question.vectors is None:
            return segment.region_names.tolist()
        metric = self._spec.vectors[self._question.using].metric
        asked: NDArray[Any] = unit(self._question.vectors[query : query + 1], metric)
        nearest = rank(asked, np.asarray(segment.centroids()), metric)[0][: visit.choice.probes]
        return segment.region_names[nearest].tolist()

    def _partitions(self, segment: Segment) -> tuple[int, int]:
        """Return (partitions left out exactly, partitions in all) of a segment."""
        if isinstance(segment, Sealed):
            parts = segment.container["partition.names"]
        else:  # not cut into regions yet
            own = segment.own()
            bucket = bucket_of(own.at_us, self._spec.time_bucket)
            parts = np.unique(np.stack((np.zeros_like(bucket), own.modality[0], bucket), axis=1), axis=0)
        keep = np.ones(len(parts), dtype=np.bool_)
        if self._question.modality is not None:
            modalities = segment.own().modality[1]
            keep &= parts[:, 1] == modalities.index(self._question.modality) if self._question.modality in modalities else False
        if self._question.between_us is not None and self._spec.time_bucket is not None:
            low, high = bucket_of(np.array(self._question.between_us, dtype=np.int64), self._spec.time_bucket)
            keep &= (parts[:, 2] >= low) & (parts[:, 2] <= high)
        return int(len(keep) - keep.sum()), len(keep)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
