"""A database in a dict, searched by brute force: the smallest Transport that keeps the contract of `model/operations`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import numpy as np

from paradox.errors import CollectionMissing, IdDuplicate, PointMissing, StoreClosed, VectorNotFinite
from paradox.model import operations as op
from paradox.model.filters import Compare, Filter
from paradox.model.points import Key, id_of
from paradox.model.queries import Answer, Answers, Coverage, Plan, Step
from paradox.model.schema import CollectionSpec, VectorSpec

NOW_US = 1_700_000_000_000_000


class FakeTransport:
    """Points in a dict; `sent` keeps what came in. `fail_after` refuses every AddPoints after so many."""

    def __init__(self, path: str | None = None) -> None:
        self.sent: list[op.Operation] = []
        self.closed = False
        self.fail_after: int | None = None
        self._path = path
        self._position = 0
        self._views: dict[str, op.CollectionView] = {}
        self._points: dict[str, dict[Key, dict[str, Any]]] = {}

    def close(self) -> None:
        self.closed = True

    def send(self, operation: op.Operation) -> Any:
        if self.closed:
            raise StoreClosed("the database was closed")
        self.sent.append(operation)
        match operation:
            case op.OpenCollection():
                return self._open(operation)
            case op.ListCollections():
                return sorted(self._views)
            case op.DropCollection(name=name):
                del self._views[name], self._points[name]
                return None
            case op.DescribeDatabase():
                return {"healthy": True, "path": self._path, "collections": len(self._views)}
            case op.VerifyDatabase():
                return {"healthy": True, "checked": 0, "bytes": 0, "damaged": []}
            case op.DescribeCollection(collection=name):
                return {"name": name, "points": len(self._points[name]), "position": self._position}
            case op.AddPoints():
                return self._add(operation)
            case op.UpdatePoints():
                return self._update(operation)
            case op.DeletePoints(collection=name, keys=keys, where=where):
                wanted = keys if keys is not None else self._matching(name, where)
                gone: list[Key] = [key for key in wanted if self._points[name].pop(key, None)]
                return self._receipt(gone)
            case op.GetPoints(collection=name, keys=keys, with_vectors=with_vectors, using=using):
                return self._answer(name, [key for key in keys if key in self._points[name]], with_vectors, using)
            case op.Ask():
                return self._ask(operation)
            case op.ExplainPlan():
                return plan()
            case op.CountPoints(collection=name, where=where):
                return len(self._matching(name, where))
            case op.ScrollPoints():
                return self._scroll(operation)

    def _open(self, operation: op.OpenCollection) -> op.CollectionView:
        if operation.name not in self._views:
            if not operation.create:
                raise CollectionMissing(f"there is no collection {operation.name!r}")
            metric = operation.wanted.get("metric", "cosine")
            named = operation.wanted.get("vectors") or {"vector": operation.wanted.get("dimensions", 3)}
            vectors = {name: VectorSpec(dimensions=dimensions, metric=metric) for name, dimensions in named.items()}
            self._views[operation.name] = op.CollectionView(name=operation.name, spec=CollectionSpec(vectors=vectors))
            self._points[operation.name] = {}
        return self._views[operation.name]

    def _receipt(self, keys: list[Key]) -> op.Receipt:
        self._position += 1
        return op.Receipt(ids=[id_of(key) for key in keys], position=self._position)

    def _add(self, operation: op.AddPoints) -> op.Receipt:
        if self.fail_after is not None:
            if self.fail_after == 0:
                raise StoreClosed("the power went out")
            self.fail_after -= 1
        spec = self._views[operation.collection].spec
        keys: list[Key] = operation.keys if operation.keys is not None else [uuid4().bytes for _ in range(operation.rows)]
        if len(set(keys)) < len(keys):
            raise IdDuplicate("an id is given twice")
        vectors = operation.vectors or {spec.main: _encoded(operation.texts or [], spec.vectors[spec.main].dimensions)}
        for matrix in vectors.values():
            if not np.isfinite(matrix).all():
                raise VectorNotFinite("a vector holds NaN or an infinity")
        for row, key in enumerate(keys):
            self._points[operation.collection][key] = {
                "vectors": {
                    name: matrix[row].copy()
                    for name, matrix in vectors.items()
                    if name not in operation.present or operation.present[name][row]
                },
                "payload": operation.payloads[row] if operation.payloads is not None else b"\x80",
                "at_us": int(operation.at_us[row]) if operation.at_us is not None else NOW_US,
                "modality": operation.modality[row] if operation.modality is not None else "vector",
            }
        return self._receipt(keys)

    def _update(self, operation: op.UpdatePoints) -> op.Receipt:
        points = self._points[operation.collection]
        for key, change in zip(operation.keys, operation.payloads, strict=True):
            if key not in points:
                raise PointMissing(f"no point has the id {id_of(key)!r}")
            merged = msgspec.msgpack.decode(points[key]["payload"]) | msgspec.msgpack.decode(change)
            points[key]["payload"] = msgspec.msgpack.encode({name: value for name, value in merged.items() if value is not None})
        return self._receipt(operation.keys)

    def _matching(self, name: str, where: Filter | None) -> list[Key]:
        points = self._points[name]
        if where is None:
            return list(points)
        assert isinstance(where, Compare)
        assert where.operator == "="
        return [key for key, point in points.items() if msgspec.msgpack.decode(point["payload"]).get(where.field) == where.value]

    def _answer(self, name: str, keys: list[Key], with_vectors: bool, using: str, scores: list[float] | None = None) -> Answer:
        points = [self._points[name][key] for key in keys]
        spec = self._views[name].spec
        absent = np.zeros(spec.vectors[using or spec.main].dimensions, dtype=np.float32)
        found = np.array(scores if scores is not None else [0.0] * len(keys), dtype=np.float32)
        return Answer(
            keys=keys,
            score=found,
            distance=1 - found,
            payloads=[point["payload"] for point in points],
            vectors=np.array([point["vectors"].get(using or spec.main, absent) for point in points]) if with_vectors else None,
            modality=[point["modality"] for point in points],
            at_us=[point["at_us"] for point in points],
            origin=["fake"] * len(keys),
        )

    def _ask(self, operation: op.Ask) -> Answers:
        question, name = operation.question, operation.collection
        using = question.using or self._views[name].spec.main
        if operation.like is not None:
            queries = np.array([self._points[name][operation.like]["vectors"][using]])
        elif question.vectors is not None:
            queries = question.vectors
        else:
            queries = _encoded(list(question.texts), self._views[name].spec.vectors[using].dimensions)
        keys = [key for key in self._matching(name, question.where) if using in self._points[name][key]["vectors"]]
        matrix = np.array([self._points[name][key]["vectors"][using] for key in keys]).reshape(len(keys), queries.shape[1])
        answers = []
        for query in queries:
            scores = (matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))).tolist()
            best = sorted(range(len(keys)), key=lambda row: (-scores[row], str(keys[row])))[: question.k]
            answers.append(self._answer(name, [keys[row] for row in best], question.with_vectors, using, [scores[row] for row in best]))
        return Answers(of=answers, position=self._position, coverage=Coverage(share=1.0, holders={"s0": "answered"}), trace=plan)

    def _scroll(self, operation: op.ScrollPoints) -> op.Scroll:
        keys = self._matching(operation.collection, operation.where)

        def pages() -> Iterator[Answer]:
            for start in range(0, len(keys), operation.batch):
                yield self._answer(operation.collection, keys[start : start + operation.batch], operation.with_vectors, operation.using)

        return op.Scroll(answers=pages(), total=len(keys), position=self._position)


def plan() -> Plan:
    return Plan(
        expected_recall=0.97,
        shards=("s0",),
        shards_total=1,
        regions=("r0",),
        regions_total=1,
        partitions_skipped=0,
        partitions_total=1,
        root=Step(what="scan"),
    )


def _encoded(texts: list[str], dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return vectors that depend on the letters alone."""
    return np.array([np.random.default_rng(list(text.encode())).standard_normal(dimensions) for text in texts], dtype=np.float32)


def uuid_of(number: int) -> UUID:
    return UUID(int=number)
