"""Operating: what people do to a running database by hand, and the view from which they see whether they should."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from paradox.cli.arguments import UsageInvalid, folder_of
from paradox.cli.opening import open_to_read, open_to_write, pick
from paradox.cli.screen import Screen, counted
from paradox.cli.show import show_rows

OK, PARTIAL = 0, 6
CLEAR = "\x1b[H\x1b[2J"
NODE_COLUMNS = ("name", "state", "shards", "points", "rows", "reads_per_s", "writes_per_s")
COLLECTION_COLUMNS = ("name", "points", "position", "waiting_to_be_sealed")


def split(arguments: Namespace, screen: Screen) -> int:
    """Cut a region in two."""
    with open_to_write(arguments) as database:
        told = pick(database, arguments.collection).split(arguments.region)
    screen.document(told)
    first, second = told["into"]
    screen.line(("split ", "green"), f"{told['region']} with {counted(told['points'], 'point')} into {first} and {second}")
    screen.note(("points that belong on another shard now move by themselves, while reads and writes go on", "dim"))
    return OK


def move(arguments: Namespace, screen: Screen) -> int:
    """Place a shard on another node."""
    with open_to_write(arguments) as database:
        told = pick(database, arguments.collection).move(arguments.shard, arguments.node)
    screen.document(told)
    if told["before"] == told["node"]:
        screen.line(f"{told['shard']} is on {told['node']} already")
        return OK
    screen.line(("moved ", "green"), f"{told['shard']} from {told['before']} to {told['node']}")
    if told["exchanged"]:
        screen.line(f"{told['exchanged']} goes to {told['before']} instead: each node keeps its share")
    screen.note((f"the points follow while reads and writes go on; `paradox info {arguments.collection}` shows where each shard is", "dim"))
    return OK


def top(arguments: Namespace, screen: Screen) -> int:
    """Show how a database is and what it does, again and again until stopped, or once."""
    if not arguments.every > 0:
        raise UsageInvalid(f"--every {arguments.every:g}; expected seconds above 0", hint="give --every 2")
    where = arguments.url or folder_of(arguments)
    with open_to_read(arguments) as database:
        while True:
            status = database.status()
            screen.document(frame_of(status))
            if screen.terminal and not arguments.once:
                screen.line(CLEAR)
            show_frame(screen, status, where)
            sys.stdout.flush()
            if arguments.once:
                return OK if status["healthy"] else PARTIAL
            time.sleep(arguments.every)
            if not screen.terminal:
                screen.line()


def frame_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one frame shows, as plain values."""
    whole = {field: status.get(field) for field in ("healthy", "sentence", "shards", "points", "rows", "reads_per_s", "writes_per_s")}
    nodes = [{field: node.get(field) for field in NODE_COLUMNS} for node in status.get("nodes", ())]
    collections = [{field: one.get(field) for field in COLLECTION_COLUMNS} for one in status["collections"]]
    return whole | {"nodes": nodes, "collections": collections, "working": status["working"]}


def show_frame(screen: Screen, status: Mapping[str, Any], where: str) -> None:
    """Print one frame: a sentence, what is read and written, the nodes, the collections."""
    frame = frame_of(status)
    screen.line(("●  ", "green" if frame["healthy"] else "red"), (frame["sentence"], "bold"))
    rates = f"{_rate(frame['reads_per_s'])} reads/s · {_rate(frame['writes_per_s'])} points written/s"
    screen.line("   ", (f"{where} · {rates}{' · working: ' + frame['working'] if frame['working'] else ''}", "dim"))
    for rows in (frame["nodes"], frame["collections"]):
        if rows:
            screen.line()
            show_rows(screen, [{name: _rate(value) if name.endswith("_per_s") else value for name, value in row.items()} for row in rows])


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
