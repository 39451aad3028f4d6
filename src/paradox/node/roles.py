"""The roles of a cluster's processes: a node, a gateway. Each runs until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from paradox.errors import ExtraMissing, NodesUnreachable
from paradox.model.schema import CollectionSpec, Limits
from paradox.node.config import ServerConfig, keys_of
from paradox.node.database import encoder_of
from paradox.node.env import RealEnv
from paradox.node.lock import WriterLock
from paradox.node.log_server import check_all_durable
from paradox.node.serve import HttpServer
from paradox.objects.disk import RealDisk
from paradox.ports.bus import Bus
from paradox.ports.transport import Transport
from paradox.router.cluster import ClusterTransport

NODES = "nodes"
LOOK_S = 0.1
BUS_S, NODES_S = 10.0, 30.0
"""How long a node waits for the log servers, and a gateway for the first node."""


def connect_bus(servers: tuple[str, ...], *, timeout_s: float = BUS_S) -> Bus:
    """Connect to log servers. Raises LogUnavailable, ExtraMissing."""
    try:
        from paradox.wire.nats import NatsBus
    except ImportError:
        raise ExtraMissing("a cluster needs nats-py", hint="pip install 'paradox-memory[cluster]'") from None
    return NatsBus(servers, timeout_s=timeout_s)


def connect_cluster(servers: tuple[str, ...], *, timeout_s: float, read_only: bool = False) -> Transport:
    """Connect to a cluster by its log servers. Raises LogUnavailable, NodesUnreachable, ExtraMissing."""
    bus = connect_bus(servers, timeout_s=max(timeout_s, 0.1))
    return ClusterTransport(bus, env=RealEnv(), timeout_s=timeout_s, encode=encode_texts, limits=Limits(), read_only=read_only)


def encode_texts(name: str, spec: CollectionSpec, vector: str, texts: list[str]) -> NDArray[Any]:
    """Return the vectors of texts, as the collection's encoder makes them. Raises EncoderMismatch."""
    return encoder_of(name, spec.vectors[vector]).encode(texts)


def run_role(config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Run one process of a cluster until SIGINT, SIGTERM or, where that was asked for, the end of standard input.

    ready: called with its address, a gateway's URL or a node's name, once it answers. For the main thread.
    """
    (run_node if config.role == "node" else run_gateway)(config, ready)


def run_node(config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Run a node. Raises StoreLocked, LogUnavailable."""
    from paradox.node.member import Member

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    if config.stop_with_stdin:
        _when_stdin_ends(stopping.set)
    check_all_durable(config.log_monitors)
    store = Path(config.store)
    RealDisk().make_folder(store / NODES / config.name)
    lock = WriterLock.acquire(store / NODES / config.name, env=RealEnv())  # no two of one name
    try:
        member = Member(
            config.name,
            store,
            connect_bus(config.log),
            limits=Limits(),
            log_replicas=config.log_replicas,
            log_monitors=config.log_monitors,
            zone=config.zone,
            env=RealEnv(),
            disk=RealDisk(),
        )
        while not member.holding.wait(LOOK_S) and not stopping.is_set():
            pass
        ready(config.name)
        stopping.wait()
        member.close()
    finally:
        lock.release()


def run_gateway(config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Run a gateway. Raises GatewayUnreachable, LogUnavailable, NodesUnreachable."""
    server = HttpServer(host=config.host, port=config.port, keys=keys_of())
    if config.stop_with_stdin:
        _when_stdin_ends(server.stop)
    try:
        cluster = connect_cluster(config.log, timeout_s=NODES_S)
    except NodesUnreachable as error:
        raise NodesUnreachable(error.message, hint="start a node, then the gateway") from None
    try:
        server.run(cluster, lambda: ready(server.address))
    finally:
        cluster.close()


def _when_stdin_ends(stop: Callable[[], None]) -> None:
    """Stop when whoever started this process has ended, however that came."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not through a buffer, which a program that ends would find in use
            pass
        stop()

    threading.Thread(target=watch, name="paradox-parent", daemon=True).start()
