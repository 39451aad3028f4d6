"""Peers: other embedded vector databases behind one small Protocol, each with the index that its makers recommend.

Every peer stores what Paradox stores (vector, text, source, bucket, with an index on bucket) and returns the payloads of what it finds.
Graphs have 16 links a point. A peer that can quantise its graph to 8 bits is there twice. How hard a peer searches, its effort, is
tuned by `contest.py` on the very questions that are measured.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from paradox.cli.bench.corpus import NEIGHBOURS
from paradox.errors import ExtraMissing
from paradox.model.points import Matrix, Vector

LINKS = 16
Payloads = Sequence[Mapping[str, Any]]


class Peer(Protocol):
    """A vector database in this process. Points have the ids 0, 1, 2, …, and vectors are of unit length."""

    @property
    def settings(self) -> str:
        """How the index is built."""
        ...

    @property
    def batch(self) -> int:
        """How many points it takes at once."""
        ...

    def open(self, folder: Path, dimensions: int) -> None:
        """Create an empty collection in `folder`."""
        ...

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add, or replace, points with the ids from `start` on."""
        ...

    def finish(self) -> None:
        """Flush, and build the indexes, so that the next search is fast."""
        ...

    def set_effort(self, effort: int) -> None:
        """Set how many candidates the next searches look at."""
        ...

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the NEIGHBOURS nearest points; only those whose bucket is smaller than `below`, when given."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class Batches(Protocol):
    """A peer that takes many questions in one call."""

    def search_batch(self, vectors: Matrix) -> list[list[int]]:
        """Return the ids of the NEIGHBOURS nearest points of each question."""
        ...


class Zvec:
    """Alibaba's zvec: HNSW, memory-mapped."""

    batch = 1000

    def __init__(self, *, quantised: bool) -> None:
        import zvec

        self._library = zvec
        self._quantised = quantised
        self.settings = f"HNSW, {LINKS} links, 200 candidates at build{', 8-bit' if quantised else ''}; inverted index on bucket"
        zvec.init(log_level=zvec.LogLevel.ERROR)

    def open(self, folder: Path, dimensions: int) -> None:
        """Create an empty collection in `folder`."""
        zvec = self._library
        quantiser = {"quantize_type": zvec.QuantizeType.INT8} if self._quantised else {}
        graph = zvec.HnswIndexParam(metric_type=zvec.MetricType.IP, m=LINKS, ef_construction=200, **quantiser)
        ranges = zvec.InvertIndexParam(enable_range_optimization=True)
        schema = zvec.CollectionSchema(
            name="points",
            fields=[
                zvec.FieldSchema("text", zvec.DataType.STRING),
                zvec.FieldSchema("source", zvec.DataType.STRING),
                zvec.FieldSchema("bucket", zvec.DataType.INT64, index_param=ranges),
            ],
            vectors=[zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, dimensions, index_param=graph)],
        )
        self._collection = zvec.create_and_open(str(folder / "points"), schema)

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add, or replace, points with the ids from `start` on."""
        make = self._library.Doc
        rows = zip(range(start, start + len(vectors)), vectors, payloads, strict=True)
        points = [make(id=str(id), vectors={"vector": vector}, fields=dict(fields)) for id, vector, fields in rows]
        answers = self._collection.upsert(points)
        refused = next((answer for answer in answers if not answer.ok()), None)
        if refused is not None:
            raise RuntimeError(f"zvec refused a point: {refused}")

    def finish(self) -> None:
        """Flush and build the graph."""
        self._collection.flush()
        self._collection.optimize()

    def set_effort(self, effort: int) -> None:
        """Set `ef`."""
        self._parameters = self._library.HnswQueryParam(ef=effort)

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        query = self._library.Query("vector", vector=vector, param=self._parameters)
        where = None if below is None else f"bucket < {below}"
        found = self._collection.query(query, topk=NEIGHBOURS, filter=where, output_fields=["text", "source", "bucket"])
        return [int(each.id) for each in found]

    def close(self) -> None:
        """Let go of the files."""
        self._collection.close()


class QdrantEdge:
    """Qdrant's engine as a library: HNSW with payload indexes; searches with the library's own thread pool."""

    batch = 1000

    def __init__(self, *, quantised: bool) -> None:
        import qdrant_edge

        self._library = qdrant_edge
        self._quantised = quantised
        codes = ", 8-bit with rescoring" if quantised else ""
        self.settings = f"HNSW, {LINKS} links, 100 candidates at build{codes}; integer index on bucket"

    def open(self, folder: Path, dimensions: int) -> None:
        """Create an empty shard in `folder`."""
        edge = self._library
        place = folder / "points"
        place.mkdir()
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=dimensions, distance=edge.Distance.Dot),
            hnsw_config=edge.HnswIndexConfig(m=LINKS, ef_construct=100, full_scan_threshold=1000),
            quantization_config=edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=0.99) if self._quantised else None,
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1000),
        )
        self._shard = edge.EdgeShard.create(str(place), config)
        self._shard.update(edge.UpdateOperation.create_field_index("bucket", edge.PayloadSchemaType.Integer))

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add, or replace, points with the ids from `start` on."""
        make = self._library.Point
        rows = zip(range(start, start + len(vectors)), vectors.tolist(), payloads, strict=True)
        self._shard.update(self._library.UpdateOperation.upsert_points([make(id, vector, dict(fields)) for id, vector, fields in rows]))

    def finish(self) -> None:
        """Flush and build the graph."""
        self._shard.flush()
        self._shard.optimize()

    def set_effort(self, effort: int) -> None:
        """Set `ef`."""
        self._parameters = self._library.SearchParams(hnsw_ef=effort)

    def _request(self, vector: Vector, below: int | None) -> Any:
        edge = self._library
        condition = None if below is None else edge.Filter(must=[edge.FieldCondition("bucket", range=edge.RangeFloat(lt=below))])
        nearest = edge.Query.Nearest(vector.tolist())
        return edge.QueryRequest(limit=NEIGHBOURS, query=nearest, with_payload=True, params=self._parameters, filter=condition)

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        return [each.id for each in self._shard.query(self._request(vector, below))]

    def search_batch(self, vectors: Matrix) -> list[list[int]]:
        """Return the ids of the nearest points of each question."""
        batch = self._library.QueryBatchRequest([self._request(vector, None) for vector in vectors])
        return [[each.id for each in found] for found in self._shard.query_batch(batch)]

    def close(self) -> None:
        """Let go of the files."""
        self._shard.close()


class Lance:
    """LanceDB: columns on disk under one HNSW graph of 8-bit codes; what it finds is rescored from the columns."""

    batch = 10_000
    settings = f"IVF_HNSW_SQ, 1 partition, {LINKS} links, 150 candidates at build, twice the candidates rescored; B-tree on bucket"
    _rescored = 2

    def __init__(self) -> None:
        import lancedb
        import pyarrow

        self._library = lancedb
        self._arrow = pyarrow

    def open(self, folder: Path, dimensions: int) -> None:
        """Create an empty table in `folder`."""
        arrow = self._arrow
        vector = arrow.list_(arrow.float32(), dimensions)
        self._schema = arrow.schema(
            [("id", arrow.int64()), ("vector", vector), ("text", arrow.string()), ("source", arrow.string()), ("bucket", arrow.int64())]
        )
        self._table = self._library.connect(str(folder)).create_table("points", schema=self._schema)
        self._indexed = False

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add points, or replace them once the index is there, with the ids from `start` on."""
        arrow = self._arrow
        columns = {
            "id": arrow.array(range(start, start + len(vectors))),
            "vector": arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.ravel()), vectors.shape[1]),
            **{name: [fields[name] for fields in payloads] for name in ("text", "source", "bucket")},
        }
        rows = arrow.table(columns, schema=self._schema)
        if self._indexed:
            self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        else:
            self._table.add(rows)

    def finish(self) -> None:
        """Build the indexes."""
        from lancedb.index import BTree, HnswSq

        self._table.create_index("vector", config=HnswSq(distance_type="dot", num_partitions=1, m=LINKS, ef_construction=150))
        self._table.create_index("bucket", config=BTree())
        self._table.create_index("id", config=BTree())
        self._indexed = True

    def set_effort(self, effort: int) -> None:
        """Set `ef`, which must not be smaller than the number of rescored candidates."""
        self._effort = max(effort, NEIGHBOURS * self._rescored)

    def _asked(self, asked: Any) -> Any:
        search = self._table.search(asked, vector_column_name="vector").limit(NEIGHBOURS)
        search = search.select(["id", "text", "source", "bucket", "_distance"])
        return search.nprobes(1).ef(self._effort).refine_factor(self._rescored)

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        search = self._asked(vector)
        if below is not None:
            search = search.where(f"bucket < {below}", prefilter=True)
        return [row["id"] for row in search.to_list()]

    def search_batch(self, vectors: Matrix) -> list[list[int]]:
        """Return the ids of the nearest points of each question."""
        found: list[list[int]] = [[] for _ in vectors]
        for row in self._asked(vectors).to_list():
            found[row["query_index"]].append(row["id"])
        return found

    def close(self) -> None:
        """Let go of the table."""
        del self._table


class Chroma:
    """Chroma in this process: HNSW beside SQLite."""

    batch = 5000
    settings = f"HNSW, {LINKS} links, 100 candidates at build"

    def __init__(self) -> None:
        import chromadb
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings

        self._library = chromadb
        self._shared = SharedSystemClient
        self._options = Settings(anonymized_telemetry=False)

    def _connect(self) -> Any:
        return self._library.PersistentClient(str(self._folder), settings=self._options)

    def open(self, folder: Path, dimensions: int) -> None:
        """Create an empty collection in `folder`."""
        self._folder = folder / "points"
        graph = {"space": "ip", "ef_construction": 100, "max_neighbors": LINKS, "batch_size": 1000, "sync_threshold": 20_000}
        self._collection = self._connect().create_collection("points", configuration={"hnsw": graph}, embedding_function=None)

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add, or replace, points with the ids from `start` on."""
        ids = [str(id) for id in range(start, start + len(vectors))]
        self._collection.upsert(ids=ids, embeddings=vectors, metadatas=[dict(fields) for fields in payloads])

    def finish(self) -> None:
        """Do nothing: Chroma builds its graph as points come."""
        return

    def set_effort(self, effort: int) -> None:
        """Set `ef`. It takes effect when the collection is opened anew, so that is done."""
        self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
        self._shared.clear_system_cache()
        self._collection = self._connect().get_collection("points", embedding_function=None)

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        where = None if below is None else {"bucket": {"$lt": below}}
        found = self._collection.query(query_embeddings=vector[None], n_results=NEIGHBOURS, where=where, include=["metadatas", "distances"])
        return [int(id) for id in found["ids"][0]]

    def search_batch(self, vectors: Matrix) -> list[list[int]]:
        """Return the ids of the nearest points of each question."""
        found = self._collection.query(query_embeddings=vectors, n_results=NEIGHBOURS, include=["metadatas", "distances"])
        return [[int(id) for id in ids] for ids in found["ids"]]

    def close(self) -> None:
        """Let go of the client."""
        self._shared.clear_system_cache()


PEERS: Mapping[str, tuple[str, str, Callable[[], Peer]]] = {
    "zvec": ("zvec", "zvec", lambda: Zvec(quantised=False)),
    "zvec, 8-bit": ("zvec", "zvec", lambda: Zvec(quantised=True)),
    "qdrant-edge": ("qdrant_edge", "qdrant-edge-py", lambda: QdrantEdge(quantised=False)),
    "qdrant-edge, 8-bit": ("qdrant_edge", "qdrant-edge-py", lambda: QdrantEdge(quantised=True)),
    "lancedb": ("lancedb", "lancedb", Lance),
    "chroma": ("chromadb", "chromadb", Chroma),
}
"""Name → (module, distribution, maker)."""


def is_installed(name: str) -> bool:
    """Return whether a peer's library is there, without importing it."""
    return importlib.util.find_spec(PEERS[name][0]) is not None


def release(name: str) -> str:
    """Return the installed version of a peer."""
    return version(PEERS[name][1])


def make(name: str) -> Peer:
    """Return a peer that is not yet open. Raises ExtraMissing."""
    if not is_installed(name):
        raise ExtraMissing(f"{name} is not installed", hint="pip install 'paradox-memory[bench]'")
    return PEERS[name][2]()
