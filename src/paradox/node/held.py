"""A held collection: its log, its engine and its snapshots, as one thing to read from and write to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.errors import LogConflict, LogCorrupt, SegmentCorrupt, StoreReadOnly
from paradox.model.entries import Barrier, Entry, MapChange, Once, Patch, Remove, Write
from paradox.model.events import SegmentQuarantined
from paradox.model.points import Key, Points, hash_keys
from paradox.model.schema import CollectionSpec, Limits
from paradox.model.stamps import next_stamp
from paradox.model.topology import RegionMap
from paradox.node.asking import Asking
from paradox.node.commit import Committer
from paradox.node.done import Done
from paradox.node.losses import Losses
from paradox.node.moments import Moments
from paradox.node.snapshots import SEGMENTS, Frozen, Snapshots
from paradox.planner.choose import Costs
from paradox.ports.env import Env
from paradox.ports.kernels import Kernels
from paradox.ports.log import Body, Log
from paradox.ports.objects import ObjectStore
from paradox.router.moving import Overtaken
from paradox.router.scatter import Scatter
from paradox.shard.build import Segment
from paradox.shard.chain import Chain
from paradox.shard.container import Files
from paradox.shard.engine import ShardEngine
from paradox.shard.manifest import Manifest, map_from_plain
from paradox.shard.sealed import Sealed
from paradox.space.regions import blank_regions, single_region
from paradox.wire.codec import decode

if TYPE_CHECKING:
    from paradox.node.others import Others

LOG = "log"
OVERTAKEN_MAX = 20
"""How often a reader starts again because the writer replaced what it was about to read."""


class HeldCollection:
    """One collection of one folder. Writes go through `commit`; `engine` answers reads."""

    def __init__(
        self,
        name: str,
        spec: CollectionSpec,
        folder: Path | None,
        *,
        log: Log,
        store: ObjectStore,
        kernels: Kernels,
        env: Env,
        limits: Limits,
        read_only: bool,
        node: str = "",
        shards: frozenset[int] | None = None,
    ) -> None:
        """node: of a cluster, whose snapshots are beside those of others. shards: those to hold; None = all."""
        self.name = name
        self.spec = spec
        self.folder = folder
        self.log = log
        self.store = store
        self.node = node
        self.snapshots = Snapshots(store, folder, node=node, shards=spec.shards)
        self.kernels = kernels
        self.env = env
        self.limits = limits
        self.read_only = read_only
        self.changed = 0  # the last position that did more than hold a place
        self._barriers = 0  # since the growing segments were set aside last
        self.frozen: list[Frozen] = []
        self.quarantined: dict[str, str] = {}
        self.found_damaged: dict[str, str] = {}  # by the last verify
        self.manifest: Manifest | None = None
        self.stamp = 0
        self.frozen_changed: Callable[[], None] = lambda: None
        self.wait_for_room: Callable[[HeldCollection], None] = lambda _: None
        self.trim: Callable[[int], None] = log.trim
        self.domains: NDArray[np.int32] | None = None  # of failure, for maps that are made here
        self.others: Others | None = None  # the nodes of a cluster
        self._settled: tuple[int, frozenset[int]] | None = None
        wanted = frozenset(range(spec.shards)) if shards is None else shards
        self.covered = wanted  # the shards that the newest manifest is a snapshot of
        self._following = env.rlock()
        self.committer = Committer(log, self, env.lock())
        self.engine = self._open(wanted)
        self._done = Done(self.engine.applied)
        self.moments = Moments(env, since=log.last)
        self.asking = Asking(lambda questions: self.engine.search_together(questions), env=env)
        self.refresh()
        for shard in sorted(wanted - self.engine.held):
            self.adopt(shard)

    # -- opening

    def _open(self, wanted: frozenset[int]) -> Scatter:
        """Return an engine with the newest whole snapshot. A reader loads it again when what it found damaged was replaced meanwhile."""
        for again in reversed(range(OVERTAKEN_MAX)):
            engine = self._load_snapshot(wanted)
            newest = self.snapshots.names()[-1:]
            if not again or not (self.read_only and self.quarantined and newest != self._newest):
                break
        return engine

    def _load_snapshot(self, wanted: frozenset[int]) -> Scatter:
        """Return an engine of those of the wanted shards that the newest own snapshot covers; of all when there is no log before."""
        self.quarantined.clear()
        self.frozen.clear()
        self.losses = Losses(self.folder)
        self._newest = self.snapshots.names()[-1:]
        self.manifest = self.snapshots.newest(self.quarantined)
        self.chain = Chain(0, 0)
        if self.manifest is not None and self.manifest.position + 1 >= self.log.first:
            self.chain = Chain(self.manifest.position, self.manifest.chain)
            self.covered = frozenset(shard for shard in wanted if self.manifest.covers(shard))
            return self._engine_of(self.manifest, self.covered)
        if self.log.first == 1 or self.node == "":
            return self._engine_of(None, wanted)
        self.covered = frozenset()
        newest = self.snapshots.newest_of_all()
        self.chain = Chain(newest.position, newest.chain) if newest is not None else Chain(0, None)
        return self._engine_of(newest, self.covered)

    def _engine_of(self, manifest: Manifest | None, shards: frozenset[int]) -> Scatter:
        main = self.spec.vectors[self.spec.main]
        width = main.dimensions // 8 if main.metric == "hamming" else main.dimensions
        first = blank_regions(width, self.spec.shards) if self.node else single_region(width)
        regions = map_from_plain(manifest.map) if manifest else first
        engine = Scatter(self.spec, regions, self.kernels, Costs(), held=shards if self.node else None)
        if manifest is not None:
            self.stamp = max(self.stamp, manifest.stamp)
            engine.routing = manifest.patience or engine.routing
            engine.remembered = {field: frozenset(kinds) for field, kinds in manifest.fields.items()}
            engine.lost = {name: lost for name, lost in manifest.lost.items() if lost[0] in shards}
            engine.applied = manifest.position
            self.losses.know(manifest.missing, engine.lost)
            self._load_segments(manifest, engine)
        return engine

    def _load_segments(self, manifest: Manifest, engine: Scatter) -> None:
        elsewhere = {name for name, (shard, _) in manifest.lost.items() if shard not in engine.held}
        self.quarantined.update({name: why for name, why in manifest.quarantined.items() if name not in elsewhere})
        for entry in manifest.segments:
            if entry.shard not in engine.held:
                continue
            try:
                segment = self.open_segment(entry.name, entry.files)
            except SegmentCorrupt as error:
                self.quarantine(engine, entry.name, error.message, shard=entry.shard, rows=entry.rows, dead=entry.dead_rows())
                continue
            segment.restore_mask(entry.dead_rows())
            for vector, column in segment.vectors.items():
                column.scan_curve = entry.scan_curves.get(vector)
                column.probe_curve = entry.probe_curves.get(vector)
                column.has_probe = column.has_probe and column.probe_curve is not None
            engine.shards[entry.shard].exchange([], segment)

    def open_segment(self, name: str, files: Files) -> Sealed:
        """Open a sealed segment of the store; files: what its manifest says of its indexes. Raises SegmentCorrupt, FormatTooNew."""
        assert self.folder is not None
        return Sealed(name, self.folder / SEGMENTS / name, self.spec, self.kernels, files)

    def quarantine(self, engine: Scatter, segment: str, reason: str, *, shard: int, rows: int, dead: NDArray[Any]) -> None:
        """Note that a damaged segment of so many rows, some of them dead, does not serve; the answers of the rest say so."""
        self.losses.note(segment, dead)
        self.quarantined[segment] = reason
        engine.lost = engine.lost | {segment: (shard, rows - len(dead))}
        self.env.record(SegmentQuarantined(segment=segment, reason=reason))

    # -- shards that come and go

    def adopt(self, shard: int) -> None:
        """Hold one more shard: from its newest snapshot, whoever made it, and the log. Raises LogCorrupt when the two do not meet."""
        for again in reversed(range(OVERTAKEN_MAX)):
            manifest = self.snapshots.covering(shard)
            alone = self._engine_of(manifest, frozenset((shard,)))
            try:
                self._replay(alone)  # most of it while others write
                with self.committer.turn:
                    self.catch_up()
                    self._replay(alone)
                    engine = self.engine
                    engine.shards[shard] = alone.shards[shard]
                    engine.lost.update(alone.lost)
                    engine.moved = max(engine.moved, alone.moved)
                    engine.held |= {shard}
                    self.freeze()
                return
            except LogCorrupt:
                if not again or self.snapshots.covering(shard) == manifest:
                    raise

    def _replay(self, engine: Scatter) -> None:
        for position, body in self.log.read(engine.applied):
            if position > self.engine.applied:
                return
            entry = decode(body)
            engine.apply(position, entry)
            self.quarantined = self.losses.heal(engine, entry, self.quarantined)

    def give_up(self, shard: int) -> None:
        """Hold a shard no longer."""
        with self.committer.turn:
            engine = self.engine
            engine.held -= {shard}
            engine.shards[shard] = ShardEngine(shard, self.spec, self.kernels)
            engine.lost = {name: lost for name, lost in engine.lost.items() if lost[0] != shard}
            for frozen in self.frozen:
                frozen.growing.pop(shard, None)

    # -- following the log

    def refresh(self) -> None:
        """Apply what the log holds beyond what was applied. A reader calls this before it answers. Thread-safe.

        An engine that begins at a newer snapshot takes the place of the old one once it is up to date: other threads never see less than
        before. Raises LogCorrupt when the log cannot bring the snapshot up to date; a reader serves what comes before
        the damage, if it can.
        """
        with self._following, self.committer.turn:
            for again in reversed(range(OVERTAKEN_MAX)):
                engine = self._open(self.engine.held) if self.read_only and self._overtaken() else self.engine
                try:
                    self._follow(engine)
                    self._check_reaches(engine.applied)
                    self.quarantined.pop(LOG, None)
                    engine.lost.pop(LOG, None)
                    self.engine = engine
                    return
                except LogCorrupt as error:
                    trimmed = engine.applied + 1 < self.log.first  # by the writer, meanwhile: it wrote a snapshot before
                    if not self.read_only or (trimmed and not again):
                        raise
                    if not trimmed:
                        self.quarantined[LOG] = error.message
                        engine.lost[LOG] = (0, 1)  # at least
                        self.engine = engine
                        return

    def _follow(self, engine: Scatter) -> None:
        """Apply what the log holds beyond what was applied. The caller holds the commit turn, or is the only thread."""
        for position, body in self.log.read(engine.applied):
            self.chain.extend(position, [body])
            self._apply_to(engine, position, decode(body))

    def _check_reaches(self, position: int) -> None:
        if self.log.last < position:
            raise LogCorrupt(
                f"the log ends at entry {self.log.last}, but a snapshot of entry {position} was made: "
                "its last files are missing or cut off",
                hint="restore the log's files from a copy, or open with read_only=True and export what the snapshot holds",
            )

    def _overtaken(self) -> bool:
        """Tell whether a reader should start again from a newer snapshot: the log it needs is gone, or its memory has grown."""
        with suppress(AttributeError):
            self.log.refresh()  # type: ignore[attr-defined]
        behind = self.engine.applied + 1 < self.log.first
        grown = any(shard.growing.rows > 2 * self.limits.growing_points_max for shard in self.engine.shards)
        if not (behind or grown):
            return False
        newest = self.snapshots.newest({})
        return newest is not None and newest.position > (self.manifest.position if self.manifest else 0)

    @property
    def applied(self) -> int:
        """The position of the last entry that was applied."""
        return self.engine.applied

    def catch_up(self) -> None:
        """Apply what other programs appended. The caller holds the commit turn."""
        self._follow(self.engine)

    def apply(self, position: int, entry: Entry, body: Body) -> None:
        """Apply one entry to the engine; freeze the growing segments when they are full."""
        self.chain.extend(position, body)
        self._apply_to(self.engine, position, entry)

    def _apply_to(self, engine: Scatter, position: int, entry: Entry) -> None:
        match entry:
            case Write(points=points):
                if len(points):
                    self.stamp = max(self.stamp, int(points.stamp.max()))
            case Patch(stamp=stamp) | Remove(stamp=stamp):
                self.stamp = max(self.stamp, stamp)
        self._verify_sources(engine, entry)
        engine.apply(position, entry)
        if isinstance(entry, Write | Patch | Remove):
            self._done.note(entry.names, position)
        self.quarantined = self.losses.heal(engine, entry, self.quarantined)
        self.moments.note(entry, engine)
        if isinstance(entry, Barrier):
            self._barriers += 1
        else:
            self.changed = position
        if not self.read_only and self.is_full():
            self.freeze()

    def _verify_sources(self, engine: Scatter, entry: Entry) -> None:
        """Set aside the damaged among the segments that this entry will copy points out of."""
        for shard in engine.shards:
            match entry:
                case Patch(keys=keys):
                    sources: list[Segment] = [found.segment for found in shard.find_live(keys, hash_keys(keys))]
                case MapChange() if len(engine.shards) > 1:
                    sources = list(shard.segments)
                case _:
                    return
            for segment in sources:
                self._expect_whole(engine, segment, shard=shard.number)

    def _expect_whole(self, engine: Scatter, segment: Segment, *, shard: int) -> None:
        """Set a segment aside unless it is what was written; that is looked at once since it was opened."""
        try:
            if isinstance(segment, Sealed):
                segment.verify_once()
        except SegmentCorrupt as error:
            self.set_aside(engine, segment, error.message, shard=shard)

    def set_aside(self, engine: Scatter, segment: Segment, reason: str, *, shard: int) -> None:
        """Take a damaged segment out of service. The caller holds the commit turn, or is the only thread."""
        self.quarantine(engine, segment.name, reason, shard=shard, rows=segment.rows, dead=np.flatnonzero(~segment.alive()))
        engine.shards[shard].exchange([segment], None)

    def settle(self, epoch: int, shards: frozenset[int]) -> None:
        """Note that every point of these shards is where the map of this epoch puts it."""
        self._settled = (epoch, shards)

    @property
    def settled(self) -> int:
        """The epoch of the map that every point which is held here stands by; -1 while some are to be moved."""
        return self.engine.regions.epoch if self._settled == (self.engine.regions.epoch, self.engine.held) else -1

    def is_full(self) -> bool:
        """Tell whether a growing segment has reached its limit of points or bytes, or readers have put as much into the log."""
        return self._barriers >= self.limits.growing_points_max or any(
            shard.growing.rows >= self.limits.growing_points_max or shard.growing.size_bytes >= self.limits.growing_bytes_max
            for shard in self.engine.shards
        )

    def freeze(self, *, anyway: bool = False) -> None:
        """Set all growing segments aside at this position, for a manifest; anyway: also when there are none. In the commit turn."""
        growing = {shard.number: frozen for shard in self.engine.shards if (frozen := shard.freeze()) is not None}
        full, self._barriers = self._barriers >= self.limits.growing_points_max, 0
        if growing or full or anyway or not self.engine.held <= self.covered:
            self.frozen.append(Frozen(self.engine.applied, growing, self.engine.regions, self.engine.held, self.chain.value))
            self.frozen_changed()

    # -- writing

    def commit_write(self, points: Points, once: Once | None = None) -> int:
        """Make points durable and searchable. Returns the position. The stamp is given here."""
        self._check_writable()
        self.wait_for_room(self)
        return self.committer.commit_points(points, once)

    def draft_write(self, points: Points) -> Write:
        """Return the entry that adds points: their stamp, and the regions that the map of now gives them."""
        points = msgspec.structs.replace(points, stamp=np.full(len(points), self._next_stamp(), dtype=np.uint64))
        return Write(points=points, regions=self.engine.assign_regions(points), epoch=self.engine.regions.epoch)

    def commit_patch(self, keys: list[Key], payloads: list[bytes], once: Once | None = None) -> int:
        """Set payload fields of points. Raises SegmentCorrupt when the points turn out to be in a damaged segment."""
        self._check_writable()
        self.wait_for_room(self)
        known = set(self.quarantined)
        position = self.committer.commit(lambda: Patch(keys=keys, payloads=payloads, stamp=self._next_stamp()), once)
        found = sorted(self.quarantined.keys() - known)
        if found and {key for one in self.engine.find_live(keys) for key in one.segment.keys_at(one.rows)} != set(keys):
            raise SegmentCorrupt(
                f"some of these points were not updated, for {self.quarantined[found[0]]}; it is set aside, the rest serves",
                hint="run verify; restore the file from a copy",
            )
        return position

    def commit_remove(self, keys: list[Key], once: Once | None = None) -> int:
        """Delete points."""
        self._check_writable()
        return self.committer.commit(lambda: Remove(keys=keys, stamp=self._next_stamp()), once)

    def find_done(self, once: Once) -> int | None:
        """Return the position of the entry that does a request already. Raises LogUnavailable when that is not known."""
        return self._done.find(once)

    def commit_barrier(self, *, kept: bool = False) -> int:
        """Return a position that is not before anything acknowledged so far, proven by an entry of its own. Raises as a write.

        kept: whoever follows the log keeps how things stand there, see `moments.py`.
        """
        self._check_writable()
        return self.committer.commit_barrier(kept=kept)

    def commit_map(self, regions: RegionMap) -> int:
        """Change the map of regions. Raises LogConflict when another program changed it since this one was made."""

        def draft() -> MapChange:
            if regions.epoch != self.engine.regions.epoch + 1:
                raise LogConflict("another program changed the map of regions first", hint="make it anew")
            return MapChange(map=regions)

        return self.committer.commit_alone(draft)

    def commit_moves(self, limit: int) -> int:
        """Write up to so many points anew where the map of now puts them, as they are. Returns how many: 0 = all are in their places."""
        moved = 0
        for shard in self.engine.shards:
            for segment in shard.segments:
                self._expect_whole(self.engine, segment, shard=shard.number)

        def draft() -> Write:
            nonlocal moved
            points, regions = self.engine.moving.next(limit)
            moved = len(points)
            return Write(points=points, regions=regions, epoch=self.engine.regions.epoch, moved=True)

        while self.engine.moving.look():
            with suppress(Overtaken):
                self.committer.commit_alone(draft)
                return moved
        return 0

    def _next_stamp(self) -> int:
        self.stamp = next_stamp(self.stamp, self.env.now_us() // 1000)
        return self.stamp

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreReadOnly("this database was opened with read_only=True", hint="open it without read_only to write")

    def close(self) -> None:
        """Let go of the log."""
        self.log.close()
