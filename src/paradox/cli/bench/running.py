"""Running: servers under measurement as processes of their own, started as a user would and stopped when the block ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from paradox.errors import Unavailable

START_S, STOP_S = 120.0, 60.0
LOOK_S = 0.05
NODES = 3
HOST = "127.0.0.1"


class Listed(msgspec.Struct, frozen=True):
    """A process of a cluster."""

    role: str
    name: str
    pid: int
    url: str


class Started(msgspec.Struct, frozen=True):
    """What `paradox serve` and `paradox up` say once they answer."""

    address: str
    programs: list[Listed] = msgspec.field(name="processes", default_factory=list)
    folder: str = ""

    @property
    def log(self) -> str:
        """The address of a cluster for those who skip its gateway."""
        return ",".join(one.url for one in self.programs if one.role == "log")

    def listed(self) -> dict[str, Listed]:
        """Return the processes of a cluster by name, as they are now: those that died were started again."""
        told = msgspec.json.decode((Path(self.folder) / "cluster.json").read_bytes(), type=dict[str, list[Listed]])
        return {one.name: one for one in told["processes"]}


@contextmanager
def serving(folder: Path) -> Iterator[Started]:
    """Run `paradox serve` on a folder while the block runs. Raises Unavailable."""
    with _paradox("serve", "--data", str(folder), "--port", "0") as started:
        yield started


@contextmanager
def clustered(folder: Path) -> Iterator[Started]:
    """Run `paradox up` with NODES nodes while the block runs. Raises Unavailable."""
    with _paradox("up", "--nodes", str(NODES), "--data", str(folder), "--port", "0") as started:
        yield msgspec.structs.replace(started, folder=str(folder))


@contextmanager
def _paradox(*words: str) -> Iterator[Started]:
    command = [sys.executable, "-m", "paradox.cli", *words, "--json"]
    with running(command, pipe=True) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        if not first:
            raise Unavailable(f"paradox {words[0]} ended before it answered", hint="start it by hand to see what it says")
        yield msgspec.json.decode(first, type=Started)


@contextmanager
def running(command: Sequence[str], *, pipe: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block runs, then stop it with SIGTERM. pipe: its standard output is read by the block."""
    output = subprocess.PIPE if pipe else subprocess.DEVNULL
    program = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        yield program
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(STOP_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        if program.stdout is not None:
            program.stdout.close()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as door:
        return int(door.getsockname()[1])


def wait_for_port(port: int, program: subprocess.Popen[bytes], name: str) -> None:
    """Return once somebody listens on a port. Raises Unavailable when the process ends first, or START_S pass."""
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if program.poll() is not None or time.monotonic() > until:
                raise Unavailable(f"{name} does not answer", hint="start it by hand to see what it says") from None
            time.sleep(LOOK_S)
