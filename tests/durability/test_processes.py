"""One program writes, others read; and many threads write at once."""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from durability.deaths import SHAPES, Nursery, program
from durability.grown import Grown
from durability.lives import NAME, Deed, Points, Shape, World, after, expect_agreement, found
from durability.nursery import Order
from paradox.client.sync import Database
from paradox.errors import StoreLocked, StoreReadOnly, StoreUnreadable

pytestmark = pytest.mark.slow

WATCHED = Shape(batch_max=40)


class Watcher:
    """Reads beside a writer, and checks that each view is what the writer had made by then."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder = folder
        self.shape = shape
        self.views: list[Points] = [{}]
        self.done = 0
        self.moved = threading.Event()
        self.over = threading.Event()
        self.looks: Counter[str] = Counter()
        self.lag = 0

    def hear(self, verb: str, deed: Deed) -> None:
        """Take note of what the writer says. A deed's view exists as soon as it is begun."""
        if verb == "begin":
            self.views.append(after(World(self.views[-1]), self.shape, deed).points)
        else:
            self.done += 1
            self.moved.set()

    def watch(self, database: Database, dice: random.Random) -> None:
        """Look again and again, until it is over and all was seen."""
        collection = database[NAME]
        position = 0
        while True:
            last = self.over.is_set()
            least = self.done
            points = found(self.shape, collection)
            seen = next((number for number in range(least, len(self.views)) if self.views[number] == points), None)
            assert seen is not None, f"{len(points)} points seen between deeds {least} and {len(self.views) - 1}"
            assert collection.info()["position"] >= position
            position = collection.info()["position"]
            self.looks["looks"] += 1
            for _ in range(3):
                self.look_closer(database, dice)
            if last:
                return
            self.moved.wait(0.05)
            self.moved.clear()

    def look_closer(self, database: Database, dice: random.Random) -> None:
        collection = database[NAME]
        least = self.done
        query = np.array([dice.gauss(0, 1) for _ in range(self.shape.dimensions)], dtype=np.float32)
        hits = collection.search(query, k=5)
        count = collection.count()
        views = self.views[least:]
        ids = {name for view in views for name in view}
        assert all(hit.id in ids for hit in hits)
        assert any(count == len(view) for view in views)
        if dice.random() < 0.1:
            report = database.verify()
            assert report["healthy"], report["damaged"]
        self.looks["closer"] += 1


@pytest.mark.parametrize("readers", [1, 3])
def test_readers_follow_a_writer_through_seals_trims_merges_and_its_death(tmp_path: Path, readers: int) -> None:
    shape = WATCHED
    database = shape.open(tmp_path)
    shape.collection(database)
    database.close()
    watcher = Watcher(tmp_path, shape)
    reader = shape.open(tmp_path, read_only=True)
    with Nursery() as nursery, ThreadPoolExecutor(readers) as threads:
        watching = [threads.submit(watcher.watch, reader, random.Random(number)) for number in range(readers)]
        try:
            for number in range(3):
                order = Order(folder=str(tmp_path), shape=shape, seed=f"watched {number}", origin="", alone=False)
                _, in_flight, _ = nursery.raise_one(order, acknowledged=60, spin_s=0.001, hear=watcher.hear)
                settle(watcher, shape, tmp_path, in_flight)
        finally:
            watcher.over.set()
            watcher.moved.set()
        for each in watching:
            each.result()
    assert watcher.looks["looks"] > 10, watcher.looks
    held = reader._transport.opened(NAME).held  # type: ignore[attr-defined]
    assert held.manifest is not None
    assert held.log.first > 1
    reader.close()


def settle(watcher: Watcher, shape: Shape, folder: Path, in_flight: list[Deed]) -> None:
    """After a kill: find out whether the deed in flight is there, as the next writer will."""
    database = shape.open(folder)
    points = found(shape, database[NAME])
    database.close()
    assert points in (watcher.views[-1], watcher.views[watcher.done])
    watcher.views[watcher.done + 1 :] = [points] if in_flight else []
    watcher.done = len(watcher.views) - 1


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with Nursery() as nursery:
        refused = []

        def hear(verb: str, deed: Deed) -> None:
            if verb == "done" and not refused:
                with pytest.raises(StoreLocked) as raised:
                    WATCHED.open(tmp_path)
                refused.append(raised.value)
                reader = WATCHED.open(tmp_path, read_only=True)
                assert reader[NAME].count() >= 0
                reader.close()

        order = Order(folder=str(tmp_path), shape=WATCHED, seed="locked", origin="")
        nursery.raise_one(order, acknowledged=5, spin_s=0.0, hear=hear)
        [error] = refused
        assert f"is open for writing by process {nursery.last_pid} on " in error.message
        assert error.message.endswith("; one writer at a time is allowed")
        assert error.hint == "open it with read_only=True for reading, or close it there first"
    WATCHED.open(tmp_path).close()  # the kernel lets go of a killed writer's lock


def test_a_reader_needs_no_writer(tmp_path: Path) -> None:
    grown = Grown(tmp_path / "grown")
    files = {path: path.read_bytes() for path in grown.files()}
    names = {path for path in grown.folder.rglob("*") if ".tantivy" not in path.name}
    for _ in range(2):
        database = grown.shape.open(grown.folder, read_only=True)
        expect_agreement(grown.shape, database, grown.world, random.Random(1))
        with pytest.raises(StoreReadOnly, match="this database was opened with read_only=True"):
            database[NAME].add(ids=[1], vectors=np.ones((1, 8)))
        with pytest.raises(StoreReadOnly):
            database.drop(NAME)
        database.close()
    assert {path: path.read_bytes() for path in grown.files() if ".tantivy" not in path.name} == files
    assert {path for path in grown.folder.rglob("*") if ".tantivy" not in path.name} == names


def test_a_reader_says_so_when_there_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="the folder holds no database"):
        WATCHED.open(tmp_path, read_only=True)
    assert not list(tmp_path.iterdir())


READ_ONLY = """
import os, sys, random
from pathlib import Path
from durability.grown import SHAPE, Grown, opened
from durability.lives import NAME, WORDS
from paradox.client.sync import Database
from paradox.errors import StoreReadOnly

folder = Path(sys.argv[1])

def ask(database):
    collection = database[NAME]
    hits = collection.search([1.0] * 8, k=5), collection.search("tide", mode="text"), collection.search([1.0] * 8, where="kind = 3")
    return [[hit.id for hit in found] for found in hits], collection.count(), database.verify()["healthy"]

grown = Grown(folder / "other")
ask(Database(opened(grown.folder, read_only=True)))  # all code is loaded before rights are given up
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
database = SHAPE.open(folder / "database", read_only=True)
found = ask(database)
assert found == ask(Database(opened(grown.folder, read_only=True))), found
database.close()
try:
    SHAPE.open(folder / "database")
except StoreReadOnly as error:
    print(error.message)
"""


def test_a_folder_that_may_not_be_written_can_be_read() -> None:
    with tempfile.TemporaryDirectory(prefix="paradox-test-") as place:
        folder = Path(place)
        grown = Grown(folder / "database")
        folder.chmod(0o777)
        for path in [grown.folder, *grown.folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            said = program(READ_ONLY, place)
        finally:
            for path in [grown.folder, *grown.folder.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
    assert said == f"the lock of {grown.folder} could not be written: permission denied\n"


def test_sixteen_threads_of_single_adds_are_all_there(tmp_path: Path) -> None:
    shape = SHAPES["plain"]
    database = shape.open(tmp_path)
    collection = shape.collection(database)
    start = threading.Barrier(16)

    def add(thread: int) -> list[int]:
        start.wait()
        vectors = np.random.default_rng(thread).normal(size=(40, 8)).astype(np.float32)
        return [
            collection.add(ids=[thread * 100 + number], vectors=vectors[number : number + 1], payload={"t": thread}).position
            for number in range(40)
        ]

    with ThreadPoolExecutor(16) as threads:
        positions = list(threads.map(add, range(16)))
    assert all(mine == sorted(mine) for mine in positions)
    wanted = {thread * 100 + number: {"t": thread} for thread in range(16) for number in range(40)}
    assert {hit.id: hit.payload for hit in collection.scroll()} == wanted
    database.close()
    database = shape.open(tmp_path)
    assert {hit.id: hit.payload for hit in database[NAME].scroll()} == wanted
    for thread in range(16):
        vectors = np.random.default_rng(thread).normal(size=(40, 8)).astype(np.float32)
        assert database[NAME].search(vectors[7], k=1, exact=True)[0].id == thread * 100 + 7
    assert database.verify()["healthy"]
    database.close()
