"""Readers beside a writer: no error, no stable point missing, no point twice, at any moment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.clusters import Clusters
from engine.oracle import order
from engine.small import NEVER_S, SMALL, opened, settle, small_samples
from paradox.client.hits import Hit
from paradox.client.sync import Collection
from paradox.model.schema import Limits
from paradox.model.topology import RegionMap
from paradox.planner.choose import Costs
from paradox.router.scatter import Scatter
from paradox.shard.engine import Held, ShardEngine
from paradox.shard.growing import Growing, GrowingVectors

READERS = 8
STABLE, VOLATILE = 150, 250
DIMENSIONS = 16


@pytest.fixture(autouse=True)
def quick_settling() -> Iterator[None]:
    with small_samples():
        yield


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns five hundred times as often, so that a test of a second meets what a day would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def expect_whole(hits: list[Hit], k: int) -> None:
    ids = [hit.id for hit in hits]
    assert len(set(ids)) == len(ids), "a point stands twice in one answer"
    assert len(ids) == k, f"{len(ids)} points where {k} are near"
    assert [(-hit.score, order(hit.id)) for hit in hits] == sorted((-hit.score, order(hit.id)) for hit in hits)
    for hit in hits:
        assert hit.payload["stable"] == (hit.id < STABLE)


class Reader:
    """One thread that asks again and again, and keeps the first thing that was wrong."""

    def __init__(self, points: Collection, matrix: NDArray[Any], number: int, stop: Event) -> None:
        self.error: BaseException | None = None
        self.asked = 0
        self._points, self._matrix, self._stop = points, matrix, stop
        self._dice = np.random.default_rng(number)
        self._ways: list[Callable[[int], None]] = [
            self.search,
            self.search,
            self.search_many,
            self.filtered,
            self.get,
            self.scroll,
            self.count,
        ]
        self.thread = Thread(target=self._run, name=f"reader-{number}")
        self.thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() or self.asked < 20:
                self._ways[self._dice.integers(len(self._ways))](int(self._dice.integers(STABLE)))
                self.asked += 1
        except BaseException as error:
            self.error = error
            self._stop.set()

    def search(self, stable: int) -> None:
        hits = self._points.search(self._matrix[stable], 10, exact=bool(stable % 2))
        expect_whole(hits, 10)
        assert hits[0].id == stable, "the point that was asked with is not the nearest to itself"
        assert hits.plan is not None
        assert hits.plan.shards

    def search_many(self, stable: int) -> None:
        rows = [stable, (stable + 1) % STABLE, (stable + 7) % STABLE]
        for row, hits in zip(rows, self._points.search_many(self._matrix[rows], 5), strict=True):
            expect_whole(hits, 5)
            assert hits[0].id == row

    def filtered(self, stable: int) -> None:
        hits = self._points.search(self._matrix[stable], 4, where="stable = true and not (n = 9)")
        expect_whole(hits, 4)
        assert hits[0].id == stable
        assert self._points.count("stable = true") == STABLE

    def get(self, stable: int) -> None:
        """Volatile points below the half of them are replaced again and again, but always there."""
        hits = self._points.get([stable, STABLE + stable % (VOLATILE // 2)], with_vectors=True)
        assert [hit.id for hit in hits] == [stable, STABLE + stable % (VOLATILE // 2)]
        assert np.array_equal(hits[0].vector, self._matrix[stable])

    def scroll(self, _: int) -> None:
        ids = [hit.id for hit in self._points.scroll(batch=50)]
        assert len(set(ids)) == len(ids)
        assert set(range(STABLE + VOLATILE // 2)) <= set(ids)

    def count(self, _: int) -> None:
        assert self._points.count() >= STABLE + VOLATILE // 2
        assert self._points.info()["name"] == "points"


def write_on(points: Collection, clusters: Clusters, *, rounds: int, stop: Event) -> None:
    """Replace, change, add and delete volatile points; the first half of them is never deleted."""
    dice = np.random.default_rng(1)
    kept = np.arange(STABLE, STABLE + VOLATILE // 2)
    loose = np.arange(STABLE + VOLATILE // 2, STABLE + VOLATILE)
    for turn in range(rounds):
        if stop.is_set():
            return
        ids = np.concatenate((dice.permutation(kept)[:40], dice.permutation(loose)[:30])).tolist()
        points.add(ids=ids, vectors=clusters.draw(len(ids)), payload={"stable": False, "n": turn % 5})
        points.update(dice.permutation(kept)[:10].tolist(), {"turn": turn})
        points.delete(dice.permutation(loose)[:25].tolist())
        if turn % 5 == 0:
            points.delete(where=f"n = {turn % 5} and stable = false and id >= {int(loose[0])}")


@pytest.mark.parametrize(("shards", "copies"), [(1, 1), (4, 2)])
@pytest.mark.usefixtures("eager_threads")
def test_eight_readers_beside_a_writer_see_every_stable_point_once(tmp_path: Path, shards: int, copies: int) -> None:
    clusters = Clusters("cosine", seed=4, dimensions=DIMENSIONS)
    matrix = clusters.draw(STABLE)
    db, embedded = opened(tmp_path, limits=SMALL)
    points = db.collection("points", dimensions=DIMENSIONS, shards=shards, copies=copies)
    points.add(ids=list(range(STABLE)), vectors=matrix, payload={"stable": True, "n": 0})
    points.add(ids=list(range(STABLE, STABLE + VOLATILE)), vectors=clusters.draw(VOLATILE), payload={"stable": False, "n": 0})
    stop = Event()
    readers = [Reader(points, matrix, number, stop) for number in range(READERS)]
    try:
        write_on(points, clusters, rounds=40, stop=stop)
    finally:
        stop.set()
        for reader in readers:
            reader.thread.join()
    for reader in readers:
        if reader.error is not None:
            raise reader.error
    assert embedded.worker is not None
    assert not embedded.worker.failure
    settle(embedded)
    assert points.info()["segments"] > 0
    db.close()


@pytest.mark.usefixtures("eager_threads")
def test_many_threads_may_read_what_another_program_writes(tmp_path: Path) -> None:
    clusters = Clusters("cosine", seed=4, dimensions=DIMENSIONS)
    matrix = clusters.draw(STABLE)
    writer, _ = opened(tmp_path, limits=SMALL)
    written = writer.collection("points", dimensions=DIMENSIONS)
    written.add(ids=list(range(STABLE)), vectors=matrix, payload={"stable": True, "n": 0})
    written.add(ids=list(range(STABLE, STABLE + VOLATILE)), vectors=clusters.draw(VOLATILE), payload={"stable": False, "n": 0})
    reading, _ = opened(tmp_path, limits=SMALL, read_only=True)
    stop = Event()
    readers = [Reader(reading["points"], matrix, number, stop) for number in range(4)]
    try:
        write_on(written, clusters, rounds=25, stop=stop)
    finally:
        stop.set()
        for reader in readers:
            reader.thread.join()
    for reader in readers:
        if reader.error is not None:
            raise reader.error
    receipt = written.add(ids=["last"], vectors=matrix[:1], payload={"stable": False})
    assert reading["points"].count(after=receipt) == written.count()
    reading.close()
    writer.close()


# The moments between two steps of one change, held still


def near_one_place(points: Collection, query: NDArray[Any], k: int) -> None:
    for exact in (True, False):
        for hits in (points.search(query, k, exact=exact), points.search_many(query[None], k, exact=exact)[0]):
            ids = [hit.id for hit in hits]
            assert sorted(ids) == list(range(k)), (exact, ids)


def versions_near(place: NDArray[Any], version: int) -> NDArray[Any]:
    """Return 30 vectors close to `place`, each at a distance of its own."""
    steps = np.arange(30) + version
    if place.dtype == np.uint8:
        return np.packbits(np.unpackbits(place)[None] ^ (np.arange(8 * len(place)) < steps[:, None]), axis=1)
    return (place + 1e-3 * (1 + 2 * steps[:, None] - version) * np.eye(len(place))[version]).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "hamming"])
@pytest.mark.parametrize(("shards", "copies"), [(1, 1), (4, 2)])
def test_a_search_between_the_steps_of_a_replacement_finds_each_point_once_and_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, shards: int, copies: int
) -> None:
    """All 30 nearest points are replaced at once: for a moment both versions of each stand there, no two of them at one distance."""
    clusters = Clusters(metric, seed=8, dimensions=DIMENSIONS)  # type: ignore[arg-type]
    place = clusters.draw(1)[0]
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=clusters.dimensions, metric=metric, shards=shards, copies=copies)
    points.add(ids=list(range(30)), vectors=versions_near(place, 0))
    points.add(ids=list(range(1_000, 1_200)), vectors=clusters.draw(200))
    for state in ("growing", "sealed"):
        if state == "sealed":
            settle(embedded)
        met = []
        kill = Scatter.kill

        def search_first(scatter: Scatter, victims: list[Held], position: int, kill: Any = kill, met: list[int] = met) -> None:
            if victims:
                met.append(position)
                near_one_place(points, place, 30)
            kill(scatter, victims, position)

        with monkeypatch.context() as patch:
            patch.setattr(Scatter, "kill", search_first)
            points.add(ids=list(range(30)), vectors=versions_near(place, 1))
        assert met, state
        near_one_place(points, place, 30)
    db.close()


def test_a_search_while_points_are_being_added_sees_only_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index may hold rows whose other columns are still to come; here they would be the nearest by far."""
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=64, metric="dot")
    embedded.opened("points").held.engine.costs = Costs(exact_row_us=1_000.0)  # so that the index is asked
    dice = np.random.default_rng(0)
    points.add(ids=list(range(60)), vectors=dice.normal(size=(60, 64)))
    query = np.ones(64, dtype=np.float32)
    before = [hit.id for hit in points.search(query, 5)]
    append = GrowingVectors.append
    answers: list[list[Any]] = []

    def search_after(column: GrowingVectors, *parts: Any) -> None:
        append(column, *parts)
        answers.append([hit.id for hit in points.search(query, 5)])

    monkeypatch.setattr(GrowingVectors, "append", search_after)
    points.add(ids=list(range(100, 140)), vectors=np.linspace(100, 300, 40)[:, None] * query)
    assert answers == [before]
    assert [hit.id for hit in points.search(query, 5)] == [139, 138, 137, 136, 135]
    db.close()


def test_a_point_on_its_way_to_another_shard_is_never_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search visits one shard, a point moves from the other to this one, the search visits the other: it must look again."""
    clusters = Clusters("cosine", seed=6, dimensions=DIMENSIONS)
    matrix = clusters.draw(400)
    db, embedded = opened(tmp_path)
    points = db.collection("points", dimensions=DIMENSIONS, shards=4)
    points.add(ids=list(range(400)), vectors=matrix)
    settle(embedded)
    engine = embedded.opened("points").held.engine
    turned: RegionMap = engine.regions
    search = ShardEngine.search
    moved: list[int] = []

    def move_after_the_first_visit(shard: ShardEngine, *asked: Any) -> Any:
        found = search(shard, *asked)
        if not moved:
            moved.append(shard.number)
            held = embedded.opened("points").held
            turn = (engine.regions.shard_of + 1) % 4
            held.commit_map(
                type(turned)(
                    **{name: getattr(turned, name) for name in turned.__struct_fields__}
                    | {"shard_of": turn.astype(np.int32), "epoch": turned.epoch + 1}
                )
            )
        return found

    monkeypatch.setattr(ShardEngine, "search", move_after_the_first_visit)
    hits = points.search(matrix[0], 400, exact=True)
    assert moved
    assert sorted(hit.id for hit in hits) == list(range(400))
    db.close()


def test_a_point_that_is_replaced_while_it_is_looked_up_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that was found is dead by the time it is looked at, for another thread has written a newer one."""
    db, _ = opened(tmp_path)
    points = db.collection("points", dimensions=2)
    points.add(ids=["one"], vectors=[[1.0, 2.0]])
    find = Growing.find
    replaced: list[Thread] = []

    def replace_it_first(segment: Growing, *asked: Any) -> Any:
        rows = find(segment, *asked)
        if not replaced:
            replaced.append(Thread(target=points.update, args=("one", {"n": 2})))
            replaced[0].start()
            replaced[0].join()
        return rows

    monkeypatch.setattr(Growing, "find", replace_it_first)
    assert [hit.payload for hit in points.get("one")] == [{"n": 2}]
    db.close()


@pytest.mark.usefixtures("eager_threads")
def test_many_threads_may_filter_what_was_just_added(tmp_path: Path) -> None:
    """Columns of payloads are made when a filter first needs them: by one thread, though all ask at once."""
    db, _ = opened(tmp_path, limits=Limits(), idle_after_s=NEVER_S)
    points = db.collection("points", dimensions=2)
    rounds, most = 25, 200
    line = Barrier(READERS + 1)
    wrong: list[Any] = []

    def count() -> None:
        for turn in range(1, rounds + 1):
            line.wait()
            try:
                if (found := points.count(f"turn = {turn} and w = 'x'")) != most:
                    wrong.append(found)
            except Exception as error:
                wrong.append(error)
            line.wait()

    threads = [Thread(target=count) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for turn in range(1, rounds + 1):
        points.add(vectors=np.ones((most, 2)), payload=[{"turn": turn, "w": "x", "deep": {"s": [number]}} for number in range(most)])
        line.wait()
        line.wait()
    for thread in threads:
        thread.join()
    assert wrong == []
    db.close()


def test_origins_stay_with_their_points_when_several_are_changed_at_once(tmp_path: Path) -> None:
    for origin in ("north", "south"):
        db, _ = opened(tmp_path, origin=origin)
        db.collection("points", dimensions=2).add(ids=[origin], vectors=[[1.0, 2.0]])
        db.close()
    db, _ = opened(tmp_path, origin="east")
    points = db["points"]
    points.update(["north", "south"], {"seen": True})
    assert [hit.origin for hit in points.get(["north", "south"])] == ["north", "south"]
    assert {hit.id for hit in points.scroll("origin = 'north'")} == {"north"}
    db.close()
