"""One program writes, others read; and many threads write at once."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from durability.deaths import SHAPES, Nursery, program
from durability.grown import Grown
from durability.lives import NAME, Deed, Points, Shape, World, after, expect_agreement, found
from durability.nursery import Order
from paradox.client.sync import Database
from paradox.errors import CollectionMissing, StoreClosed, StoreLocked, StoreReadOnly, StoreUnreadable
from paradox.node.embedded import EmbeddedDatabase

WATCHED = Shape(batch_max=40)


class Watcher:
    """Reads beside a writer, and checks that each view is one that the writer had made by then.

    A view is known once its deed is heard of, which may be after it is seen.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.views: list[Points] = [{}]
        self.done = 0
        self.over = False
        self.looks = 0
        self.moved = threading.Condition()

    def hear(self, verb: str, deed: Deed) -> None:
        """Take note of what the writer says: a deed makes a view when it begins, which must be seen once it is done."""
        with self.moved:
            if verb == "begin":
                self.views.append(after(World(self.views[-1]), self.shape, deed).points)
            else:
                self.done += 1
            self.moved.notify_all()

    def settle(self, points: Points) -> None:
        """Take note of what the next writer found of the deed in flight."""
        with self.moved:
            assert points in (self.views[-1], self.views[self.done])
            self.views[self.done :] = [self.views[self.done]] + ([points] if points != self.views[self.done] else [])
            self.done = len(self.views) - 1

    def end(self) -> None:
        with self.moved:
            self.over = True
            self.moved.notify_all()

    def expect(self, least: int, what: str, holds: Callable[[Points], bool]) -> None:
        """Some view since `least` must be as was seen."""
        with self.moved:
            known = self.moved.wait_for(lambda: any(holds(view) for view in self.views[least:]), timeout=20)
        assert known, f"{what} were seen, but never there between deeds {least} and {len(self.views) - 1}"

    def watch(self, database: Database, dice: random.Random) -> None:
        """Look again and again, until it is over and all was seen."""
        collection = database[NAME]
        position = 0
        while True:
            last, least = self.over, self.done
            points = found(self.shape, collection)
            self.expect(least, f"{len(points)} points", lambda view, points=points: view == points)
            here = collection.info()["position"]
            assert here >= position
            position = here
            for _ in range(3):
                self.look_closer(database, dice)
            self.looks += 1
            if last:
                return
            with self.moved:
                self.moved.wait_for(lambda least=least: self.done > least or self.over)

    def look_closer(self, database: Database, dice: random.Random) -> None:
        collection, least = database[NAME], self.done
        count = collection.count()
        self.expect(least, f"{count} points", lambda view: len(view) == count)
        query = np.array([dice.gauss(0, 1) for _ in range(self.shape.dimensions)], dtype=np.float32)
        hits = {hit.id: hit.payload for hit in collection.search(query, k=5)}
        for name, payload in hits.items():
            self.expect(least, f"point {name!r}", lambda view, name=name, payload=payload: name in view and view[name].payload == payload)
        if dice.random() < 0.1:
            report = database.verify()
            assert report["healthy"], report["damaged"]


@pytest.mark.parametrize("readers", [1, 3])
def test_readers_follow_a_writer_through_seals_trims_merges_and_its_death(tmp_path: Path, readers: int) -> None:
    shape = WATCHED
    database = shape.open(tmp_path)
    shape.collection(database)
    database.close()
    watcher = Watcher(shape)
    reader = shape.open(tmp_path, read_only=True)
    with Nursery() as nursery, ThreadPoolExecutor(readers) as threads:
        watching = [threads.submit(watcher.watch, reader, random.Random(number)) for number in range(readers)]
        try:
            for number in range(3):
                order = Order(folder=str(tmp_path), shape=shape, seed=f"watched {number}", origin="", alone=False)
                nursery.raise_one(order, acknowledged=60, spin_s=0.001, hear=watcher.hear)
                database = shape.open(tmp_path)
                watcher.settle(found(shape, database[NAME]))
                database.close()
        finally:
            watcher.end()
        for each in watching:
            each.result()
    assert watcher.looks > 10
    held = reader._transport.opened(NAME).held  # type: ignore[attr-defined]
    assert held.manifest is not None  # it went on from a newer snapshot
    assert held.log.first > 1  # since what it had read was trimmed
    reader.close()


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
        assert error.hint == "close it there first, open it with read_only=True for reading, or let `paradox serve` share it"
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
expected = ask(Database(opened(grown.folder, read_only=True)))  # all code is loaded before rights are given up
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
database = SHAPE.open(folder / "database", read_only=True)
assert ask(database) == expected
assert ask(Database(opened(grown.folder, read_only=True))) == expected  # whoever may see the files can read them
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


def test_a_reader_notices_that_a_collection_was_dropped_and_made_anew(tmp_path: Path) -> None:
    writer = WATCHED.open(tmp_path)
    WATCHED.collection(writer).add(ids=[1, 2], vectors=np.ones((2, 8)))
    reader = WATCHED.open(tmp_path, read_only=True)
    collection = reader[NAME]
    assert collection.count() == 2
    writer.drop(NAME)
    for use in (collection.count, lambda: collection.search(np.ones(8)), lambda: collection.get(1), lambda: list(collection.scroll())):
        with pytest.raises(CollectionMissing, match=f"there is no collection '{NAME}'"):
            use()
    writer.collection(NAME, dimensions=4).add(ids=[7], vectors=np.ones((1, 4)))
    assert {hit.id for hit in reader[NAME].search(np.ones(4))} == {7}
    assert collection.count() == 1
    reader.close()
    writer.close()


def test_a_collection_that_a_reader_sees_can_be_read(tmp_path: Path) -> None:
    """A writer that dies while it makes a collection has made all of it or nothing."""
    writer = WATCHED.open(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedDatabase, "_hold", lambda *_: 1 / 0)  # it dies as soon as the spec is there
        with pytest.raises(ZeroDivisionError):
            WATCHED.collection(writer)
    reader = WATCHED.open(tmp_path, read_only=True)
    assert reader.collections() == [NAME]
    assert reader[NAME].count() == 0
    reader.close()
    assert WATCHED.collection(writer).add(ids=[1], vectors=np.ones((1, 8))).position == 1
    writer.close()


def test_closing_beside_writers_keeps_every_receipt(tmp_path: Path) -> None:
    database = WATCHED.open(tmp_path)
    collection = WATCHED.collection(database)
    under_way = threading.Event()

    def add(thread: int) -> list[int]:
        kept = []
        try:
            for number in range(10_000):
                collection.add(ids=[thread * 10_000 + number], vectors=np.ones((1, 8)))
                kept.append(thread * 10_000 + number)
                if number == 20:
                    under_way.set()
        except StoreClosed as error:
            assert error.message in ("the database was closed", "the log was closed")
        return kept

    with ThreadPoolExecutor(6) as threads:
        adding = [threads.submit(add, thread) for thread in range(6)]
        under_way.wait()
        database.close()
        kept = {name for each in adding for name in each.result()}
    database = WATCHED.open(tmp_path)
    assert kept <= {hit.id for hit in database[NAME].scroll()}
    assert len(kept) < 60_000
    assert database.verify()["healthy"]
    database.close()
