"""Verbs that run until they are told to stop: a folder over HTTP, one process of a cluster, a whole cluster."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from pathlib import Path

from paradox.cli.arguments import UsageInvalid, folder_of
from paradox.cli.screen import Screen

OK = 0
PORT_MAX = 65_535


def check_port(port: int) -> None:
    """Raise UsageInvalid for a number that no port has."""
    if not 0 <= port <= PORT_MAX:
        raise UsageInvalid(f"--port {port}; expected 0 to {PORT_MAX}", hint="give --port 6500; 0 takes any that is free")


def serve(arguments: Namespace, screen: Screen) -> int:
    """Serve a folder over HTTP until told to stop, or be one process of a cluster."""
    check_port(arguments.port)
    if arguments.config is not None:
        return serve_role(arguments, screen)
    from paradox.node.catalogue import IDENTITY
    from paradox.node.config import keys_of
    from paradox.node.embedded import open_folder
    from paradox.node.serve import HttpServer

    server = HttpServer(host=arguments.host, port=arguments.port, keys=keys_of())  # before a folder is made
    new = not (Path(folder_of(arguments)).expanduser() / IDENTITY).exists()
    database = open_folder(folder_of(arguments), read_only=False, origin="", timeout_s=0)

    def ready() -> None:
        screen.document({"address": server.address, "new": new})
        what = f"{folder_of(arguments)} (new, empty)" if new else folder_of(arguments)
        screen.line(f"serving {what} at {server.address}{' to those with a key' if keys_of() else ''}; Ctrl-C stops it")
        sys.stdout.flush()  # programs wait for it

    try:
        server.run(database, ready)
    finally:
        database.close()
    screen.line("stopped")
    return OK


def serve_role(arguments: Namespace, screen: Screen) -> int:
    """Be the process of a cluster that a configuration file describes."""
    from paradox.node.config import read_config
    from paradox.node.roles import run_role

    if arguments.data:
        raise UsageInvalid("both --data and --config were given", hint="a configuration names its folder itself")
    config = read_config(arguments.config)

    def ready(what: str) -> None:
        screen.document({"ready": what})
        screen.line(f"{config.role} {what} is ready; Ctrl-C stops it")
        sys.stdout.flush()  # programs wait for it

    run_role(config, ready)
    screen.line("stopped")
    return OK


def up(arguments: Namespace, screen: Screen) -> int:
    """Run a whole cluster on this machine until told to stop."""
    from paradox.node.up import LocalCluster

    check_port(arguments.port)

    def tell(what: str) -> None:
        screen.note(what)

    cluster = LocalCluster(Path(folder_of(arguments)), nodes=arguments.nodes, host=arguments.host, port=arguments.port, tell=tell)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: cluster.leave())
    address = cluster.start()
    try:
        listed = cluster.listed()
        screen.document({"address": address, "processes": listed})
        for one in listed:
            screen.line(f"{one.name:<8} {one.role:<8} process {one.pid:<8} {one.url}")
        screen.line(f"a cluster of {arguments.nodes} node{'s' if arguments.nodes != 1 else ''} answers at {address}; Ctrl-C stops it")
        sys.stdout.flush()
        cluster.run()
    finally:
        cluster.stop()
    screen.line("stopped")
    return OK
