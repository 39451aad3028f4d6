"""Harm done to any file of a database, and what may come of it: what is served is right, or the damaged file is named."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from durability.grown import SHAPE, Grown, opened, work
from durability.lives import NAME, Deed, Point, Points, found, id_of, payload_of, perform
from paradox.client.sync import Database
from paradox.errors import CollectionMissing, FormatTooNew, LogCorrupt, ParadoxError, SegmentCorrupt, StoreUnreadable

NUMBERS = itertools.count()
HARMS = ("flip", "zeros", "cut", "insert", "repeat", "missing")
HARMED = {
    "number": st.integers(0, 10_000),
    "how": st.sampled_from(HARMS),
    "at": st.one_of(st.floats(0, 1), st.sampled_from((0.0, 0.001, 0.99, 0.999, 1.0))),
    "size": st.integers(1, 600),
    "read_only": st.booleans(),
}
"""What to draw for `harm_and_look`."""


def harm(path: Path, how: str, at: float, size: int) -> bool:
    """Damage a file, and tell whether it changed."""
    content = path.read_bytes()
    place = min(int(at * len(content)), max(len(content) - 1, 0))
    match how:
        case "flip":
            changed = content[:place] + bytes(byte ^ (1 << size % 8) for byte in content[place : place + 1]) + content[place + 1 :]
        case "zeros":
            changed = content[:place] + bytes(len(content[place : place + size])) + content[place + size :]
        case "cut":
            changed = content[:place]
        case "insert":
            changed = content[:place] + b"\x07" * size + content[place:]
        case "repeat":
            changed = content[:place] + content[:size] + content[place + size :]
        case _:
            path.unlink()
            return True
    path.write_bytes(changed)
    return changed != content


def harm_and_look(grown: Grown, bench: Path, *, number: int, how: str, at: float, size: int, read_only: bool) -> None:
    """Damage one file of a copy in `bench`, open it, and look what comes of it. number: of the file."""
    folder = grown.copy(bench / f"{next(NUMBERS)}")
    files = grown.files()
    path = folder / files[number % len(files)].relative_to(grown.folder)
    changed = harm(path, how, at, size)
    name = path.relative_to(folder).as_posix()
    try:
        database = Database(opened(folder, read_only=read_only))
        collection = database[NAME]
    except ParadoxError as error:
        assert changed
        assert expected_refusal(name, error), error
    else:
        expect_sense(grown, database, collection, name)
        database.close()
        if not read_only:
            expect_life_goes_on(folder)
    shutil.rmtree(folder)


def expected_refusal(name: str, error: ParadoxError) -> bool:
    """Tell whether a file's damage may keep a collection from being opened, with this error."""
    if name == "paradox.json":
        return isinstance(error, StoreUnreadable | FormatTooNew)
    if name.endswith("spec.json"):
        return isinstance(error, StoreUnreadable | FormatTooNew | CollectionMissing)
    return "/log/" in name and isinstance(error, LogCorrupt)


def expect_sense(grown: Grown, database: Database, collection: Any, name: str) -> None:
    """What is served is right, or the damaged file is named."""
    served, unreadable = readable(collection)
    query = np.random.default_rng(1).normal(size=8).astype(np.float32)
    for options in ({}, {"exact": True}, {"where": "kind = 3"}, {"mode": "text"}):
        asked: Any = "tide" if options.get("mode") == "text" else query
        assert {hit.id for hit in collection.search(asked, k=20, **options)} <= served.keys() | unreadable
    assert collection.count() == len(served) + len(unreadable)
    damaged = [*database.status()["quarantined"], *(each["file"] for each in database.verify()["damaged"])]
    possible = [world.points for world in grown.worlds.values()] if "/log/" in name else [grown.world.points]
    if not damaged:
        assert served in possible
        return
    assert any(each.removeprefix(f"{NAME}/").split("/")[0] in name for each in damaged), (name, damaged)
    lost = grown.rows.get(name.split("/")[3], set()) if "/segments/" in name else set()
    for points in possible:
        if all(served.get(key) == point for key, point in points.items() if key not in lost) and served.keys() <= points.keys():
            return
    raise AssertionError(f"{name}: what is served was never there")


def expect_life_goes_on(folder: Path) -> None:
    """Whatever is damaged, new points are taken, sealed and found again."""
    embedded = opened(folder)
    database = Database(embedded)
    added = Deed("add", [f"p{number}" for number in range(1000, 1100)], 9)
    perform(database, database[NAME], SHAPE, added)
    database[NAME].delete([id_of(number) for number in range(0, 190, 3)])  # so that segments are rewritten
    work(embedded)
    database.close()
    database = Database(opened(folder))
    assert {hit.id: hit.payload for hit in database[NAME].get(added.ids)} == {name: payload_of(name, 9) for name in added.ids}
    database.close()


def readable(collection: Any) -> tuple[Points, set[int | str]]:
    """Return the points that can be read, and the ids of the others."""
    try:
        return found(SHAPE, collection), set()
    except SegmentCorrupt:
        pass
    unreadable = set()
    for hit in collection.scroll():
        try:
            assert isinstance(hit.payload, dict)
        except SegmentCorrupt:
            unreadable.add(hit.id)
    names = [hit.id for hit in collection.scroll() if hit.id not in unreadable]
    points = {}
    for hit in collection.get(names, with_vectors=True):
        points[hit.id] = Point({"vector": tuple(hit.vector.tolist())}, hit.payload, hit.origin)
    return points, unreadable
