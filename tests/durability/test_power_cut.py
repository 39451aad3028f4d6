"""Cut the power after every single disk operation of a database's life, lose what a disk may lose, and look what is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from durability.lives import Deed
from durability.power import SHAPES, Life
from paradox.model.events import MapChanged, SegmentSealed, SegmentsMerged


@pytest.mark.parametrize(("name", "deeds"), [("plain", 200), ("copies", 80), ("text", 70)])
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(tmp_path: Path, name: str, deeds: int) -> None:
    life = Life(tmp_path, SHAPES[name], 1, losses=("everything",))
    life.live(deeds)
    assert life.operations > 3 * deeds
    assert life.wrecks > 2 * deeds
    happened = Counter(type(event) for event in life.env.events)
    assert happened[SegmentSealed] >= deeds // 20, happened
    assert happened[SegmentsMerged] >= deeds // 50, happened
    assert happened[MapChanged], happened


def test_a_second_power_cut_during_the_repair_loses_nothing_either(tmp_path: Path) -> None:
    first = Life(tmp_path, SHAPES["plain"], 2, losses=("nothing", "torn"), keep_every=40)
    first.live(60)
    looked_at = 0
    for number, wreck in enumerate(first.kept):
        second = Life(tmp_path, SHAPES["plain"], number, losses=("everything",), begin=wreck)
        second.live(1)
        looked_at += second.wrecks
    assert len(first.kept) >= 5
    assert looked_at > 5 * len(first.kept)


@pytest.mark.parametrize(("forgotten", "noticed"), [("segments", "after operation"), ("drops", "not what it was made to be")])
def test_these_tests_notice_a_sync_that_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str, noticed: str) -> None:
    life = Life(tmp_path, SHAPES["plain"], 1, losses=("everything",))
    extend, sync_folder = life.disk.extend, life.disk.sync_folder

    def extend_without_sync(path: Path) -> Any:
        file = extend(path)
        if "tmp" in path.parts:
            file.sync = lambda: None  # type: ignore[method-assign]
        return file

    def sync_others(folder: Path) -> None:
        if folder.name != "collections":
            sync_folder(folder)

    if forgotten == "segments":
        monkeypatch.setattr(life.disk, "extend", extend_without_sync)
    else:
        monkeypatch.setattr(life.disk, "sync_folder", sync_others)
    with pytest.raises(AssertionError, match=noticed):
        life.live(200, first=[Deed("add", [1, 2], 1), Deed("make", [], 2), Deed("drop", [], 3), Deed("add", [3], 4)])
