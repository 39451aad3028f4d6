"""What a database says of itself: status, descriptions, verification."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from paradox.errors import LogCorrupt, ParadoxError, SegmentCorrupt, StoreClosed
from paradox.model.topology import shard_name
from paradox.node.held import LOG, HeldCollection
from paradox.node.snapshots import MANIFESTS, SEGMENTS
from paradox.shard.container import checksum
from paradox.shard.contents import contents_of
from paradox.shard.manifest import decode_manifest
from paradox.shard.sealed import Sealed
from paradox.wire.codec import decode

if TYPE_CHECKING:
    from paradox.node.database import HeldDatabase

TRIMMED_MEANWHILE_MAX = 100
"""How often a log is read anew because its first files were trimmed meanwhile."""


def describe_collection(held: HeldCollection) -> dict[str, Any]:
    """Return what a collection is and how it stands, in plain values."""
    if held.read_only:
        held.refresh()
    engine = held.engine
    regions = engine.regions
    sealed = [segment for segment in engine.segments() if isinstance(segment, Sealed)]
    return {
        "name": held.name,
        "spec": msgspec.to_builtins(held.spec),
        "points": engine.count(),
        "position": engine.applied,
        "map_epoch": regions.epoch,
        "regions": len(regions),
        "shards": [
            {
                "name": f"s{shard.number}",
                "held": shard.number in engine.held,
                "points": shard.count(),
                "segments": [
                    {
                        "name": segment.name,
                        "sealed": isinstance(segment, Sealed),
                        "rows": segment.rows,
                        "dead": segment.dead,
                        "probed": any(column.probed for column in segment.vectors.values()),
                    }
                    for segment in shard.segments
                    if segment.rows
                ],
            }
            for shard in engine.shards
        ],
        "segments": len(sealed),
        "bytes": folder_bytes(held.folder) if held.folder else 0,
        "log": {"first": held.log.first, "last": held.log.last, "incarnation": held.log.incarnation},
        "fields": {field: sorted(kinds) for field, kinds in sorted(engine.fields().items())},
        "quarantined": dict(held.quarantined),
    }


def describe_database(database: HeldDatabase, held: Sequence[HeldCollection], refused: Mapping[str, str]) -> dict[str, Any]:
    """Return health in one sentence, then details. refused: collections that cannot be opened, and why."""
    quarantined = dict(refused) | {f"{one.name}/{name}": reason for one in held for name, reason in one.quarantined.items()}
    suspect = {
        f"{one.name}/{file}": reason for one in held for file, reason in one.found_damaged.items() if not _set_aside(file, one.quarantined)
    }
    worker = database.worker
    failure = worker.failure if worker is not None else ""
    points = sum(one.engine.count() for one in held)
    reads, writes = (None, None) if database.read_only else database.tally.per_second()  # what other processes do is not known
    healthy = not quarantined and not suspect and not failure
    sentence = f"healthy: {points:,} point{'s' if points != 1 else ''} in {len(held)} collection{'s' if len(held) != 1 else ''}"
    if quarantined:
        sentence = f"damaged: {len(quarantined)} file{'s' if len(quarantined) != 1 else ''} set aside, the rest serves"
    elif suspect:
        sentence = f"damaged: verify found {len(suspect)} file{'s that are' if len(suspect) != 1 else ' that is'} not what was written"
    elif failure:
        sentence = f"working, but background work fails: {failure}"
    return {
        "healthy": healthy,
        "sentence": sentence,
        "path": database.path,
        "read_only": database.read_only,
        "writer": database.writer(),
        "points": points,
        "rows": sum(int(np.count_nonzero(segment.alive())) for one in held for segment in one.engine.segments()),
        "shards": sum(len(one.engine.held) for one in held),
        "reads_per_s": reads,
        "writes_per_s": writes,
        "collections": [
            {"name": one.name, "points": one.engine.count(), "position": one.engine.applied, "waiting_to_be_sealed": len(one.frozen)}
            | ({"held": {shard_name(number): one.engine.shards[number].count() for number in one.engine.held}} if one.node else {})
            for one in held
        ],
        "quarantined": quarantined,
        "found_damaged": suspect,
        "working": worker.working if worker is not None else "",
        "settled": worker.settled() if worker is not None else True,
        "events": [msgspec.to_builtins(event) for event in list(database.env.events)],
    }


def _set_aside(file: str, quarantined: Mapping[str, str]) -> bool:
    return any(name in file for name in quarantined)


def verify_database(held: Sequence[HeldCollection], refused: Mapping[str, str], go_on: Callable[[], None]) -> dict[str, Any]:
    """Read every byte of segments, indexes, manifests and logs against its checksum.

    refused: as in `describe_database`. go_on: called between files and entries; what it raises ends the work.
    """
    damaged = [{"file": name, "reason": reason} for name, reason in refused.items()]
    damaged += [{"file": f"{one.name}/{SEGMENTS}{name}", "reason": reason} for one in held for name, reason in set_aside(one).items()]
    checked, read = len(damaged), 0
    for one in held:
        if one.read_only:
            one.refresh()
        found: dict[str, str] = {}
        for file, work in _checks(one, go_on):
            go_on()
            checked += 1
            try:
                read += work()
            except StoreClosed:
                raise
            except (ParadoxError, OSError) as error:
                if not _replaced(one, file):
                    reason = error.message if isinstance(error, ParadoxError) else str(error.strerror)
                    damaged.append({"file": f"{one.name}/{file}", "reason": reason})
                    found[file] = reason
        one.found_damaged = found
    contents = {one.name: describe_contents(one) for one in held if one.node}
    return {"healthy": not damaged, "checked": checked, "bytes": read, "damaged": damaged, **({"contents": contents} if contents else {})}


def describe_contents(held: HeldCollection) -> dict[str, Any]:
    """Return what a node holds of a collection, to be compared with others: position, chain, and for each shard the sums of `Contents`."""
    with held.committer.turn:
        position, chain = held.engine.applied, held.chain.value
        taken = {
            shard.number: [(segment, np.flatnonzero(segment.alive())) for segment in shard.segments if segment.rows]
            for shard in held.engine.shards
            if shard.number in held.engine.held
        }
    shards = {shard_name(number): msgspec.to_builtins(contents_of(parts, held.spec, number)) for number, parts in taken.items()}
    return {"position": position, "chain": chain, "of": held.spec.shards, "shards": shards, "whole": not held.engine.lost}


def set_aside(held: HeldCollection) -> dict[str, str]:
    """Return the damaged segments that the newest manifest names no longer, with what is wrong with each."""
    named = {entry.name for entry in held.manifest.segments} if held.manifest else set()
    return {
        name: reason for name, reason in held.quarantined.items() if name not in named and name != LOG and not name.startswith(MANIFESTS)
    }


def _checks(held: HeldCollection, go_on: Callable[[], None]) -> list[tuple[str, Any]]:
    """Return (file, check) pairs; a check returns the bytes it read or raises."""
    checks: list[tuple[str, Any]] = [("log", lambda: _verify_log(held, go_on))]
    checks.extend((name, lambda name=name: _verify_manifest(held, name)) for name in held.snapshots.names())
    manifest = held.manifest
    assert held.folder is not None
    for entry in manifest.segments if manifest else ():
        folder = held.folder / SEGMENTS / entry.name
        checks.append((f"{SEGMENTS}{entry.name}/points", lambda name=entry.name: _verify_segment(held, name)))
        for file, expected in entry.files.items():
            checks.append(
                (
                    f"{SEGMENTS}{entry.name}/{file}",
                    lambda path=folder / file, expected=expected: _verify_file(path, expected),
                )
            )
    return checks


def _replaced(held: HeldCollection, file: str) -> bool:
    """Tell whether a file of a segment is no longer needed: it was merged into another while we were reading."""
    if not file.startswith(SEGMENTS):
        return False
    for name in reversed(held.snapshots.names()):
        with suppress(SegmentCorrupt, KeyError):
            return all(entry.name != file.split("/")[1] for entry in decode_manifest(held.store.get(name), name).segments)
    return False


def _verify_log(held: HeldCollection, go_on: Callable[[], None]) -> int:
    for again in reversed(range(TRIMMED_MEANWHILE_MAX)):
        first, read = held.log.first, 0
        try:
            for _, body in held.log.read(first - 1):
                go_on()
                decode(body)
                read += len(body)
            return read
        except LogCorrupt:
            if not again or held.log.first == first:
                raise
    return 0


def _verify_manifest(held: HeldCollection, name: str) -> int:
    try:
        raw = held.store.get(name)
    except KeyError:
        return 0  # a newer one took its place while we were reading
    decode_manifest(raw, name)
    return len(raw)


def _verify_segment(held: HeldCollection, name: str) -> int:
    return held.open_segment(name, {}).container.verify()


def _verify_file(path: Path, expected: tuple[int, int]) -> int:
    found = checksum(path)
    if found != tuple(expected):
        raise SegmentCorrupt(
            f"{path.name} has {found[0]:,} bytes with checksum {found[1]:016x}; expected {expected[0]:,} with {expected[1]:016x}",
            hint="searches use a copy that is made anew from the points",
        )
    return found[0]


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for root, _, names in os.walk(folder):  # which passes over folders that go meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
