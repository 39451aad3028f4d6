"""Connecting: which words name a database, and what is said of those that do not."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import paradox
from client.fake import FakeTransport
from paradox import errors


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `open_folder` was asked to open."""
    calls: list[dict[str, Any]] = []

    def open_folder(path: str | None, *, read_only: bool, origin: str, timeout_s: float) -> FakeTransport:
        calls.append({"path": path, "read_only": read_only, "origin": origin, "timeout_s": timeout_s})
        return FakeTransport()

    module = ModuleType("paradox.node.embedded")
    module.open_folder = open_folder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "paradox.node.embedded", module)
    return calls


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("./memory", "memory"),
        ("memory", "memory"),
        (Path("some") / "memory", str(Path("some") / "memory")),
        ("file:memory", "memory"),
        ("file:/srv/my%20memory", "/srv/my memory"),
        ("file:///srv/memory", "/srv/memory"),
        ("file://localhost/srv/memory", "/srv/memory"),
        ("FILE:memory", "memory"),
        (":memory:", None),
        ("./a:b", "a:b"),
        ("~/memory", str(Path.home() / "memory")),
    ],
)
def test_a_folder_is_named_by_a_path_or_a_file_url(opened: list[dict[str, Any]], target: Any, path: str | None) -> None:
    with paradox.connect(target):
        assert opened == [{"path": path, "read_only": False, "origin": "", "timeout_s": 5.0}]


def test_what_else_is_said_reaches_the_folder(opened: list[dict[str, Any]]) -> None:
    paradox.connect("m", origin="robot-7", timeout_s=0, read_only=True)
    assert opened == [{"path": "m", "read_only": True, "origin": "robot-7", "timeout_s": 0.0}]


def test_the_awaiting_face_opens_the_same(opened: list[dict[str, Any]]) -> None:
    async def story() -> None:
        async with await paradox.connect_async(":memory:", origin="robot-7") as database:
            assert isinstance(database, paradox.AsyncDatabase)
            assert await database.collections() == []

    asyncio.run(story())
    assert opened == [{"path": None, "read_only": False, "origin": "robot-7", "timeout_s": 5.0}]


REFUSED: list[tuple[Any, dict[str, Any], str, str]] = [
    ("", {}, "store.unreadable", "'' names no database"),
    ("  ", {}, "store.unreadable", "'  ' names no database"),
    ("a\0b", {}, "store.unreadable", "'a\\x00b' names no database"),
    (None, {}, "store.unreadable", "a target of type NoneType names no database"),
    (b"memory", {}, "store.unreadable", "a target of type bytes names no database"),
    ("file:", {}, "store.unreadable", "'' names no database"),
    ("file://server/memory", {}, "store.unreadable", "the folder is on another host, 'server'"),
    ("redis://localhost", {}, "store.unreadable", "the scheme 'redis' is unknown"),
    ("memory:", {}, "store.unreadable", "the scheme 'memory' is unknown"),
    ("localhost:6500", {}, "store.unreadable", "the scheme 'localhost' is unknown"),
    ("http://localhost:6500", {"origin": "o"}, "request.invalid", "a server says itself who writes through it"),
    ("HTTPS://:6500", {}, "request.invalid", "'HTTPS://:6500' is no address of a gateway"),
    ("nats://127.0.0.1:1", {"timeout_s": 0.2}, "log.unavailable", "no log server answers at nats://127.0.0.1:1: no answer in time"),
    ("nats://localhost", {"key": "secret"}, "request.invalid", "log servers take no key of ours"),
    ("m", {"hub": "http://hub:6500"}, "feature.missing", "hub= and interest= are not available in this version"),
    ("m", {"interest": ["maps"]}, "feature.missing", "hub= and interest= are not available in this version"),
    ("m", {"key": "secret"}, "request.invalid", "a folder takes no key; keys are for servers"),
    ("m", {"origin": 7}, "request.invalid", "origin is of type int; expected a name"),
    ("m", {"timeout_s": -1}, "k.range", "timeout_s=-1; expected seconds, 0 or more"),
    ("m", {"timeout_s": float("nan")}, "k.range", "timeout_s=nan; expected seconds, 0 or more"),
]


@pytest.mark.parametrize(("target", "words", "code", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_what_names_no_database_is_told_with_what_does(
    opened: list[dict[str, Any]], target: Any, words: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(errors.ParadoxError) as caught:
        paradox.connect(target, **words)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert caught.value.hint
    assert opened == []


def test_every_public_name_can_be_reached() -> None:
    for name in paradox.__all__:
        assert getattr(paradox, name) is not None
    assert set(paradox.__all__) <= set(dir(paradox))
    assert {name for name in vars(errors) if not name.startswith("_") and isinstance(getattr(errors, name), type)} - {"ClassVar"} <= set(
        paradox.__all__
    )


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'federate'"):
        _ = paradox.federate
