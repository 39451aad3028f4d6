"""Kills writers with SIGKILL at random moments, and looks what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from durability.lives import NAME, Deed, Shape, World, after, expect_agreement, settled_with, world_in
from durability.nursery import Order

TESTS = Path(__file__).parents[1]
SEEDS = Path(__file__).with_name("seeds.txt")
SPIN_S_MAX = 0.02
ACKNOWLEDGED_MAX = 50

PLAIN = Shape()
SHAPES: dict[str, Shape] = {
    "plain": PLAIN,
    "copies": Shape(shards=4, copies=2),
    "threads": Shape(threads=4, batch_max=20),
    "text": Shape(text=True, metric="euclidean"),
    "named": Shape(named=True, metric="dot", shards=2),
    "probes": Shape(probes=True, batch_max=150, idle_after_s=0.001),
    "crowd": Shape(shards=3, copies=2, threads=6, batch_max=10),
}


class Nursery:
    """A running nursery. Use it as a context manager."""

    _writer = 0
    last_pid = 0

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "durability.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._child.stdin
        assert self._child.stdout
        if self._writer:  # an error came in between
            kill_after(self._writer, 0.0)
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()

    def raise_one(
        self, order: Order, *, acknowledged: int, spin_s: float, hear: Callable[[str, Deed], None] = lambda *_: None
    ) -> tuple[list[Deed], list[Deed], str]:
        """Let a writer live until so many deeds were acknowledged and a little longer.

        hear: is told of each deed, first with "begin", then with "done".
        Returns (deeds done, in the order of their acknowledgement; deeds in flight; what it died of: "open", "deed" or "age").
        """
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(msgspec.json.encode(order) + b"\n")
        self._child.stdin.flush()
        begun: dict[str, Deed] = {}
        done: list[Deed] = []
        opened = closed = False
        for line in self._child.stdout:
            match line.split(b" ", 2):
                case [b"born", number]:
                    self._writer = self.last_pid = int(number)
                    if not acknowledged:
                        kill_after(self._writer, spin_s)
                case [b"open\n"]:
                    opened = True
                case [b"begin", thread, deed]:
                    begun[thread.decode()] = msgspec.json.decode(deed, type=Deed)
                    hear("begin", begun[thread.decode()])
                case [b"done", thread]:
                    done.append(begun.pop(thread.decode().strip()))
                    hear("done", done[-1])
                    if len(done) == acknowledged:
                        kill_after(self._writer, spin_s)
                case [b"closed\n"]:
                    closed = True
                case [b"error", *text]:
                    raise AssertionError(msgspec.json.decode(b" ".join(text)))
                case [b"dead", status]:
                    self._writer = 0
                    assert int(status) in (0, -signal.SIGKILL), f"the writer died by itself: {int(status)}"
                    return done, list(begun.values()), "age" if closed else "deed" if opened else "open"
        raise AssertionError("the nursery ended")


def environment() -> dict[str, str]:
    """Return what a program needs to import what is under test. One thread each: a fork must not lose any."""
    paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    return os.environ | quiet | {"PYTHONPATH": paths}


def kill_after(pid: int, spin_s: float) -> None:
    """Spin, then kill. Not a sleep: the moment must fall anywhere, not where a scheduler likes to wake."""
    until = time.perf_counter() + spin_s
    while time.perf_counter() < until:
        pass
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def live_and_die(nursery: Nursery, folder: Path, name: str, seed: str, kills: int) -> Counter[str]:
    """Kill one writer after another on one folder, checking it after each, and return what they were killed at."""
    shape, dice = SHAPES[name], random.Random(f"{name} {seed}")
    world, places = World({}), Counter[str]()
    for number in range(kills):
        acknowledged = 0 if dice.random() < 0.1 else dice.randrange(1, ACKNOWLEDGED_MAX)
        order = Order(folder=str(folder), shape=shape, seed=f"{seed} {number}", origin=f"writer {number % 3}")
        done, in_flight, cause = nursery.raise_one(order, acknowledged=acknowledged, spin_s=dice.random() * SPIN_S_MAX)
        for deed in done:
            world = after(world, shape, deed)
        places.update([cause, *scars(folder)])
        if not (folder / "collections" / NAME / "spec.json").exists():
            assert not done
            continue
        world = look_after(shape, folder, world, in_flight, dice)
    return places


def scars(folder: Path) -> list[str]:
    """Return what a killed writer was in the middle of, as its folder shows."""
    home = folder / "collections" / NAME
    found = ["building"] if any((home / "tmp").glob("*/*")) else []
    found += ["dropping"] if any(folder.glob("dropped-*")) else []
    found += ["storing"] if any(folder.rglob(".unfinished-*")) else []
    found += ["probing"] if any(home.rglob("*.probe*")) else []
    manifests = sorted((home / "manifests").glob("*")) if (home / "manifests").is_dir() else []
    return found + (["collecting"] if len(manifests) > 2 else [])


def look_after(shape: Shape, folder: Path, world: World, in_flight: list[Deed], dice: random.Random) -> World:
    """Check what a killed writer left, as a reader and as the next writer, and return it."""
    if dice.random() < 0.5:
        reader = shape.open(folder, read_only=True)
        seen = settled_with(shape, world, world_in(shape, reader), in_flight)
        expect_agreement(shape, reader, seen, dice)
        reader.close()
        world, in_flight = seen, []
    database = shape.open(folder)
    try:
        world = settled_with(shape, world, world_in(shape, database), in_flight)
        expect_agreement(shape, database, world, dice)
    finally:
        database.close()
    return world


def remember(name: str, seed: str) -> None:
    """Add a failing seed to the file of seeds that are tried for ever."""
    line = f"{name} {seed}\n"
    with suppress(OSError):
        if line not in SEEDS.read_text(encoding="utf-8"):
            with SEEDS.open("a", encoding="utf-8") as file:
                file.write(line)


def program(source: str, *arguments: str) -> str:
    """Run Python source in a process of its own, and return what it printed."""
    finished = subprocess.run([sys.executable, "-c", source, *arguments], env=environment(), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
