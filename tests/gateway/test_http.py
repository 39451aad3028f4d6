"""The gateway over real HTTP: what people write in JSON, who may ask, how much, and what a client does when things go wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

import paradox
from paradox.errors import (
    AuthDenied,
    CollectionMissing,
    DeadlineExceeded,
    GatewayUnreachable,
    InvalidRequest,
    RequestUnreadable,
    StoreReadOnly,
    StoreUnreadable,
)
from paradox.gateway.app import Gateway
from paradox.gateway.routes import ROUTES
from paradox.model.operations import DescribeDatabase
from paradox.node.serve import HttpServer
from paradox.ports.transport import Transport
from paradox.wire.pack import pack, unpack
from served import ask, served

NAMES = ["the tide turns at noon", "rust never sleeps", "a gull on the pier"]


# As people write it


def test_a_memory_from_nothing_in_json(address: str) -> None:
    status, view, _ = ask(address, "PUT", "/v1/collections/notes", {"encoder": "text"})
    assert (status, view["name"]) == (200, "notes")
    payload = [{"n": number} for number in range(3)]
    status, receipt, _ = ask(address, "POST", "/v1/collections/notes/points", {"texts": NAMES, "payload": payload, "at": "2024-05-17"})
    assert status == 200
    assert [str(uuid.UUID(one)) for one in receipt["ids"]] == receipt["ids"]
    body = {"query": "when does the sea change?", "k": 2, "where": "n < 2", "after": receipt["position"]}
    status, found, _ = ask(address, "POST", "/v1/collections/notes/search", body)
    assert status == 200
    assert [hit["payload"]["text"] for hit in found["hits"]] == NAMES[:2]
    assert found["hits"][0]["at"] == "2024-05-17T00:00:00Z"
    assert found["coverage"] == {"share": 1.0, "holders": {"s0": "answered"}}
    status, got, _ = ask(address, "POST", "/v1/collections/notes/points/get", {"ids": receipt["ids"][:1]})
    assert [hit["payload"]["n"] for hit in got["hits"]] == [0]
    assert ask(address, "PATCH", "/v1/collections/notes/points", {"ids": receipt["ids"][:1], "payload": {"n": 9}})[0] == 200
    tree = {"type": "compare", "field": "n", "operator": ">=", "value": 2}
    assert ask(address, "POST", "/v1/collections/notes/count", {"where": tree})[1] == {"count": 2}
    status, many, _ = ask(address, "POST", "/v1/collections/notes/search/batch", {"queries": NAMES, "k": 1})
    assert [hits[0]["payload"]["text"] for hits in many["hits"]] == NAMES
    _, content, headers = ask(address, "POST", "/v1/collections/notes/scroll", {"batch": 2})
    assert headers["content-type"] == "application/x-ndjson"
    head, *pages = [json.loads(line) for line in content.splitlines()]
    assert head["total"] == 3
    assert [len(page["hits"]) for page in pages] == [2, 1, 0]
    assert [page["last"] for page in pages] == [False, False, True]
    assert ask(address, "POST", "/v1/collections/notes/explain", {"query": "sea"})[1]["sampled_recall"] == 1.0
    assert ask(address, "POST", "/v1/collections/notes/points/delete", {"where": "n = 9"})[1]["ids"] == receipt["ids"][:1]
    assert ask(address, "GET", "/v1/collections/notes")[1]["points"] == 2
    assert ask(address, "GET", "/v1/collections")[1] == {"collections": ["notes"]}
    assert "path" not in ask(address, "GET", "/v1/status")[1]
    assert ask(address, "POST", "/v1/verify")[1]["healthy"]
    assert ask(address, "DELETE", "/v1/collections/notes")[0] == 200
    assert ask(address, "GET", "/v1/collections/notes")[0] == 404


def test_points_may_be_given_one_by_one(address: str) -> None:
    ask(address, "PUT", "/v1/collections/films", {"vectors": {"title": 2, "image": 3}})
    points = [{"id": 1, "title": [1, 0], "payload": {"a": 1}}, {"id": "two", "title": [0, 1], "image": [1, 2, 3]}]
    assert ask(address, "POST", "/v1/collections/films/points", {"points": points})[1]["ids"] == [1, "two"]
    body = {"query": [1, 2, 3], "using": "image", "with_vectors": True, "plan": True}
    _, found, _ = ask(address, "POST", "/v1/collections/films/search", body)
    assert [(hit["id"], hit["vector"]) for hit in found["hits"]] == [("two", [1.0, 2.0, 3.0])]
    assert found["plan"]["shards"] == ["s0"]
    assert ask(address, "POST", "/v1/collections/films/search", {"like": "two", "using": "title"})[1]["hits"][0]["id"] == "two"


DEEP = b'{"where":' + b'{"type":"not","of":' * 5000 + b"1" + b"}" * 5001


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/collections/films/search", b"{", 400, "request.unreadable"),
        ("POST", "/v1/collections/films/search", {"query": [1, 0], "kk": 3}, 400, "request.unreadable"),
        ("POST", "/v1/collections/films/search", {"query": [1, 0], "where": {"type": "nothing"}}, 400, "request.unreadable"),
        (
            "POST",
            "/v1/collections/films/search",
            b'{"where":' + b'{"type":"not","of":' * 5000 + b"1" + b"}" * 5001,
            400,
            "request.unreadable",
        ),
        ("POST", "/v1/collections/films/search", {"query": [1, 0, 0]}, 400, "vector.dimensions"),
        ("POST", "/v1/collections/films/search", {"query": [1, 0], "k": 0}, 400, "k.range"),
        ("POST", "/v1/collections/films/search", {"query": [1, 0], "where": "a ="}, 400, "filter.syntax"),
        ("POST", "/v1/collections/nothing/search", {"query": [1, 0]}, 404, "collection.missing"),
        ("POST", "/v1/collections/..%2F..%2Fx/search", {"query": [1, 0]}, 400, "name.invalid"),
        ("PUT", "/v1/collections/films", {"dimensions": 3}, 409, "spec.conflict"),
        ("PUT", "/v1/collections/odd", {"encoder": "nobody"}, 400, "spec.invalid"),
        ("POST", "/v1/collections/films", {}, 404, "route.missing"),
        ("GET", "/v2/anything", None, 404, "route.missing"),
    ],
)
def test_what_cannot_be_done_is_a_problem(address: str, method: str, path: str, body: Any, status: int, code: str) -> None:
    ask(address, "PUT", "/v1/collections/films", {"vectors": {"title": 2, "image": 3}})
    said, problem, headers = ask(address, method, path, body)
    assert (said, problem.get("code"), problem.get("status")) == (status, code, status), problem
    assert headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    assert "/work" not in json.dumps(problem)
    assert "Traceback" not in json.dumps(problem)


def test_the_openapi_page_tells_every_route(address: str) -> None:
    status, page, _ = ask(address, "GET", "/openapi.json")
    assert status == 200
    assert page["openapi"] == "3.1.0"
    told = {(path, method) for path, methods in page["paths"].items() for method in methods}
    assert told == {(route.path, route.method.lower()) for route in ROUTES}
    search = page["components"]["schemas"]["SearchBody"]["properties"]
    assert search["k"] == {"type": "integer", "default": 10}


# The client


def test_all_verbs_of_the_client(address: str, tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    matrix = dice.normal(size=(300, 8)).astype(np.float32)
    with paradox.connect(address) as db:
        points = db.collection("points", dimensions=8, text=["t"])
        ids = [uuid.UUID(int=1), "two", *range(3, 301)]
        receipt = points.add(
            ids=ids, vectors=matrix, payload=[{"n": n, "t": "odd" if n % 2 else "even"} for n in range(300)], at=range(300)
        )
        assert receipt.ids == ids
        hits = points.search(matrix[0], 3, with_vectors=True, after=receipt)
        assert hits[0].id == ids[0]
        np.testing.assert_array_equal(hits[0].vector, matrix[0])
        assert hits[0].at.timestamp() == 0
        assert hits.plan is not None
        assert hits.plan.shards == ("s0",)
        assert points.search(matrix[0], 3, with_payload=False)[0].payload == {}
        assert [hit.payload["n"] for hit in points.search(matrix[7], 1, where=paradox.field("n") != 0, between=(7, 7))] == [7]
        assert len(points.search("odd", mode="text")) == 10
        many = points.search_many(matrix, 2, recall=0.99)
        assert [hits[0].id for hits in many] == ids
        assert many[4].plan is not None
        assert {hit.id for hit in points.scroll(batch=64)} == set(ids)
        assert points.explain(matrix[0]).sampled_recall == 1.0
        assert points.export(tmp_path / "rows.jsonl") == 300
        assert db.collection("copy", dimensions=8, text=["t"]).import_(tmp_path / "rows.jsonl") == 300
        assert db["copy"].count("t = 'odd'") == 150
        assert points.update(ids[:2], {"n": None, "t": "neither"}).ids == ids[:2]
        assert points.get(ids[1])[0].payload == {"t": "neither"}
        assert points.delete(where="t = 'even'").ids
        assert points.count() == points.info()["points"] == 151
        made = points.add(vectors=matrix[:2]).ids
        assert all(isinstance(one, uuid.UUID) for one in made)
        assert points.count() == 153
        assert db.status()["path"] == address
        db.drop("copy")
        assert "copy" not in db.collections()


def test_those_who_await(address: str) -> None:
    async def work() -> list[Any]:
        async with await paradox.connect_async(address) as db:
            points = await db.collection("awaited", dimensions=2)
            await points.add(ids=[1, 2], vectors=[[1, 0], [0, 1]])
            found = await asyncio.gather(*(points.search([1, 0], 1) for _ in range(20)))
            assert {hits[0].id for hits in found} == {1}
            return [hit.id async for hit in points.scroll()]

    assert asyncio.run(work()) == [1, 2]


def test_arrays_travel_as_they_are() -> None:
    for array in (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 5), np.uint8),
        np.array(["2020"], "M8[us]"),
        np.ones(70_000, bool),
    ):
        back = unpack(pack({"a": array}, "msgpack"), "msgpack", dict[str, Any])["a"]
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype


@pytest.mark.parametrize(
    "raw",
    [
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(9, b"x")}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, b"")}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(("|O", [1])) + bytes(8))}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(("<f4", [2**40])) + bytes(8))}),
        msgspec.msgpack.encode({"a": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(("no dtype", [1])) + bytes(8))}),
        b"\xc1",
        b"",
    ],
)
def test_bytes_that_are_no_body(raw: bytes) -> None:
    with pytest.raises(RequestUnreadable):
        unpack(raw, "msgpack", dict[str, Any])


# Who may ask


def test_without_the_key_nothing_is_told(database: Transport) -> None:
    with served(database, keys=["old", "new"]) as address:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic old"}):
            status, problem, told = ask(address, "GET", "/v1/collections", headers=headers)
            assert (status, problem["code"], told["www-authenticate"]) == (401, "auth.denied", "Bearer")
        assert ask(address, "GET", "/openapi.json")[0] == 401
        assert ask(address, "GET", "/healthz")[0] == 200
        for key in ("old", "new"):
            with paradox.connect(address, key=key) as db:
                db.collections()
        with pytest.raises(AuthDenied) as caught:
            paradox.connect(address, key="wrong")
        assert caught.value.exit_code == 3


def test_an_open_door_needs_a_key() -> None:
    with pytest.raises(InvalidRequest, match="can be reached from other machines"):
        HttpServer(host="0.0.0.0", port=0)
    with pytest.raises(GatewayUnreachable, match="cannot listen on"):
        HttpServer(host="192.0.2.1", port=0, keys=["k"])


def test_read_only_stays_so(address: str) -> None:
    with paradox.connect(address, read_only=True) as db:
        assert db.collections() is not None
        for work in (lambda: db.drop("films"), lambda: db.collection("made by a reader".replace(" ", "-"), dimensions=2)):
            with pytest.raises(StoreReadOnly):
                work()
        assert "made-by-a-reader" not in db.collections()


# How much at once


def test_who_comes_when_too_many_wait_is_told_to_come_back() -> None:
    """The database is held up, so that requests pile up; those turned away succeed when they come back."""
    hold, inside = threading.Event(), threading.Semaphore(0)

    class Slow:
        def send(self, operation: Any) -> Any:
            if isinstance(operation, DescribeDatabase):
                return {}
            inside.release()
            assert hold.wait(30)
            return []

        def close(self) -> None: ...

    gateway = Gateway(Slow(), threads=2, waiting_max=2)
    status: list[int] = []

    async def one() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
                if message["status"] == 429:
                    assert (b"retry-after", b"1") in message["headers"]

        await gateway({"type": "http", "method": "GET", "raw_path": b"/v1/collections", "headers": []}, receive, send)

    async def work() -> None:
        first = [asyncio.create_task(one()) for _ in range(2)]
        await asyncio.to_thread(inside.acquire)
        await asyncio.to_thread(inside.acquire)
        await one()
        assert status == [429]
        hold.set()
        await asyncio.gather(*first)
        await one()

    asyncio.run(work())
    gateway.close()
    assert status == [429, 200, 200, 200]


# When things go wrong


def test_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(GatewayUnreachable, match="does not answer: connection refused"):
            paradox.connect(address, timeout_s=0)
    with pytest.raises(StoreUnreadable) as caught:
        paradox.connect("localhost:6500")
    assert caught.value.hint == "for a server, give 'http://localhost:6500'"
    for address in ("http://", "http://host:port", "http://host:6500?a=b"):
        with pytest.raises(InvalidRequest, match="is no address of a gateway"):
            paradox.connect(address)
    with pytest.raises(InvalidRequest, match="a server says itself who writes"):
        paradox.connect("http://host:6500", origin="me")


def start(folder: Path, port: int = 0, **environment: str) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "paradox.cli", "serve", "--data", str(folder), "--port", str(port), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert server.stdout is not None
    return server, json.loads(server.stdout.readline())["address"]


def test_a_server_that_is_killed_and_started_again_is_found_by_its_clients(tmp_path: Path) -> None:
    """What was acknowledged is there, what was sent meanwhile is written once, and the client noticed nothing but a wait."""
    server, address = start(tmp_path / "memory")
    port = urlsplit(address).port
    assert port is not None
    with paradox.connect(address, timeout_s=60) as db:
        points = db.collection("points", dimensions=2)
        points.add(ids=range(100), vectors=np.ones((100, 2)))
        server.kill()
        server.wait()
        again: list[subprocess.Popen[str]] = []
        starter = threading.Thread(target=lambda: again.append(start(tmp_path / "memory", port)[0]))
        starter.start()
        made = points.add(vectors=np.ones((3, 2)))  # nobody answers yet
        starter.join()
        assert len(made.ids) == 3
        assert points.count() == 103
        again[0].send_signal(signal.SIGINT)
        assert again[0].wait(30) == 0
        assert again[0].stdout is not None
        again[0].stdout.close()
    assert server.stdout is not None
    server.stdout.close()


def test_the_command_asks_a_server(tmp_path: Path) -> None:
    server, address = start(tmp_path / "memory", PARADOX_KEY="secret")

    def paradox_(*words: str, key: str = "secret") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "paradox.cli", *words, "--url", address]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PARADOX_KEY": key}, timeout=60)

    try:
        assert paradox_("create", "notes", "--dimensions", "2").stdout == f"created notes in {address}\n"
        assert paradox_("add", "notes", "--vector", "[1, 0]", "--id", "a").returncode == 0
        assert paradox_("count", "notes").stdout == "1\n"
        assert json.loads(paradox_("search", "notes", "--vector", "[1, 0]", "--json").stdout)["hits"][0]["id"] == "a"
        denied = paradox_("count", "notes", key="wrong")
        assert (denied.returncode, "not one of this server's" in denied.stderr) == (3, True)
        assert "healthy: 1 point in 1 collection\n" in paradox_("status").stdout
        both = paradox_("count", "notes", "--data", "x")
        assert (both.returncode, "both --data and --url" in both.stderr) == (2, True)
    finally:
        server.terminate()
        assert server.wait(30) == 0
        assert server.stdout is not None
        server.stdout.close()


def test_what_is_no_gateway_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer() -> None:
            while True:
                try:
                    caller, _ = door.accept()
                except OSError:
                    return
                caller.recv(1000)
                caller.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nhi")
                caller.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(GatewayUnreachable, match="answered 404 Not Found"):
            paradox.connect(f"http://127.0.0.1:{door.getsockname()[1]}", timeout_s=0)
        door.shutdown(socket.SHUT_RDWR)


def test_https_to_a_server_without_it_is_said(address: str) -> None:
    with pytest.raises(GatewayUnreachable, match="does not speak https") as caught:
        paradox.connect(address.replace("http:", "https:"), timeout_s=0)
    assert caught.value.hint == f"if it serves without TLS, give {address}"


def test_each_client_reads_what_it_wrote_also_where_another_made_the_collection_anew(address: str) -> None:
    with paradox.connect(address) as one, paradox.connect(address) as other:
        notes = one.collection("sessions", dimensions=2)
        for number in range(5):
            notes.add(ids=[number], vectors=[[1, 0]])
        assert notes.count() == notes.count(consistency="strong") == other["sessions"].count(consistency="eventual") == 5
        other.drop("sessions")
        anew = other.collection("sessions", dimensions=2)
        anew.add(ids=[1], vectors=[[1, 0]])
        assert notes.count() == anew.count() == 1
        assert [hit.id for hit in notes.search([1, 0])] == [1]
        with pytest.raises(DeadlineExceeded):
            notes.count(after=100)
        other.drop("sessions")
    status, problem, _ = ask(address, "POST", "/v1/collections/x/count", {"consistency": "maybe"})
    assert (status, problem["code"]) == (400, "query.invalid")


def test_dropping_twice_says_so(address: str) -> None:
    with paradox.connect(address) as db:
        db.collection("short", dimensions=2)
        db.drop("short")
        with pytest.raises(CollectionMissing):
            db.drop("short")
