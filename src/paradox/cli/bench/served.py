"""Served: one server, and a cluster on this machine, asked and written to by processes of their own; beside the servers of others."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

import paradox
from paradox.cli.bench.bars import PEER_RECALL, PEERS_ABSENT, Bar, Reading, judge
from paradox.cli.bench.callers import Told, call
from paradox.cli.bench.contest import fill, tune
from paradox.cli.bench.corpus import Corpus, Tell, recall
from paradox.cli.bench.running import NODES, Started, clustered, serving
from paradox.cli.bench.server_peers import ALL_EFFORT, PARADOX, SERVER_PEERS, ParadoxClient
from paradox.cli.bench.subject import settle
from paradox.cli.bench.timing import Speed
from paradox.cli.bench.workload import payloads, shuffled_buckets
from paradox.errors import ParadoxError

CALLERS = 8
WRITERS = 3
BATCH = 500
FILL_POINTS = 5_000
KILL_S, KILL_AFTER_S, BACK_S = 20.0, 5.0, 60.0
"""How long reads go on around the death of a node, after how much of that it is killed, and how long it may take to be back."""
PROBE, PROBE_S = 1 << 40, 0.05
"""The id of a point that is written again and again while a node dies, and how long is waited between."""
WRITE_TIMEOUT_S = 60.0


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server of others reached."""

    name: str
    per_s: float
    p50_ms: float
    recall: float


class Served:
    """The corpus, and where servers keep what they are given."""

    def __init__(self, corpus: Corpus, folder: Path, *, duration_s: float, tell: Tell) -> None:
        self.corpus = corpus
        self.folder = folder
        self.duration_s = duration_s
        self.tell = tell
        self.pause_s = 0.0  # the longest that a write took while a node died
        self.questions = folder / "questions.npy"
        self.vectors = folder / "vectors.npy"
        np.save(self.questions, corpus.questions)
        np.save(self.vectors, np.asarray(corpus.vectors))

    def search(
        self, kind: str, target: str, *, effort: int = ALL_EFFORT, duration_s: float = 0.0, beside: Callable[[], None] | None = None
    ) -> Told:
        """Let CALLERS processes search a server. beside: what is done meanwhile."""
        return call(
            "searching",
            callers=CALLERS,
            duration_s=duration_s or self.duration_s,
            beside=beside,
            kind=kind,
            target=target,
            questions=str(self.questions),
            effort=effort,
            recall=PEER_RECALL,
        )

    def write(self, target: str, collection: str) -> Told:
        """Let WRITERS processes write to a server."""
        return call(
            "writing",
            callers=WRITERS,
            duration_s=self.duration_s,
            target=target,
            collection=collection,
            vectors=str(self.vectors),
            batch=BATCH,
            timeout_s=WRITE_TIMEOUT_S,
        )

    def fill(self, target: str, *, copies: int | None = None) -> float:
        """Put the corpus into a collection, wait until nothing is done in the background, and return its recall for one caller."""
        corpus = self.corpus
        buckets = shuffled_buckets(len(corpus))
        with paradox.connect(target, timeout_s=WRITE_TIMEOUT_S) as database:
            points = database.collection("points", dimensions=corpus.vectors.shape[1], copies=copies)
            for start in range(0, len(corpus), FILL_POINTS):
                stop = min(start + FILL_POINTS, len(corpus))
                fields = payloads(corpus, start, stop, buckets)
                points.add(ids=np.arange(start, stop), vectors=np.array(corpus.vectors[start:stop]), payload=fields)
            self.tell(f"  settled after {settle(database):.0f} s")
        client = ParadoxClient(target, recall=PEER_RECALL)
        return recall([client.search(question) for question in corpus.questions], corpus.truth, corpus.vectors, corpus.questions)


def served_readings(corpus: Corpus, cache: Path, tell: Tell, *, duration_s: float, peers: bool) -> Iterator[Reading]:
    """Yield what one server reaches, then a cluster. peers: measure the servers of others first."""
    with tempfile.TemporaryDirectory(dir=cache, prefix="served-") as folder:
        served = Served(corpus, Path(folder), duration_s=duration_s, tell=tell)
        others: list[Peer] = []
        for name in SERVER_PEERS if peers else ():
            yield from _measure_peer(served, name, others)
        yield from _measure_one_server(served, others)
        yield from _measure_cluster(served)


def _measure_peer(served: Served, name: str, reached: list[Peer]) -> Iterator[Reading]:
    """Measure one server of others as far as it can be had, and note what it reached."""
    peer = SERVER_PEERS[name]
    bar = Bar(f"peer.{name}.rate", "queries/s")
    if lacking := peer.missing():
        yield judge(bar, (None, f"{PEERS_ABSENT}: pip install {lacking}"))
        return
    served.tell(f"{name}: {len(served.corpus):,} points")
    folder = served.folder / name.replace(" ", "-")
    folder.mkdir()
    try:
        with peer.run(folder) as target:
            client = peer.client(target, recall=PEER_RECALL)
            _, searchable_s = fill(client, served.corpus)
            effort, sweep = tune(client, served.corpus)
            told = served.search(name, target, effort=effort)
    except (ParadoxError, OSError) as error:
        yield judge(bar, (None, str(error)))
        return
    speed, found = told.speed, sweep[-1][1]
    note = f"effort {effort}; {peer.client.settings}"  # type: ignore[attr-defined]
    yield judge(Bar(f"peer.{name}.searchable", "points/s"), len(served.corpus) / searchable_s)
    yield judge(Bar(f"peer.{name}.recall", "share"), found)
    yield judge(bar, (speed.per_s, f"{note}{_complaint(told)}"))
    yield judge(Bar(f"peer.{name}.p50", "ms"), (speed.p50_ms, f"p99 {speed.p99_ms:.1f} ms"))
    reached.append(Peer(name=name, per_s=speed.per_s, p50_ms=speed.p50_ms, recall=found))


def _measure_one_server(served: Served, others: Sequence[Peer]) -> Iterator[Reading]:
    served.tell(f"paradox serve: {len(served.corpus):,} points")
    with serving(served.folder / "one") as server:
        found = served.fill(server.address)
        told = served.search(PARADOX, server.address)
    speed = told.speed
    best = max((peer for peer in others if peer.recall >= PEER_RECALL), key=lambda peer: peer.per_s, default=None)
    yield judge(Bar("served.recall", "share", "at least", PEER_RECALL), found)
    yield judge(Bar("served.rate", "queries/s", "at least", 2_000.0), (speed.per_s, f"{CALLERS} processes{_complaint(told)}"))
    yield judge(Bar("served.p50", "ms", "at most", 4.0), (speed.p50_ms, f"p99 {speed.p99_ms:.1f} ms"))
    against = (speed.per_s / best.per_s, f"{best.name}: {best.per_s:,.0f}") if best else (None, PEERS_ABSENT)
    yield judge(Bar("served.times_best_peer", "ratio", "at least", 1.2), against)


def _measure_cluster(served: Served) -> Iterator[Reading]:
    served.tell(f"paradox up --nodes {NODES}: {len(served.corpus):,} points")
    with clustered(served.folder / "cluster") as cluster:
        yield from _measure_writes(served, cluster)
        found = served.fill(cluster.address, copies=2)
        quiet = served.search(PARADOX, cluster.address)
        yield judge(Bar("cluster.recall", "share", "at least", PEER_RECALL), found)
        yield judge(Bar("cluster.rate", "queries/s", "at least", 800.0), (quiet.speed.per_s, f"{CALLERS} processes{_complaint(quiet)}"))
        yield judge(Bar("cluster.p50", "ms"), (quiet.speed.p50_ms, f"p99 {quiet.speed.p99_ms:.1f} ms"))
        yield from _measure_kill(served, cluster, quiet.speed)


def _measure_writes(served: Served, cluster: Started) -> Iterator[Reading]:
    """Measure writing to new collections, by both ways to a cluster; each is dropped before the next."""
    with paradox.connect(cluster.address, timeout_s=WRITE_TIMEOUT_S) as database:
        for copies in (1, 2):
            for way, target in (("nats", cluster.log), ("gateway", cluster.address)):
                name = f"written-{copies}-{way}"
                database.collection(name, dimensions=served.corpus.vectors.shape[1], copies=copies)
                told = served.write(target, name)
                database.drop(name)
                bar = Bar(f"cluster.write.{way}.copies_{copies}", "points/s", "at least", 20_000.0)
                took = f"p50 {told.speed.p50_ms:.0f} ms, p99 {told.speed.p99_ms:.0f} ms"
                yield judge(bar, (told.points_per_s, f"{WRITERS} processes, batches of {BATCH}, fsync on; {took}{_complaint(told)}"))


def _measure_kill(served: Served, cluster: Started, quiet: Speed) -> Iterator[Reading]:
    """Kill each node in turn under reads, and see what readers notice and when a writer goes on."""
    failed, calls, p99_ms, longest_ms, pause_s = 0, 0, 0.0, 0.0, 0.0
    complaint = ""
    for victim in [one for one in cluster.programs if one.role == "node"]:
        served.tell(f"{victim.name} is killed")
        searching = served.search(PARADOX, cluster.address, duration_s=KILL_S, beside=partial(_kill, served, cluster, victim.name))
        failed, calls = failed + len(searching.failures), calls + searching.speed.calls
        p99_ms, longest_ms = max(p99_ms, searching.speed.p99_ms), max(longest_ms, float(searching.took_ms.max()))
        pause_s = max(pause_s, served.pause_s)
        complaint = complaint or _complaint(searching)
    yield judge(
        Bar("cluster.kill.failed", "reads", "at most", 0.0), (float(failed), f"of {calls:,}, each of {NODES} nodes killed{complaint}")
    )
    note = f"{p99_ms:.1f} ms in the {KILL_S:.0f} s around a death; quiet {quiet.p99_ms:.1f} ms; the longest {longest_ms:.0f} ms"
    yield judge(Bar("cluster.kill.p99_times_quiet", "ratio", "at most", 3.0), (p99_ms / quiet.p99_ms, note))
    yield judge(Bar("cluster.kill.writes_resume", "s", "at most", 8.0), (pause_s, "the longest that one add took meanwhile"))


def _kill(served: Served, cluster: Started, victim: str) -> None:
    """Kill a node while points are added one by one; note the longest pause, and return when all nodes are back."""
    before = cluster.listed()
    with paradox.connect(cluster.address, timeout_s=WRITE_TIMEOUT_S) as database:
        points = database["points"]
        began, killed, served.pause_s = time.perf_counter(), False, 0.0
        while (now := time.perf_counter()) < began + KILL_S:
            if not killed and now > began + KILL_AFTER_S:
                os.kill(before[victim].pid, signal.SIGKILL)
                killed = True
            points.add(ids=[PROBE], vectors=served.corpus.vectors[:1], payload=[{"text": "", "source": "", "bucket": 0}])
            served.pause_s = max(served.pause_s, time.perf_counter() - now)
            time.sleep(PROBE_S)
        until = time.perf_counter() + BACK_S
        while sum(node["state"] == "up" for node in database.status()["nodes"]) < NODES and time.perf_counter() < until:
            time.sleep(PROBE_S)
        settle(database)


def _complaint(told: Told) -> str:
    failures = told.failures
    return f"; {len(failures)} FAILED, such as {failures[0]}" if failures else ""
