"""Children: what runs in a fresh Python of its own; started by `timing.in_child`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from paradox.errors import ParadoxError


def main(words: Sequence[str]) -> None:
    """Run a task. words: its name, its arguments as JSON, and the file that takes the answer. A failure ends on standard error."""
    task, arguments, answer = words
    try:
        Path(answer).write_bytes(msgspec.json.encode(TASKS[task](**json.loads(arguments))))
    except ParadoxError as error:
        sys.exit(error.message)


def peer(**arguments: Any) -> Any:
    """Measure one peer."""
    from paradox.cli.bench.contest import contend

    return contend(**arguments)


def opening(**arguments: Any) -> Any:
    """Open a database as the first thing in a process."""
    from paradox.cli.bench.opening import open_and_ask

    return open_and_ask(**arguments)


def searching(**arguments: Any) -> Any:
    """Search a server without pause, once told to."""
    from paradox.cli.bench.callers import search_without_pause

    return search_without_pause(**arguments)


def writing(**arguments: Any) -> Any:
    """Write to a server without pause, once told to."""
    from paradox.cli.bench.callers import write_without_pause

    return write_without_pause(**arguments)


TASKS: Mapping[str, Callable[..., Any]] = {
    "peer": peer,
    "opening": opening,
    "searching": searching,
    "writing": writing,
}
