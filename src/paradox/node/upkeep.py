"""Upkeep of one held collection, step by step: seal what is frozen, split crowded regions, merge small segments, build probe indexes, trim.

Each step is short enough to stop between; a crash at any point leaves the last manifest and the log, which together are whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from paradox.errors import LogConflict, NodesUnreachable, SegmentCorrupt
from paradox.model.events import MapChanged, SegmentSealed, SegmentsMerged
from paradox.model.topology import RegionMap
from paradox.node.easing import WEIGH_AGAIN, Easing
from paradox.node.held import HeldCollection
from paradox.node.sampling import sample_points, sample_vectors
from paradox.node.snapshots import MANIFESTS, SEGMENTS, Frozen
from paradox.router import patience
from paradox.shard.build import Layout, Segment, Source, alive_at, build_segment, forget_deaths
from paradox.shard.container import Files, checksum
from paradox.shard.manifest import Manifest, SegmentEntry, map_to_plain
from paradox.shard.probing import build_probe, lists_worth, measure_probe, measure_scan, sample_truth, time_rows
from paradox.shard.sealed import POINTS_FILE, Sealed, probe_file
from paradox.shard.upkeep import merge_run, worth_sealing
from paradox.space.balance import is_crowded
from paradox.space.regions import is_blank
from paradox.space.split import evolve, sizes

MEASURED_POINTS_MIN = 2_000
"""Smaller segments are searched with the depth that serves everywhere."""
SAMPLE_MAX = 131_072
SAMPLE_PER_REGION = 64
MOVED_TOGETHER = 512
POINTS_FOR_FIRST = 12
"""Points a shard, in least sizes of a region, that a cluster's first map waits for."""
COUNT_AGAIN = 1.5
"""Regions are counted again when the collection has grown or shrunk by this factor since the last time."""


class Upkeep:
    """The background work of one collection. One thread calls `step` until it returns False."""

    def __init__(self, held: HeldCollection, files: Any) -> None:
        """files: the local store, which maps and adopts files (ports.objects.Mappable and ObjectStore)."""
        self._held = held
        self._store = files
        self._finished: set[str] = set()
        self._points_counted = 0
        self._routing_measured = (-1, 0)
        self._eased_points = -1
        self._easing = Easing(held)

    def step(self, *, idle: bool) -> bool:
        """Do the most pressing piece of work, if any, and tell whether there was some."""
        held = self._held
        if not held.engine.alone or self._is_crowded():  # long before anything is sealed: until there is a map, one shard has it all
            self._follow_density()
        if held.frozen:
            frozen = held.frozen[0]
            self._follow_density()
            self._seal(frozen)
            return True
        for shard in held.engine.shards:
            sealed = [segment for segment in shard.segments if isinstance(segment, Sealed)]
            position = held.manifest.position if held.manifest else 0  # what died later must be kept for a replay
            live = [int(np.count_nonzero(alive_at(segment, position))) for segment in sealed]
            run = merge_run(live, [segment.rows for segment in sealed], idle=idle, limits=held.limits)
            if run:
                self._merge(shard.number, [sealed[number] for number in run])
                return True
        return self._move_points() or self._ease() or (idle and (self._ease_here() or self._finish_one() or self._measure_routing()))

    def _move_points(self) -> bool:
        """Write some points anew that the map of now puts elsewhere; where there is one engine, changing the map has done so."""
        engine = self._held.engine
        epoch, shards = engine.regions.epoch, engine.held
        if engine.alone or len(engine.shards) == 1 or self._held.settled == epoch:
            return False
        if self._held.commit_moves(MOVED_TOGETHER):
            return True
        self._held.settle(epoch, shards)
        return False

    def seal_when_idle(self, points_min: int) -> None:
        """Set growing segments aside where one is worth an index of its own, or much has died that the last manifest still has."""
        held = self._held
        for shard in held.engine.shards:
            sealed = [segment for segment in shard.segments if isinstance(segment, Sealed)]
            rows = sum(segment.rows for segment in sealed)
            died = sum(len(dead) for segment in sealed for _, dead in list(segment.deaths))
            if worth_sealing(rows=rows, came=shard.growing.rows, died=died, points_min=points_min):
                with held.committer.turn:
                    held.freeze(anyway=True)
                return

    # -- sealing

    def _seal(self, frozen: Frozen) -> None:
        held = self._held
        position = frozen.position
        for number, growing in list(frozen.growing.items()):
            rows = np.flatnonzero(alive_at(growing, position))
            new = self._build(number, [Source(growing, rows)]) if len(rows) else None
            with held.committer.turn:
                if frozen.growing.pop(number, None) is None:  # the shard was given to another node meanwhile
                    continue
                self._carry_deaths([growing], new, position)
                held.engine.remember([growing])
                held.engine.shards[number].exchange([growing], new[0] if new else None)
        before = held.manifest.position if held.manifest else 0
        held.covered = frozen.shards
        self._write_manifest(position, frozen.regions)
        with held.committer.turn:
            held.frozen.pop(0)
        held.trim(before)  # what the older of the kept manifests needs stays readable

    def _build(self, shard: int, sources: Sequence[Source]) -> tuple[Sealed, Layout]:
        """Build, store and open a segment of these rows."""
        held = self._held
        started = held.env.elapsed_s()
        assert held.folder is not None
        name = held.env.random_bytes(8).hex()
        work = held.folder / "tmp" / name
        work.mkdir(parents=True)
        try:
            layout = build_segment(
                work,
                sources,
                spec=held.spec,
                regions=regions_of_shard(held.engine.regions, shard),
                kernels=held.kernels,
                first_position=0,
            )
            files = self._adopt(name, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        segment = held.open_segment(name, files)
        for vector, column in segment.vectors.items():
            if any(source.segment.vectors[vector].opened for source in sources):
                column.prepare()
        held.env.record(SegmentSealed(segment=name, points=segment.rows, elapsed_s=held.env.elapsed_s() - started))
        return segment, layout

    def _adopt(self, name: str, work: Path) -> Files:
        """Move finished files into the store; return length and checksum of those that do not check themselves."""
        files = {}
        for path in sorted(path for path in work.rglob("*") if path.is_file()):
            relative = path.relative_to(work).as_posix()
            if relative != POINTS_FILE:
                files[relative] = checksum(path)
            self._store.adopt(f"{SEGMENTS}{name}/{relative}", path)
        return files

    def _carry_deaths(self, old: Sequence[Segment], new: tuple[Sealed, Layout] | None, position: int) -> None:
        """Mark in the new segment what died in the old ones after `position`. The caller holds the commit turn."""
        if new is None:
            return
        segment, layout = new
        for number, source in enumerate(old):
            mine = np.flatnonzero(layout.source == number)
            place = np.full(source.rows, -1, dtype=np.int64)
            place[layout.row[mine]] = mine
            for since, rows in source.deaths:
                if since > position:
                    gone = place[rows]
                    segment.kill(gone[gone >= 0], since)

    # -- merging

    def _merge(self, shard: int, old: list[Sealed]) -> None:
        held = self._held
        started = held.env.elapsed_s()
        for segment in list(old):
            try:
                segment.container.verify()
            except SegmentCorrupt as error:
                with held.committer.turn:
                    held.set_aside(held.engine, segment, error.message, shard=shard)
                old.remove(segment)
        position = held.manifest.position if held.manifest else 0
        parts = [(segment, np.flatnonzero(alive_at(segment, position))) for segment in old]
        sources = [Source(segment, rows) for segment, rows in parts if len(rows)]
        new = self._build(shard, sources) if sources else None
        with held.committer.turn:
            there = held.engine.shards[shard].segments
            if any(all(one is not segment for one in there) for segment in old):  # the shard was given to another node meanwhile
                return
            self._carry_deaths([source.segment for source in sources], new, position)
            held.engine.remember(old)
            held.engine.shards[shard].exchange(old, new[0] if new else None)
        if new is not None:
            names = tuple(segment.name for segment in old)
            held.env.record(SegmentsMerged(segments=names, into=new[0].name, points=new[0].rows, elapsed_s=held.env.elapsed_s() - started))
        self._write_manifest(position, None)

    # -- finishing: probe indexes and recall curves

    def _finish_one(self) -> bool:
        """Build the probe index of one segment that lacks it, and measure recall. An extra: nothing is lost without it."""
        held = self._held
        for shard in held.engine.shards:
            for segment in shard.segments:
                if isinstance(segment, Sealed) and segment.name not in self._finished and self._finish(segment):
                    self._write_manifest(held.manifest.position if held.manifest else 0, None)
                    return True
        return False

    def _measure_routing(self) -> bool:
        """Measure what stopping early over shards costs in recall, anew for a new map or far more points; each node by its points.

        What is measured while points move is of no map: it is left, and tried again at the next idle time.
        """
        held = self._held
        engine, epoch = held.engine, held.engine.regions.epoch
        if held.spec.shards == 1 or len(engine.regions) == 1 or is_blank(engine.regions):
            return False
        points, (measured, before) = engine.count(), self._routing_measured
        if epoch == measured and before / COUNT_AGAIN <= points <= before * COUNT_AGAIN:
            return False
        if not engine.alone and (held.others is None or held.settled != epoch):
            return False
        queries, keys = sample_points(engine, max(points for _, points in patience.SAMPLES))
        ask = engine.everywhere if held.others is None else held.others.everywhere
        readings = patience.measure(queries, keys, using=held.spec.main, ways=engine.ways, ask=ask)
        if not readings or engine.regions.epoch != epoch:
            return False
        self._routing_measured = epoch, points
        engine.routing, engine.routed = readings, epoch
        self._write_manifest(held.manifest.position if held.manifest else 0, None)
        return True

    def _finish(self, segment: Sealed) -> bool:
        """Tell whether a manifest has more to say now. It says nothing of times, which are taken once a search has opened the codes."""
        self._finished.add(segment.name)
        changed = False
        for vector, column in segment.vectors.items():
            if segment.rows < MEASURED_POINTS_MIN or column.spec.metric == "hamming" or column.present() is not None:
                continue
            truth = None
            if column.scan_curve is None:
                truth = sample_truth(column, seed=segment.rows)
                column.scan_curve, changed = measure_scan(column, column.scan, truth), True
                column.choices.clear()  # they were made without it
            if not column.opened:
                self._finished.discard(segment.name)
            elif not column.timed:
                time_rows(column, self._held.env.elapsed_s)
            if vector == self._held.spec.main and not column.has_probe and (lists := lists_worth(segment, vector)):
                self._add_probe(segment, vector, truth or sample_truth(column, seed=segment.rows), lists)
                time_rows(column, self._held.env.elapsed_s)
                changed = True
        return changed

    def _add_probe(self, segment: Sealed, vector: str, truth: Any, lists: int) -> None:
        held, column, name = self._held, segment.vectors[vector], probe_file(vector)
        path = build_probe(segment, vector, segment_regions(segment) if lists > 1 else None, held.kernels)
        segment.files = {**segment.files, name: checksum(path)}
        self._store.delete(f"{SEGMENTS}{segment.name}/{name}")  # left by a crash before a manifest could name it
        self._store.adopt(f"{SEGMENTS}{segment.name}/{name}", path)
        index = held.kernels.load_probe(segment.folder / name, segment.rows, column.spec.dimensions)
        column.adopt_probe(measure_probe(index, truth, lists=lists))

    # -- regions

    def _follow_density(self) -> None:
        """Split crowded regions and give up sparse ones, when the collection has grown or shrunk since the last time."""
        held = self._held
        metric = held.spec.vectors[held.spec.main].metric
        points = held.engine.count()
        again = WEIGH_AGAIN if self._is_crowded() else COUNT_AGAIN
        if metric == "hamming" or self._points_counted / again < points < self._points_counted * again:
            return
        self._points_counted = points
        engine = held.engine
        waiting = 0 if engine.alone or not is_blank(engine.regions) else POINTS_FOR_FIRST * held.limits.region_points_min * held.spec.shards
        if points <= max(held.limits.region_points_max, waiting):
            self._points_counted = 0
            return
        shards = len(engine.shards) if is_blank(engine.regions) else len(engine.held)
        size = sizes(held.limits, points, shards, copies=held.spec.copies)
        sample, weights = sample_vectors(engine, min(SAMPLE_MAX, SAMPLE_PER_REGION * (1 + int(points / size.meant))))
        new = evolve(
            engine.regions,
            sample,
            weights,
            size=size,
            shards=held.spec.shards,
            metric=metric,
            copies=held.spec.copies,
            held=None if engine.alone else engine.held,
        )
        if new is not None:
            before = max(engine.stored())
            try:
                self._change_map(new)
            except LogConflict:  # another node did; the next look sees what is left to do
                self._points_counted = 0
            if self._is_crowded() and max(engine.stored()) < before:  # what was cut now can be given away next
                self._points_counted = 0

    def _is_crowded(self) -> bool:
        """Tell whether a shard holds too much, where all shards are here and regions have been made."""
        engine = self._held.engine
        return engine.alone and len(engine.shards) > 1 and len(engine.regions) > 1 and is_crowded(engine.stored())

    def _ease_here(self) -> bool:
        """Where all shards are here, look once more at what is still crowded when nothing is written any more."""
        points = self._held.engine.count()
        if not self._is_crowded() or points == self._eased_points:
            return False
        self._eased_points, self._points_counted = points, 0
        self._follow_density()
        return True

    def _ease(self) -> bool:
        """On a cluster, change the map where it is unfair or out of date: one node does so for all, once all points are in place."""
        try:
            new = self._easing.next_map()
            if new is not None:
                self._change_map(new)
            return new is not None
        except LogConflict:  # another node did; the next look sees what is left to do
            self._easing.another_did()
        except NodesUnreachable:
            pass
        return False

    def _change_map(self, new: RegionMap) -> None:
        held = self._held
        new = msgspec.structs.replace(new, domain_of=held.domains)
        held.engine.rearranging.foresee(new)
        held.commit_map(new)
        held.env.record(MapChanged(collection=held.name, epoch=new.epoch, regions=len(new)))

    # -- manifests

    def _write_manifest(self, position: int, regions: RegionMap | None) -> None:
        """Record the sealed segments as they were at `position`, then drop what no kept manifest names."""
        held = self._held
        entries = []
        covered = held.covered & held.engine.held
        for shard in held.engine.shards:
            for segment in shard.segments:
                if isinstance(segment, Sealed) and shard.number in covered:
                    entries.append(self._entry(segment, shard.number, position))
        plain = (
            map_to_plain(regions) if regions is not None else (held.manifest.map if held.manifest else map_to_plain(held.engine.regions))
        )
        manifest = Manifest(
            incarnation=held.log.incarnation,
            position=position,
            stamp=held.stamp,
            segments=tuple(entries),
            quarantined={name: reason for name, reason in sorted(held.quarantined.items()) if not name.startswith(MANIFESTS)},
            lost=dict(held.engine.lost),
            missing=held.losses.plain(held.engine.lost),
            map=plain,
            patience=held.engine.routing,
            fields={field: tuple(sorted(kinds)) for field, kinds in sorted(held.engine.remembered.items())},
            shards=None if len(covered) == held.spec.shards else tuple(sorted(covered)),
            chain=chain_at(held, position),
        )
        held.snapshots.put(manifest)
        held.manifest = manifest
        with held.committer.turn:  # a death that came in between would be lost
            for segment in held.engine.segments():
                forget_deaths(segment, position)
        held.snapshots.collect(held.quarantined)

    def _entry(self, segment: Sealed, shard: int, position: int) -> SegmentEntry:
        dead = np.flatnonzero(~alive_at(segment, position)).astype("<u4")
        return SegmentEntry(
            name=segment.name,
            shard=shard,
            rows=segment.rows,
            dead=dead.tobytes(),
            files=segment.files,
            scan_curves={name: column.scan_curve for name, column in segment.vectors.items() if column.scan_curve is not None},
            probe_curves={name: column.probe_curve for name, column in segment.vectors.items() if column.probe_curve is not None},
        )


def chain_at(held: HeldCollection, position: int) -> int | None:
    """Return the chain at a position where something was frozen, or the newest snapshot stands; None where it is not known."""
    known = {frozen.position: frozen.chain for frozen in held.frozen}
    if held.manifest is not None:
        known.setdefault(held.manifest.position, held.manifest.chain)
    return known.get(position)


def regions_of_shard(regions: RegionMap, shard: int) -> RegionMap:
    """Return the part of a map that one shard holds; the whole map when it holds all or none."""
    mine = np.flatnonzero(regions.shard_of == shard)
    if not len(mine) or len(mine) == len(regions):
        return regions
    return msgspec.structs.replace(
        regions, names=regions.names[mine], centroids=regions.centroids[mine], shard_of=np.zeros(len(mine), dtype=np.int32)
    )


def segment_regions(segment: Sealed) -> RegionMap:
    """Return the map a segment was built with, from its own tables."""
    centroids = np.asarray(segment.centroids())
    scale = segment.container.facts["scale"]
    return RegionMap(
        epoch=segment.epoch,
        names=np.asarray(segment.region_names),
        centroids=np.rint(centroids / np.float32(scale)).astype(np.int8),
        shard_of=np.zeros(len(centroids), dtype=np.int32),
        scale=scale,
        next_name=0,
    )
