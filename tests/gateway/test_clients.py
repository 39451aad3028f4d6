"""What a client over HTTP does by itself: encodes with a function of its own, cuts what is large, waits without asking twice."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paradox
from paradox.client import intake
from paradox.errors import EncoderMismatch, GatewayUnreachable, LogCorrupt, LogUnavailable, QueryInvalid, StoreClosed
from paradox.model import operations as ops
from paradox.model.operations import Receipt
from paradox.model.schema import Limits
from paradox.node.embedded import open_folder
from paradox.node.serve import HttpServer
from paradox.ports.transport import Transport
from paradox.wire import http
from paradox.wire.pack import pack
from served import ask, served


def letters(texts: list[str]) -> Any:
    """Encode texts by how often they have each of eight letters."""
    return np.array([[text.count(letter) for letter in "aeiounrt"] for text in texts], dtype=np.float32)


def reversed_letters(texts: list[str]) -> Any:
    return letters(texts)[:, ::-1]


TEXTS = ["the tide turns at noon", "rust never sleeps", "a gull on the pier"]


def test_a_function_of_the_client_encodes_what_it_adds_and_asks(address: str, tmp_path: Path) -> None:
    with paradox.connect(address) as db, paradox.connect(tmp_path / "folder") as folder:
        over, here = (one.collection("own", encoder=letters, text=["text"]) for one in (db, folder))
        assert over.spec == here.spec
        for notes in (over, here):
            notes.add(TEXTS, ids=[1, 2, 3])
        for how in ({}, {"mode": "hybrid"}, {"mode": "text"}):
            found, wanted = (notes.search("the noon tide", **how) for notes in (over, here))
            assert [(hit.id, hit.modality, hit.payload) for hit in found] == [(hit.id, hit.modality, hit.payload) for hit in wanted]
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted])
            many = over.search_many(["the noon tide", "sleeps"], **how)
            assert [[hit.id for hit in hits] for hits in many] == [
                [hit.id for hit in hits] for hits in here.search_many(["the noon tide", "sleeps"], **how)
            ]
        assert over.explain("noon").sampled_recall == 1.0
        with paradox.connect(address) as other:
            with pytest.raises(EncoderMismatch):
                other.collection("own", encoder=reversed_letters)
            assert other.collection("own", encoder=letters).search(TEXTS[1], 1)[0].id == 2
            assert other["own"].search("rust", 1, mode="text")[0].id == 2
        with paradox.connect(address) as stranger, pytest.raises(paradox.ParadoxError, match="only its program has"):
            stranger["own"].search("rust")
        db.drop("own")


@pytest.mark.parametrize("encoder", [{"name": "x"}, {"name": "x", "dimensions": 0, "fingerprint": "y"}, {"name": 1}, {"a": 1}])
def test_what_describes_no_encoder_is_refused(address: str, encoder: Any) -> None:
    status, problem, _ = ask(address, "PUT", "/v1/collections/odd", {"encoder": encoder})
    assert (status, problem["code"]) == (400, "spec.invalid")


def test_plans_do_not_hold_up_an_event_loop(address: str) -> None:
    async def work() -> None:
        async with await paradox.connect_async(address) as db:
            points = await db.collection("planned", dimensions=2)
            await points.add(ids=[1, 2], vectors=[[1, 0], [0, 1]])
            hits = await points.search([1, 0])
            with pytest.raises(QueryInvalid, match="would hold up the event loop"):
                _ = hits.plan
            plan = await hits.fetch_plan()
            assert plan is not None
            assert hits.plan is plan
            many = await points.search_many([[1, 0], [0, 1]])
            assert await many[1].fetch_plan() is not None
            explained = await points.search([1, 0], explain=True)
            assert explained.plan is not None
            assert explained.plan.sampled_recall == 1.0
            await db.drop("planned")

    asyncio.run(work())


def test_those_who_await_a_folder_look_at_plans_as_they_are(tmp_path: Path) -> None:
    async def work() -> None:
        async with await paradox.connect_async(tmp_path / "memory") as db:
            points = await db.collection("planned", dimensions=2)
            await points.add(vectors=[[1, 0], [0, 1]])
            hits = await points.search([1, 0])
            assert hits.plan is not None
            assert await hits.fetch_plan() is hits.plan
            assert (await points.search([1, 0], explain=True)).plan is not None

    asyncio.run(work())


def test_a_large_add_is_cut_and_each_part_is_sent_once() -> None:
    view = ops.CollectionView(name="notes", spec=paradox_spec(64))
    limits = Limits(batch_bytes_max=10_000)
    payload = [{"text": "x" * (9_000 if number == 7 else 10)} for number in range(100)]
    parts = intake.additions(view, None, intake.Parts(ids=list(range(100)), vectors=np.ones((100, 64)), payload=payload), limits=limits)
    assert [key for part in parts for key in part.keys or ()] == list(range(100))
    sizes = [part.rows * 64 * 4 + sum(map(len, part.payloads or ())) for part in parts]
    assert max(sizes) <= 10_000
    assert len(parts) <= 2 + sum(sizes) // 10_000 * 2
    alone = intake.additions(
        view, None, intake.Parts(ids=[1, 2], vectors=np.ones((2, 64)), payload=payload[7:9]), limits=Limits(batch_bytes_max=100)
    )
    assert [part.rows for part in alone] == [1, 1]  # a point is not cut
    bad = np.ones((100, 64))
    bad[99] = np.nan
    with pytest.raises(paradox.ParadoxError, match="point 99"):
        intake.additions(view, None, intake.Parts(vectors=bad), limits=limits)


def paradox_spec(dimensions: int) -> Any:
    from paradox.model.schema import CollectionSpec, VectorSpec

    return CollectionSpec(vectors={"vector": VectorSpec(dimensions=dimensions)})


class Held:
    """A database that answers once it is told to, and one operation with an error of choice."""

    def __init__(self, database: Transport) -> None:
        self._database = database
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def send(self, operation: Any) -> Any:
        self.asked.append(type(operation).__name__)
        if isinstance(operation, ops.VerifyDatabase):
            self.begun.set()
            assert self.go_on.wait(30)
        if isinstance(operation, ops.DeletePoints) and self.failure is not None:
            raise self.failure
        return self._database.send(operation)

    def close(self) -> None:
        self.go_on.set()


def test_stopping_does_not_wait_for_what_takes_long(database: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.node.serve.STOP_S", 1)
    monkeypatch.setattr("paradox.gateway.app.LINGER_S", 0.1)
    held, ready = Held(database), threading.Event()
    server = HttpServer(host="127.0.0.1", port=0)
    running = threading.Thread(target=server.run, args=(held, ready.set))
    running.start()
    assert ready.wait(30)
    caller = threading.Thread(target=ask, args=(server.address, "POST", "/v1/verify"))
    caller.start()
    assert held.begun.wait(30)
    server.stop()
    running.join(20)
    assert not running.is_alive()
    caller.join(20)
    assert not caller.is_alive()
    held.close()


def test_a_verify_ends_with_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_folder(str(tmp_path / "memory"), read_only=False, origin="", timeout_s=0)
    database.send(ops.OpenCollection(name="p", wanted={"dimensions": 2}, create=True))
    add = ops.AddPoints(collection="p", rows=1, vectors={"vector": np.ones((1, 2), dtype=np.float32)})
    for _ in range(3):
        database.send(add)
    read = []

    def closing(body: Any) -> None:
        read.append(body)
        database.close()

    monkeypatch.setattr("paradox.node.status.decode", closing)
    with pytest.raises(StoreClosed):
        database.send(ops.VerifyDatabase())
    assert len(read) == 1


@contextmanager
def stalling(reply: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve the first request as a gateway does; of each later one begin the reply and never end it. Gives the address, and requests."""
    seen: list[bytes] = []
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve(caller: socket.socket) -> None:
            with caller:
                while line := caller.recv(1 << 20):
                    seen.append(line)
                    whole = len(seen) == 1
                    caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(reply) if whole else 1_000_000) + reply)
                    if not whole:
                        ended.wait(30)

        def listen() -> None:
            while not ended.is_set():
                try:
                    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}", seen
        ended.set()


def test_a_reply_that_stalls_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with stalling(pack({"collections": []}, "msgpack")) as (address, seen), paradox.connect(address, timeout_s=5) as db:
        monkeypatch.setattr(http.HttpTransport._request, "__kwdefaults__", {"reply_s": 0.2})
        with pytest.raises(GatewayUnreachable):
            db.drop("notes")
        assert len([one for one in seen if one.startswith(b"DELETE")]) == 1


def test_a_write_of_which_nobody_knows_is_not_done_again(database: Transport) -> None:
    """A failure after which the write may be there is told again; one after which it is not lets it be done."""
    held = Held(database)
    named = {"Idempotency-Key": "one"}
    with served(held) as address:
        ask(address, "PUT", "/v1/collections/named", {"dimensions": 2})
        ask(address, "POST", "/v1/collections/named/points", {"ids": [1], "vectors": [[1, 0]]})
        held.failure = LogUnavailable("no majority answers", hint="")
        for _ in range(2):
            status, problem, _ = ask(address, "POST", "/v1/collections/named/points/delete", {"ids": [1]}, named)
            assert (status, problem["code"]) == (503, "log.unavailable")
        assert held.asked.count("DeletePoints") == 1
        held.failure = paradox.StoreFull("the disk is full", hint="")
        named["Idempotency-Key"] = "another"
        assert ask(address, "POST", "/v1/collections/named/points/delete", {"ids": [1]}, named)[0] == 507
        held.failure = None
        status, receipt, _ = ask(address, "POST", "/v1/collections/named/points/delete", {"ids": [1]}, named)
        assert (status, receipt["ids"]) == (200, [1])
        ask(address, "DELETE", "/v1/collections/named")


def test_a_damaged_log_is_a_problem_of_the_store_and_no_bug(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    with paradox.connect(folder) as db:
        points = db.collection("p", dimensions=2)
        for number in range(10):
            points.add(ids=[number], vectors=[[1, 0]])
    file = next(folder.glob("collections/p/log/*.log"))
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    database = open_folder(str(folder), read_only=False, origin="", timeout_s=0)
    with served(database) as address, paradox.connect(address) as db:
        status, problem, headers = ask(address, "POST", "/v1/collections/p/count", {})
        assert (status, problem["code"], problem.get("retryable", False)) == (503, "log.corrupt", False)
        assert "Retry-After" not in headers
        with pytest.raises(LogCorrupt, match="sound entries follow it"):
            db["p"].count()
        assert db.collections() == ["p"]
        assert "damaged" in db.status()["sentence"]
    database.close()


def test_receipts_of_parts_are_one() -> None:
    joined = intake.joined_receipt([Receipt(ids=[1], position=4), Receipt(ids=[2], position=5)])
    assert (joined.ids, joined.position) == ([1, 2], 5)
