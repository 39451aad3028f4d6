"""What goes from a store that many nodes write to, and what never does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from paradox.errors import SegmentCorrupt
from paradox.node.snapshots import Snapshots, reached, segments_in
from paradox.node.sweep import SAFE_S, Sweep
from paradox.objects.disk import RealDisk
from paradox.objects.local import LocalStore
from paradox.shard.manifest import Manifest, SegmentEntry
from worlds import TestEnv


class Shared:
    """A store, a clock, and nodes that write to it."""

    def __init__(self, folder: Path, shards: int = 2) -> None:
        self.folder = folder
        self.env = TestEnv()
        self.store = LocalStore(folder, RealDisk())
        self.sweep = Sweep(self.store, folder, elapsed_s=self.env.elapsed_s, shards=shards)
        self.writers: dict[str, Snapshots] = {}

    def segment(self, name: str) -> str:
        self.store.put(f"segments/{name}/points", [b"points"])
        return name

    def manifest(self, node: str, position: int, *segments: str, shards: tuple[int, ...] | None = None, **more: Any) -> None:
        entries = tuple(SegmentEntry(name=name, shard=0, rows=1, dead=b"", files={}) for name in segments)
        writer = self.writers.setdefault(node, Snapshots(self.store, self.folder, node=node))
        writer.put(Manifest(incarnation=1, position=position, stamp=0, segments=entries, map={}, shards=shards, **more))
        writer.collect(())

    def wait(self, seconds: float, *, live: tuple[str, ...] = ("a", "b"), placed: tuple[str, ...] = ("a", "b")) -> None:
        """Let time go by, and look at both ends of it."""
        self.sweep.once(live=live, placed=placed)
        self.env.advance(seconds)
        self.sweep.once(live=live, placed=placed)

    def manifests(self, node: str) -> int:
        return len(self.store.list(f"manifests/{node}/"))


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


def test_what_no_manifest_names_goes_when_it_was_so_for_long(shared: Shared) -> None:
    for name in ("old", "new", "orphan"):
        shared.segment(name)
    shared.manifest("a", 1, "old")
    shared.manifest("a", 2, "new")
    shared.wait(SAFE_S - 1)
    assert segments_in(shared.store) == {"old", "new", "orphan"}
    shared.wait(1)
    assert segments_in(shared.store) == {"old", "new"}  # the older manifest is for when the newer is damaged
    shared.manifest("a", 3, "new")
    shared.wait(SAFE_S)
    assert segments_in(shared.store) == {"new"}
    assert not (shared.folder / "segments" / "orphan").exists()


def test_what_is_named_in_the_end_was_only_being_written(shared: Shared) -> None:
    shared.segment("slow")
    shared.wait(SAFE_S - 1)
    shared.manifest("b", 1, "slow")
    shared.wait(10 * SAFE_S)
    assert segments_in(shared.store) == {"slow"}
    shared.manifest("b", 2)
    shared.manifest("b", 3)
    shared.wait(SAFE_S - 1)  # it waits anew: others may be reading an older manifest
    assert segments_in(shared.store) == {"slow"}


def test_what_was_set_aside_stays(shared: Shared) -> None:
    shared.segment("damaged")
    shared.manifest("a", 1, quarantined={"damaged": "a checksum fails"})
    shared.wait(10 * SAFE_S)
    assert segments_in(shared.store) == {"damaged"}


def test_nothing_goes_while_a_manifest_cannot_be_read(shared: Shared) -> None:
    shared.segment("orphan")
    shared.manifest("a", 1)
    (file,) = shared.folder.glob("manifests/a/*")
    whole = file.read_bytes()
    shared.wait(SAFE_S / 2)
    file.write_bytes(whole[:-1])
    shared.wait(10 * SAFE_S)
    assert segments_in(shared.store) == {"orphan"}
    file.write_bytes(whole)
    shared.wait(SAFE_S - 1)
    assert segments_in(shared.store) == {"orphan"}
    shared.wait(1)
    assert segments_in(shared.store) == set()


def test_a_node_that_is_gone_is_forgotten_once_others_cover_its_shards(shared: Shared) -> None:
    shared.segment("of-gone")
    for position in (5, 6):
        shared.manifest("gone", position, "of-gone", shards=(0, 1))
    shared.manifest("a", 7, shards=(0,))
    shared.manifest("a", 8, shards=(0,))
    shared.manifest("b", 9, shards=(1,))
    shared.wait(10 * SAFE_S)
    assert shared.manifests("gone") == 2, "of shard 1 there is one snapshot"
    shared.manifest("b", 10, shards=(0, 1))
    shared.wait(SAFE_S - 1)
    shared.wait(SAFE_S, live=("a", "b", "gone"))  # it was only away
    shared.wait(SAFE_S, placed=("a", "b", "gone"))
    assert shared.manifests("gone") == 2
    shared.wait(SAFE_S)
    assert shared.manifests("gone") == 0
    assert segments_in(shared.store) == {"of-gone"}
    shared.wait(SAFE_S)
    assert segments_in(shared.store) == set()


def test_older_snapshots_of_others_cover_nothing(shared: Shared) -> None:
    shared.manifest("gone", 6, shards=(0,))
    for position in (4, 5, 5):
        shared.manifest("a", position, shards=(0,))
    shared.wait(10 * SAFE_S)
    assert shared.manifests("gone") == 1


def test_what_killed_writers_left_goes(shared: Shared) -> None:
    (shared.folder / "tmp" / "half").mkdir(parents=True)
    (shared.folder / "tmp" / "half" / "points").write_bytes(b"x")
    shared.segment("whole")
    shared.manifest("a", 1, "whole")
    (shared.folder / "segments" / "whole" / ".unfinished-1-1").write_bytes(b"x")
    shared.wait(SAFE_S - 1)
    assert (shared.folder / "tmp" / "half").exists()
    shared.wait(1)
    assert not (shared.folder / "tmp" / "half").exists()
    assert [path.name for path in (shared.folder / "segments" / "whole").iterdir()] == ["points"]


def test_a_manifest_that_names_what_was_swept_away_is_not_written(shared: Shared) -> None:
    shared.segment("slow")
    shared.wait(SAFE_S)
    with pytest.raises(SegmentCorrupt, match="segment slow is gone"):
        shared.manifest("a", 1, "slow")
    assert shared.manifests("a") == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_history_loses_what_a_manifest_names(shared: Shared, seed: int) -> None:
    """Nodes write, merge, die and come back in any order; whatever any manifest names is there at any time."""
    dice = random.Random(seed)
    made, named = 0, {node: [] for node in "abc"}  # type: ignore[var-annotated]
    for position in range(1, 120):
        node = dice.choice("abc")
        match dice.randrange(4):
            case 0:
                made += 1
                named[node] = [*named[node], shared.segment(f"s{made}")]
            case 1:
                named[node] = dice.sample(named[node], len(named[node]) // 2)
            case 2:
                shared.manifest(node, position, *(name for name in named[node] if name in segments_in(shared.store)), shards=(0, 1))
        live = tuple(sorted(dice.sample("abc", dice.randint(1, 3))))
        shared.sweep.once(live=live, placed=live)
        shared.env.advance(dice.choice((1, SAFE_S / 3, SAFE_S)))
        manifests = [one for writer in shared.writers.values() for one in writer.of_all()]
        wanted = set().union(*map(reached, manifests))
        assert wanted <= segments_in(shared.store)
        for shard in (0, 1):
            assert not shared.writers or sum(one.covers(shard) for one in manifests) >= 1
