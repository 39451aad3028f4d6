"""The face for callers that await. The other face, `sync`, is made from this file by `tools/generate_sync.py`.

A verb builds one operation, sends it and reads the reply; what is more than that lives in `intake`, `questions`, `hits` and `transfer`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike

from paradox.client import intake, transfer
from paradox.client.hits import Hit, Hits, found_points, hits_of, rows_of
from paradox.client.intake import Parts
from paradox.client.questions import LIMITS, Terms, Where, level_of, position_of, question_of, questions_of, using_of
from paradox.client.transfer import Export, Import, Progress
from paradox.model import operations
from paradox.model.filter_syntax import as_filter
from paradox.model.operations import CollectionView, Receipt
from paradox.model.points import Id
from paradox.model.queries import Consistency, Mode, Plan
from paradox.model.schema import CollectionSpec, Metric
from paradox.model.topology import number_of
from paradox.ports.encode import Encoder
from paradox.ports.transport import AsyncTransport
from paradox.wire.inprocess import aside


class AsyncDatabase:
    """An open database. Close it, or use it as a context manager. Thread-safe."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def collection(
        self,
        name: str,
        *,
        dimensions: int | None = None,
        encoder: str | Encoder | Callable[[list[str]], ArrayLike] | None = None,
        vectors: Mapping[str, Any] | None = None,
        metric: Metric | None = None,
        shards: int | None = None,
        copies: int | None = None,
        replicas: int | None = None,
        time_bucket: str | None = None,
        text: Sequence[str] | None = None,
        conflicts: str | None = None,
    ) -> AsyncCollection:
        """Open a collection, or create it.

        A new one needs `dimensions`, an `encoder` ("text", an Encoder, or a function from texts to vectors) or named `vectors`
        ({"title": 384, "image": 512}). metric: "cosine" (default), "dot", "euclidean" or "hamming". text: payload fields to search as
        full text. time_bucket: "day", "month", "year" or "decade". shards: parts that it is cut into. copies: regions, on different
        shards, that hold each point. replicas: nodes of a cluster that hold each shard. For one that exists, what is given must agree
        with what it is. Raises SpecInvalid, SpecConflict, EncoderMismatch, NameInvalid, FeatureMissing.
        """
        given = {
            "dimensions": dimensions,
            "encoder": encoder,
            "vectors": vectors,
            "metric": metric,
            "shards": shards,
            "copies": copies,
            "replicas": replicas,
            "time_bucket": time_bucket,
            "text": text,
            "conflicts": conflicts,
        }
        return await self._open(name, {field: value for field, value in given.items() if value is not None}, create=True)

    async def __getitem__(self, name: str) -> AsyncCollection:
        """Open a collection that exists. Raises CollectionMissing."""
        return await self._open(name, {}, create=False)

    async def _open(self, name: str, wanted: dict[str, Any], *, create: bool) -> AsyncCollection:
        view = await self._transport.send(operations.OpenCollection(name=name, wanted=wanted, create=create))
        return AsyncCollection(self._transport, view)

    async def collections(self) -> list[str]:
        """Return the names of all collections, sorted."""
        names: list[str] = await self._transport.send(operations.ListCollections())
        return names

    async def drop(self, name: str) -> None:
        """Delete a collection with all its points. Raises CollectionMissing."""
        await self._transport.send(operations.DropCollection(name=name))

    async def status(self) -> dict[str, Any]:
        """Return how the database is, in plain values: healthy, sentence, path, writer, collections, and more."""
        status: dict[str, Any] = await self._transport.send(operations.DescribeDatabase())
        return status

    async def verify(self) -> dict[str, Any]:
        """Read every stored byte against its checksum. Return healthy, checked (files), bytes, damaged (file and reason each)."""
        report: dict[str, Any] = await self._transport.send(operations.VerifyDatabase())
        return report

    async def close(self) -> None:
        """Let go of the database. Safe to call twice; any other call then raises StoreClosed."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()


class AsyncCollection:
    """Points of one latent space. Made by `AsyncDatabase.collection`. Thread-safe."""

    def __init__(self, transport: AsyncTransport, view: CollectionView) -> None:
        self._transport = transport
        self._view = view

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._view.name

    @property
    def spec(self) -> CollectionSpec:
        """What the collection is: its vectors, metric, shards, and so on."""
        return self._view.spec

    def __repr__(self) -> str:
        vectors = ", ".join(f"{name}: {vector.dimensions} {vector.metric}" for name, vector in self.spec.vectors.items())
        return f"AsyncCollection({self.name!r}, {vectors})"

    async def add(
        self,
        texts_or_points: Any = None,
        *,
        ids: Any = None,
        vectors: ArrayLike | Mapping[str, Any] | None = None,
        payload: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        modality: str | Sequence[str] | None = None,
        at: Any = None,
    ) -> Receipt:
        """Add points, or replace those with the same ids. Returns when they are durable.

        texts_or_points: texts (encoded here), dicts with id, vector, text, payload, modality, at; or a pandas, Polars or PyArrow frame,
        whose other columns become payload. vectors: (n, d), nested lists, one vector for one point, or these by name. ids: str, int, UUID;
        made when left out. payload: a dict for all points, or one a point. at: event times (datetime, date, ISO 8601, seconds since 1970,
        datetime64), default now. More than 16,384 points, or 64 MiB, are stored in several steps, after all of them were checked.
        Raises an InvalidRequest that names the point; then nothing was added. StoreReadOnly, StoreFull, LogUnavailable.
        """
        parts = Parts(ids=ids, vectors=vectors, payload=payload, modality=modality, at=at)
        additions = await aside(intake.additions, self._view, texts_or_points, parts)
        receipts = [await self._transport.send(operation) for operation in additions]
        return intake.joined_receipt(receipts)

    async def update(self, ids: Id | Sequence[Id], payload: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Receipt:
        """Set payload fields of points, leaving their vectors and other fields alone; None removes a field.

        payload: one dict for all ids, or one an id. Raises PointMissing, PayloadInvalid, PayloadTooLarge.
        """
        receipt: Receipt = await self._transport.send(intake.update(self.name, ids, payload))
        return receipt

    async def get(
        self,
        ids: Id | Sequence[Id],
        *,
        with_vectors: bool = False,
        using: str | None = None,
        after: Receipt | int | None = None,
        consistency: Consistency | None = None,
    ) -> Hits:
        """Return the points that exist among `ids`, in the order asked. Their score and distance mean nothing."""
        operation = operations.GetPoints(
            collection=self.name,
            keys=intake.keys_given(ids),
            with_vectors=with_vectors,
            using=using_of(self._view, using),
            after=position_of(after),
            consistency=level_of(consistency),
        )
        return found_points(await self._transport.send(operation))

    async def search(
        self,
        query: str | ArrayLike | None = None,
        k: int = 10,
        *,
        like: Id | None = None,
        where: Where = None,
        modality: str | None = None,
        between: tuple[Any, Any] | None = None,
        using: str | None = None,
        mode: Mode = "vector",
        recall: float = 0.95,
        exact: bool = False,
        after: Receipt | int | None = None,
        consistency: Consistency | None = None,
        with_payload: bool = True,
        with_vectors: bool = False,
        within_s: float | None = None,
        explain: bool = False,
    ) -> Hits:
        """Return the k points nearest to a text or a vector (d,), nearest first; ties by id.

        like: ask with a stored point. where: a filter, as text or built with `field`. between: event times (start, end), both included.
        using: one of several named vectors. mode: "vector", "text" (full text) or "hybrid". recall: the share of the true nearest that the
        search is planned for; exact=True looks at all. after: a receipt whose writes must be seen. consistency: "session" sees what was
        written through this connection, "strong" all that was acknowledged to anybody, "eventual" waits for nothing. within_s: answer in
        this time with what was found. explain: measure the recall of this very search into `.plan`.
        Raises QueryInvalid, VectorDimensions, VectorNotFinite, FilterSyntax, FilterField, NumberRange, PointMissing, DeadlineExceeded.
        """
        terms = Terms(
            k=k,
            like=like,
            where=where,
            modality=modality,
            between=between,
            using=using,
            mode=mode,
            recall=recall,
            exact=exact,
            after=after,
            consistency=consistency,
            with_payload=with_payload,
            with_vectors=with_vectors,
            within_s=within_s,
            explain=explain,
        )
        question, key = question_of(self._view, query, terms)
        return hits_of(await self._transport.send(operations.Ask(collection=self.name, question=question, like=key)))

    async def search_many(
        self,
        queries: Sequence[str] | ArrayLike,
        k: int = 10,
        *,
        where: Where = None,
        modality: str | None = None,
        between: tuple[Any, Any] | None = None,
        using: str | None = None,
        mode: Mode = "vector",
        recall: float = 0.95,
        exact: bool = False,
        after: Receipt | int | None = None,
        consistency: Consistency | None = None,
        with_payload: bool = True,
        with_vectors: bool = False,
        within_s: float | None = None,
    ) -> list[Hits]:
        """Search for each of many texts, or of vectors (q, d), at once: faster than one by one. Arguments and errors as for `search`."""
        terms = Terms(
            k=k,
            where=where,
            modality=modality,
            between=between,
            using=using,
            mode=mode,
            recall=recall,
            exact=exact,
            after=after,
            consistency=consistency,
            with_payload=with_payload,
            with_vectors=with_vectors,
            within_s=within_s,
        )
        question = questions_of(self._view, queries, terms)
        if question is None:
            return []
        answers = await self._transport.send(operations.Ask(collection=self.name, question=question))
        return [hits_of(answers, number) for number in range(len(answers.of))]

    async def explain(
        self,
        query: str | ArrayLike | None = None,
        *,
        k: int = 10,
        like: Id | None = None,
        where: Where = None,
        modality: str | None = None,
        between: tuple[Any, Any] | None = None,
        using: str | None = None,
        mode: Mode = "vector",
        recall: float = 0.95,
        exact: bool = False,
        after: Receipt | int | None = None,
        consistency: Consistency | None = None,
    ) -> Plan:
        """Run a search both as planned and exactly, and return its plan with what was estimated beside what happened."""
        terms = Terms(
            k=k,
            like=like,
            where=where,
            modality=modality,
            between=between,
            using=using,
            mode=mode,
            recall=recall,
            exact=exact,
            after=after,
            consistency=consistency,
            explain=True,
        )
        question, key = question_of(self._view, query, terms)
        plan: Plan = await self._transport.send(operations.ExplainPlan(collection=self.name, question=question, like=key))
        return plan

    async def delete(self, ids: Id | Sequence[Id] | None = None, where: Where = None) -> Receipt:
        """Delete points by id or by filter; one of them is required. The receipt names what was there and is gone."""
        receipt: Receipt = await self._transport.send(intake.deletion(self.name, ids, as_filter(where, LIMITS)))
        return receipt

    async def count(self, where: Where = None, *, after: Receipt | int | None = None, consistency: Consistency | None = None) -> int:
        """Return how many points there are, or how many match a filter."""
        operation = operations.CountPoints(
            collection=self.name,
            where=as_filter(where, LIMITS),
            after=position_of(after),
            consistency=level_of(consistency),
        )
        count: int = await self._transport.send(operation)
        return count

    def scroll(
        self,
        where: Where = None,
        batch: int = 1000,
        *,
        with_vectors: bool = False,
        using: str | None = None,
        after: Receipt | int | None = None,
        consistency: Consistency | None = None,
    ) -> AsyncIterator[Hit]:
        """Yield every point of one consistent view, one by one, whatever is written meanwhile. batch: points fetched at a time."""
        operation = operations.ScrollPoints(
            collection=self.name,
            where=as_filter(where, LIMITS),
            batch=intake.batch_of(batch),
            with_vectors=with_vectors,
            using=using_of(self._view, using),
            after=position_of(after),
            consistency=level_of(consistency),
        )
        return (hit async for page in self._pages(operation) for hit in page)

    async def _pages(self, operation: operations.ScrollPoints) -> AsyncIterator[list[Hit]]:
        scroll = await self._transport.send(operation)
        async for answer in scroll.answers:
            yield rows_of(answer)

    async def import_(
        self,
        source: Any,
        *,
        batch: int = transfer.BATCH_POINTS,
        resume: bool = True,
        progress: Progress | None = None,
    ) -> int:
        """Add all points of a file (.parquet, .arrow, .jsonl, .npy, .npz) or a frame, and return how many there are in it.

        Columns: id, vector (or one a named vector), text, payload, modality, at; all others become payload. An import that was interrupted
        goes on where it ended, unless `resume` is False. progress: called with (done, total or None); without it, a terminal shows a bar.
        Raises Missing, ExtraMissing, and an InvalidRequest that names file and place; what comes before that is kept.
        """
        store = await self._store()
        reading = await aside(Import, source, self._view, batch=batch, resume=resume, progress=progress, store=store)
        with reading:
            if reading.last is not None and not await self.get(reading.last):
                reading.restart()
            while additions := await aside(reading.operations):
                for operation in additions:
                    await aside(reading.acknowledge, await self._transport.send(operation))
        return reading.done

    async def export(self, path: str | os.PathLike[str], *, where: Where = None, progress: Progress | None = None) -> int:
        """Write all points, or those that match a filter, to a file (.parquet, .arrow, .jsonl, .npy, .npz), and return how many.

        `import_` reads the file back exactly: ids, vectors, payloads, modalities and times (.npy: vectors alone). The file appears when it
        is whole; an export that was interrupted goes on where it ended, if nothing was written to the collection since.
        Raises InvalidRequest, ExtraMissing, StoreFull, StoreUnreadable.
        """
        store = await self._store()
        tree = as_filter(where, LIMITS)
        with Export(path, self._view, where=tree, progress=progress) as export:
            operation = operations.ScrollPoints(
                collection=self.name,
                where=tree,
                batch=transfer.EXPORT_BATCH_POINTS,
                with_vectors=True,
                using=self.spec.main,
            )
            scroll = await self._transport.send(operation)
            await aside(export.begin, scroll, store)
            async for answer in scroll.answers:
                others = {}
                for name in list(self.spec.vectors)[1:]:
                    get = operations.GetPoints(collection=self.name, keys=answer.keys, with_vectors=True, using=name)
                    others[name] = await self._transport.send(get)
                await aside(export.write, answer, others)
            return await aside(export.finish)

    async def split(self, region: str | int) -> dict[str, Any]:
        """Cut a region in two now, rather than when it is crowded. Return what became of it: region, points, into, epoch.

        region: a name as in `hits.plan.regions`, such as "r3". Raises Missing, and InvalidRequest for one that holds too few points.
        """
        operation = operations.SplitRegion(collection=self.name, region=number_of(region, "r"))
        told: dict[str, Any] = await self._transport.send(operation)
        return told

    async def move(self, shard: str | int, node: str) -> dict[str, Any]:
        """Place a shard on another node of the cluster, for good. Return shard, node, before and exchanged.

        A node that has its full share gives one of its shards in exchange. Returns when it is placed; the points follow while everything
        goes on, see `info`. shard: such as "s3". Raises InvalidRequest when the shards would not be spread evenly any more.
        """
        operation = operations.MoveShard(collection=self.name, shard=number_of(shard, "s"), node=node)
        told: dict[str, Any] = await self._transport.send(operation)
        return told

    async def info(self) -> dict[str, Any]:
        """Return what is known of the collection, in plain values: spec, points, position, segments, regions, bytes, fields, and more."""
        info: dict[str, Any] = await self._transport.send(operations.DescribeCollection(collection=self.name))
        return info

    async def _store(self) -> str | None:
        """Return what names this database among others, None when nothing outlives it."""
        path = (await self._transport.send(operations.DescribeDatabase())).get("path")
        return None if path in (None, "", ":memory:") else path if "://" in path else str(Path(path).absolute())
