"""A writer's life as a list of deeds, and the plain dict that a database must agree with after any of them.

A deed is made of a number: its vectors and payloads follow from `tag`, so that a program that was killed need not have told them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from paradox.client.sync import Collection, Database
from paradox.model.schema import Limits, Metric
from paradox.node.embedded import EmbeddedDatabase

NAME, ASIDE = "lives", "aside"
UNIVERSE = 400
KINDS = 7
WORDS = ("tide", "moon", "rust", "sleep", "harbour", "noon", "iron", "wave")
DEEDS_MAX = 400


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a life is lived in: the collection, how small its segments are, and how many threads write."""

    dimensions: int = 8
    metric: Metric = "cosine"
    named: bool = False
    shards: int = 1
    copies: int = 1
    text: bool = False
    threads: int = 1
    probes: bool = False
    batch_max: int = 60
    idle_after_s: float = 0.002
    limits: Limits = Limits(
        growing_points_max=150, region_points_max=60, region_points_min=12, segment_points_max=4000, log_file_bytes_max=20_000
    )

    @property
    def vectors(self) -> dict[str, int]:
        """The vectors of a point, by name, with their lengths."""
        return {"shape": self.dimensions, "colour": self.dimensions + 3} if self.named else {"vector": self.dimensions}

    def open(self, folder: Path, *, read_only: bool = False, origin: str = "") -> Database:
        limits, idle_after_s = self.limits, self.idle_after_s
        return Database(EmbeddedDatabase(folder, read_only=read_only, origin=origin, limits=limits, idle_after_s=idle_after_s))

    def collection(self, database: Database, name: str = NAME) -> Collection:
        return database.collection(
            name,
            vectors=self.vectors,
            metric=self.metric,
            shards=self.shards,
            copies=self.copies,
            text=["words"] if self.text else None,
        )


class Point(msgspec.Struct, frozen=True):
    """What must come back of a point."""

    vectors: dict[str, tuple[float, ...]]
    payload: dict[str, Any]
    origin: str


Points = dict[int | str, Point]


class Deed(msgspec.Struct, frozen=True):
    """One call of a writer, who calls itself `origin`."""

    verb: Literal["add", "update", "delete", "delete_where", "make", "drop"]
    ids: list[int | str]
    tag: int
    origin: str = ""


class World(msgspec.Struct):
    """All that was acknowledged: the points of the collection, and those of the one that comes and goes (None = it is not there)."""

    points: Points
    aside: Points | None = None


def id_of(number: int) -> int | str:
    return f"p{number}" if number % 3 == 0 else number


def number_of(name: int | str) -> int:
    return int(name.removeprefix("p")) if isinstance(name, str) else name


def matrices(shape: Shape, rows: int, tag: int) -> dict[str, NDArray[np.float32]]:
    dice = np.random.default_rng(tag)
    return {name: dice.normal(size=(rows, length)).astype(np.float32) for name, length in shape.vectors.items()}


def payload_of(name: int | str, tag: int) -> dict[str, Any]:
    dice = random.Random(f"{name} {tag}")
    return {"kind": number_of(name) % KINDS, "tag": tag, "words": " ".join(dice.choices(WORDS, k=dice.randrange(6)))}


def change_of(tag: int) -> dict[str, Any]:
    """Return the fields that an update sets; None removes one."""
    return {"changed": tag, "words": None} if tag % 4 == 0 else {"changed": tag, "kind": tag % KINDS}


def next_deed(
    dice: random.Random, there: Sequence[int | str], shape: Shape, *, share: int = 0, alone: bool = True, origin: str = ""
) -> Deed:
    """Return what a writer does next. share: which of the ids are this thread's. alone: nobody else writes."""
    verb = dice.choices(["add", "one", "update", "delete", "where", "aside"], [8, 6, 4, 3, 1 if alone else 0, 0.5 if alone else 0])[0]
    tag = dice.randrange(1 << 32)
    if verb in ("update", "delete") and there:
        return Deed(
            "update" if verb == "update" else "delete", dice.sample(there, min(len(there), dice.choice((1, 1, 5, 20)))), tag, origin
        )
    if verb == "where" and there:
        return Deed("delete_where", [], dice.randrange(KINDS), origin)
    if verb == "aside":
        return Deed(dice.choice(("make", "drop")), [], tag, origin)
    count = 1 if verb == "one" else dice.randint(1, shape.batch_max)
    mine = range(share, UNIVERSE, shape.threads)
    return Deed("add", [id_of(number) for number in dice.sample(mine, min(count, len(mine)))], tag, origin)


def perform(database: Database, collection: Collection, shape: Shape, deed: Deed) -> list[int | str]:
    """Do it, and return the ids that the receipt names."""
    match deed.verb:
        case "add":
            vectors = matrices(shape, len(deed.ids), deed.tag)
            payload = [payload_of(name, deed.tag) for name in deed.ids]
            return collection.add(ids=deed.ids, vectors=vectors if shape.named else vectors["vector"], payload=payload).ids  # type: ignore[return-value]
        case "update":
            return collection.update(deed.ids, change_of(deed.tag)).ids  # type: ignore[return-value]
        case "delete":
            return collection.delete(deed.ids).ids  # type: ignore[return-value]
        case "delete_where":
            return collection.delete(where=f"kind = {deed.tag}").ids  # type: ignore[return-value]
        case "make":
            aside = shape.collection(database, ASIDE)
            return perform(database, aside, shape, Deed("add", [1, 2, "p3"], deed.tag))
        case "drop":
            if ASIDE in database.collections():
                database.drop(ASIDE)
            return []


def after(world: World, shape: Shape, deed: Deed) -> World:
    """Return the world once a deed is done."""
    points = dict(world.points)
    match deed.verb:
        case "add":
            points.update(added(shape, deed))
        case "update":
            for name in deed.ids:
                payload = points[name].payload | change_of(deed.tag)
                kept = {field: value for field, value in payload.items() if value is not None}
                points[name] = Point(points[name].vectors, kept, points[name].origin)
        case "delete":
            for name in deed.ids:
                points.pop(name, None)
        case "delete_where":
            points = {name: point for name, point in points.items() if point.payload.get("kind") != deed.tag}
        case "make":
            return World(points, (world.aside or {}) | added(shape, Deed("add", [1, 2, "p3"], deed.tag, deed.origin)))
        case "drop":
            return World(points, None)
    return World(points, world.aside)


def added(shape: Shape, deed: Deed) -> Points:
    vectors = matrices(shape, len(deed.ids), deed.tag)
    rows = [{key: tuple(matrix[row].tolist()) for key, matrix in vectors.items()} for row in range(len(deed.ids))]
    return {name: Point(row, payload_of(name, deed.tag), deed.origin) for name, row in zip(deed.ids, rows, strict=True)}


def found(shape: Shape, collection: Collection) -> Points:
    """Return every point of a collection, vectors and all."""
    first, *others = shape.vectors
    points: Points = {}
    for hit in collection.scroll(with_vectors=True, using=first if shape.named else None):
        assert hit.id not in points, f"point {hit.id!r} is there twice"
        assert hit.vector is not None
        points[hit.id] = Point({first: tuple(hit.vector.tolist())}, hit.payload, hit.origin)  # type: ignore[index]
    for other in others:
        for hit in collection.scroll(with_vectors=True, using=other):
            assert hit.vector is not None
            points[hit.id].vectors[other] = tuple(hit.vector.tolist())  # type: ignore[index]
    return points


def world_in(shape: Shape, database: Database) -> World:
    """Return all that a database holds."""
    names = database.collections()
    points = found(shape, database[NAME]) if NAME in names else {}
    return World(points, found(shape, database[ASIDE]) if ASIDE in names else None)


def expect_agreement(shape: Shape, database: Database, world: World, dice: random.Random) -> None:
    """Every way of asking gives the same answer as the dict, and every file is sound."""
    collection, points = database[NAME], world.points
    assert collection.count() == len(points)
    kind = dice.randrange(KINDS)
    alike = {name for name, point in points.items() if point.payload.get("kind") == kind}
    if any("kind" in point.payload for point in points.values()):
        assert collection.count(where=f"kind = {kind}") == len(alike)
    ids = [id_of(number) for number in range(UNIVERSE)]
    assert {hit.id: hit.payload for hit in collection.get(ids)} == {name: point.payload for name, point in points.items()}
    expect_nearest(shape, collection, points, dice)
    if shape.text and points:
        expect_words(collection, points, dice.choice(WORDS))
    status = database.status()
    assert status["healthy"], status["sentence"]
    report = database.verify()
    assert report["healthy"], report["damaged"]


def expect_nearest(shape: Shape, collection: Collection, points: Points, dice: random.Random) -> None:
    for using, length in shape.vectors.items():
        query = np.random.default_rng(dice.randrange(1 << 32)).normal(size=length).astype(np.float32)
        names = list(points)
        true: dict[int | str, float] = {}
        if names:
            true = dict(zip(names, scores(np.array([points[name].vectors[using] for name in names]), query, shape).tolist(), strict=True))
        best = sorted(names, key=lambda name: -true[name])[:10]
        chosen = using if shape.named else None
        exact = [hit.id for hit in collection.search(query, k=10, exact=True, using=chosen)]
        assert len(set(exact)) == len(best)
        # two that are equally near but for rounding may stand either way round
        assert [true[name] for name in exact] == pytest.approx([true[name] for name in best], abs=1e-5)  # type: ignore[index]
        quick = collection.search(query, k=10, using=chosen)
        assert len(quick) == len(best)
        assert all(points[hit.id].payload == hit.payload for hit in quick)  # type: ignore[index]
        if best:
            assert collection.search(like=best[0], k=1, exact=True, using=chosen, recall=1.0)[0].id == best[0] or shape.metric == "dot"


def scores(matrix: NDArray[Any], query: NDArray[Any], shape: Shape) -> NDArray[Any]:
    if shape.metric == "euclidean":
        return -np.linalg.norm(matrix - query, axis=1)
    product = matrix @ query
    return product if shape.metric == "dot" else product / np.linalg.norm(matrix, axis=1)


def expect_words(collection: Collection, points: Points, word: str) -> None:
    wanted = {name for name, point in points.items() if word in point.payload.get("words", "").split()}
    assert {hit.id for hit in collection.search(word, k=UNIVERSE, mode="text")} == wanted


def settled_with(shape: Shape, world: World, present: World, in_flight: Sequence[Deed]) -> World:
    """Return what is there, after checking it: all that was acknowledged, and each deed in flight wholly or not at all."""
    points, aside = dict(world.points), [world.aside]
    for deed in in_flight:
        done = after(World(points, world.aside), shape, deed)
        aside.append(done.aside)
        if deed.verb == "make" and world.aside is None:
            aside.append({})  # a collection is made first, and filled then
        touched = {name for name in points.keys() | done.points.keys() if points.get(name) is not done.points.get(name)}
        if {name: present.points.get(name) for name in touched} != {name: points.get(name) for name in touched}:
            points = done.points
    missing = points.keys() - present.points.keys()
    assert not missing, f"{len(missing)} acknowledged points are gone, such as {min(missing, key=str)!r}"
    more = present.points.keys() - points.keys()
    assert not more, f"{len(more)} points are there that were deleted or never added, such as {min(more, key=str)!r}"
    changed = [name for name, point in points.items() if present.points[name] != point]
    assert not changed, f"{len(changed)} points differ, such as {changed[0]!r}: {present.points[changed[0]]} is not {points[changed[0]]}"
    assert any(present.aside == possible for possible in aside), "the other collection is not what it was made to be"
    return present
