"""Connect: from a path or a URL to a database."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from paradox.errors import FeatureMissing, InvalidRequest, NumberRange, StoreUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paradox.client.aio import AsyncDatabase
    from paradox.client.sync import Database
    from paradox.ports.transport import Transport

IN_MEMORY = ":memory:"
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two characters or more, since C: is a drive
SERVED, CLUSTERED = ("http", "https"), ("nats",)
ACCEPTED = "give a folder ('./memory'), 'http://host:6500', 'nats://host:4222', a file: URL or ':memory:'"


def connect(
    target: str | os.PathLike[str],
    *,
    key: str | None = None,
    hub: str | None = None,
    interest: Sequence[str] | None = None,
    origin: str | None = None,
    timeout_s: float = 5.0,
    read_only: bool = False,
) -> Database:
    """Open a database.

    target: a folder (made when missing), a `file:` URL, the http(s): URL of a gateway, the nats: URLs of a cluster's log servers with
    commas between, or ":memory:" for one that is gone when it is closed. key: what the gateway asks for. origin: who writes, kept with
    every point; a server has its own. timeout_s: how long to wait for another process that writes to the folder to let go of it, and how
    long to try to reach a server. read_only: open beside a process that writes. hub and interest belong to edges.
    Raises StoreUnreadable, StoreLocked, FormatTooNew, LogCorrupt, GatewayUnreachable, AuthDenied, LogUnavailable, NodesUnreachable,
    ExtraMissing, FeatureMissing, InvalidRequest.
    """
    from paradox.client.session import Session
    from paradox.client.sync import Database

    place = _place(target, key=key, hub=hub, interest=interest, origin=origin)
    return Database(Session(_open(place, key=key, origin=origin, timeout_s=timeout_s, read_only=read_only)))


async def connect_async(
    target: str | os.PathLike[str],
    *,
    key: str | None = None,
    hub: str | None = None,
    interest: Sequence[str] | None = None,
    origin: str | None = None,
    timeout_s: float = 5.0,
    read_only: bool = False,
) -> AsyncDatabase:
    """Open a database for callers that await. Arguments and errors as for `connect`."""
    from paradox.client.aio import AsyncDatabase
    from paradox.client.session import Session
    from paradox.wire.inprocess import Offloaded, aside

    place = _place(target, key=key, hub=hub, interest=interest, origin=origin)
    transport = await aside(_open, place, key=key, origin=origin, timeout_s=timeout_s, read_only=read_only)
    return AsyncDatabase(Offloaded(Session(transport)))


def _open(place: str | None, *, key: str | None, origin: object, timeout_s: object, read_only: bool) -> Transport:
    if origin is not None and not isinstance(origin, str):
        raise InvalidRequest(f"origin is of type {type(origin).__name__}; expected a name", hint="give origin='robot-7'")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s >= 0:
        raise NumberRange(f"timeout_s={timeout_s!r:.80}; expected seconds, 0 or more", hint="give timeout_s=5.0")
    if place is not None and _scheme_of(place) in CLUSTERED:
        from paradox.node.encoding import Encoding
        from paradox.node.roles import connect_cluster

        return Encoding(connect_cluster(tuple(place.split(",")), timeout_s=float(timeout_s), read_only=read_only))
    if place is not None and _scheme_of(place) in SERVED:
        from paradox.node.encoding import Encoding
        from paradox.wire.http import HttpTransport

        return Encoding(HttpTransport(place, key=key, timeout_s=float(timeout_s), read_only=read_only))
    from paradox.node.embedded import open_folder

    return open_folder(place, read_only=read_only, origin=origin or "", timeout_s=float(timeout_s))


def _scheme_of(place: str) -> str:
    scheme = SCHEME.match(place)
    return "" if scheme is None else scheme[1].lower()


def _place(
    target: str | os.PathLike[str], *, key: str | None, hub: str | None, interest: Sequence[str] | None, origin: object
) -> str | None:
    """Return the folder or the URL that `target` names, None for memory. Raises StoreUnreadable, FeatureMissing, InvalidRequest."""
    if hub is not None or interest is not None:
        raise FeatureMissing("hub= and interest= are not available in this version", hint="leave them out: this database works on its own")
    text = target if isinstance(target, str) else _path_text(target)
    if isinstance(target, str) and _scheme_of(target) in SERVED + CLUSTERED:
        if key is not None and _scheme_of(target) in CLUSTERED:
            raise InvalidRequest("log servers take no key of ours", hint="put credentials into the URL, nats://user:password@host:4222")
        if origin is not None:
            raise InvalidRequest("a server says itself who writes through it", hint="leave origin= out")
        return target
    if text != IN_MEMORY:
        scheme = SCHEME.match(text) if isinstance(target, str) else None
        if scheme is not None:
            text = _file_path(text, scheme[1])
        if not text.strip() or "\0" in text:
            raise StoreUnreadable(f"{text!r:.80} names no database", hint=ACCEPTED)
        text = str(Path(text).expanduser())
    if key is not None:
        raise InvalidRequest("a folder takes no key; keys are for servers", hint="leave key= out")
    return None if text == IN_MEMORY else text


def _path_text(target: object) -> str:
    if isinstance(target, os.PathLike):
        return os.fsdecode(target)
    raise StoreUnreadable(f"a target of type {type(target).__name__} names no database", hint=ACCEPTED)


def _file_path(url: str, scheme: str) -> str:
    """Return the path of a file: URL: file:memory, file:/srv/memory, file:///srv/memory. Raises StoreUnreadable for all others."""
    if scheme.lower() != "file":
        hint = f"{ACCEPTED}; a folder whose name holds ':' is written './{url:.40}'"
        if re.fullmatch(r"[\w.-]+:\d+", url):
            hint = f"for a server, give 'http://{url}'"
        raise StoreUnreadable(f"the scheme {scheme!r:.40} is unknown", hint=hint)
    path = url[len("file:") :]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host not in ("", "localhost"):
            raise StoreUnreadable(f"the folder is on another host, {host!r:.80}", hint=ACCEPTED)
        path = slash + rest
    path = unquote(path)
    return path[1:] if re.match(r"/[A-Za-z]:", path) else path
