"""Cut the power after every single disk operation of a database's life, lose what a disk may lose, and look what is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from durability.mirror import _MirroredFile
from durability.power import SHAPES, Life

from paradox.model.events import MapChanged, SegmentSealed, SegmentsMerged


@pytest.mark.parametrize(("name", "deeds"), [("plain", 200), ("copies", 70), ("text", 40)])
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(tmp_path: Path, name: str, deeds: int) -> None:
    life = Life(tmp_path, SHAPES[name], 1, losses=("everything",))
    life.live(deeds)
    assert life.operations > 4 * deeds
    assert life.wrecks > 3 * deeds
    happened = Counter(type(event) for event in life.env.events)
    assert happened[SegmentSealed] >= deeds // 15, happened
    assert happened[SegmentsMerged] >= deeds // 30, happened
    assert happened[MapChanged], happened


def test_a_second_power_cut_during_the_repair_loses_nothing_either(tmp_path: Path) -> None:
    first = Life(tmp_path, SHAPES["plain"], 2, losses=("nothing", "torn"), keep_every=12)
    first.live(60)
    looked_at = 0
    for number, wreck in enumerate(first.kept):
        second = Life(tmp_path, SHAPES["plain"], number, losses=("everything",), begin=wreck)
        second.live(1)
        looked_at += second.wrecks
    assert len(first.kept) > 20
    assert looked_at > 5 * len(first.kept)


@pytest.mark.parametrize("forgotten", ["segments", "drops"])
def test_these_tests_notice_a_sync_that_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str) -> None:
    life = Life(tmp_path, SHAPES["plain"], 1, losses=("everything",))
    if forgotten == "segments":
        extend = life.disk.extend

        def without_sync(path: Path) -> Any:
            file = extend(path)
            if "tmp" in path.parts:
                file.sync = lambda: None
            return file

        monkeypatch.setattr(life.disk, "extend", without_sync)
    else:
        monkeypatch.setattr("paradox.node.catalogue.drop_folder", lambda *_: None)
        monkeypatch.setattr(life.disk, "sync_folder", lambda folder: None if folder.name == "collections" else None)
    with pytest.raises(AssertionError, match="gone|cannot be|not what it was made to be|begin"):
        life.live(200)
    assert _MirroredFile
