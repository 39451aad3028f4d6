"""Real log servers for tests: processes of nats-server, alone or three that keep everything three times."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from paradox.log.streams import Streams
from paradox.node.up import free_ports
from paradox.ports.bus import Silence

BINARY = Path(sys.executable).with_name("nats-server")
START_S = 30
LOOK_S = 0.02


class Host(NamedTuple):
    """A place to run: its address, and the words that run a command there."""

    address: str
    within: list[str]


class LogServers:
    """Servers n0, n1, … that form one cluster. Every acknowledged message is on a majority's disks."""

    def __init__(self, folder: Path, count: int, hosts: Sequence[Host] = ()) -> None:
        """hosts: where each server runs; none = all on this one."""
        self.folder = folder
        self.hosts = hosts or [Host("127.0.0.1", [])] * count
        ports = free_ports(3 * count)
        self.ports, routes, self.monitors = ports[:count], ports[count : 2 * count], ports[2 * count :]
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(count):
            text = f"""
                server_name: n{number}
                listen: "{self.hosts[number].address}:{self.ports[number]}"
                http: "{self.hosts[number].address}:{self.monitors[number]}"
                max_payload: 2MB
                jetstream {{ store_dir: "{folder}/n{number}", sync_interval: always }}
            """
            if count > 1:
                others = ", ".join(f'"nats://{host.address}:{port}"' for host, port in zip(self.hosts, routes, strict=True))
                text += f'cluster {{ name: c, listen: "{self.hosts[number].address}:{routes[number]}", routes: [{others}] }}\n'
            (folder / f"n{number}.conf").write_text(text)
        self.start(*range(count))

    @property
    def urls(self) -> list[str]:
        return [f"nats://{host.address}:{port}" for host, port in zip(self.hosts, self.ports, strict=True)]

    @property
    def urls_of_monitors(self) -> list[str]:
        return [f"http://{host.address}:{port}" for host, port in zip(self.hosts, self.monitors, strict=True)]

    def empty(self, number: int) -> None:
        """Start a server with nothing, as an operator would."""
        self.kill(number)
        shutil.rmtree(self.folder / f"n{number}")
        self.start(number)

    def restart(self, number: int) -> None:
        """Stop a server as an operator would, and start it again."""
        running = self.running.pop(number)
        running.terminate()
        running.wait()
        self.start(number)

    def start(self, *numbers: int) -> None:
        for number in numbers:
            log = (self.folder / f"n{number}.log").open("ab")
            self.running[number] = subprocess.Popen(
                [*self.hosts[number].within, BINARY, "-c", self.folder / f"n{number}.conf"], stdout=log, stderr=log
            )
            log.close()
        for number in numbers:
            self.wait_until_healthy(number)

    def wait_until_healthy(self, number: int) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.urls_of_monitors[number]}/healthz?js-server-only=true", timeout=5) as reply:
                    if json.load(reply)["status"] == "ok":
                        return
            except OSError:
                pass
            assert time.monotonic() < until, (self.folder / f"n{number}.log").read_text()[-2000:]
            time.sleep(LOOK_S)  # a server tells nobody that it is ready

    def kill(self, *numbers: int) -> None:
        for number in numbers:
            self.running[number].send_signal(signal.SIGKILL)
        for number in numbers:
            self.running.pop(number).wait()

    def stop(self) -> None:
        self.kill(*list(self.running))

    def blocks(self, number: int, stream: str) -> list[Path]:
        """Return the files in which a server keeps a stream's messages, oldest first."""
        return sorted((self.folder / f"n{number}").rglob(f"{stream}/msgs/*.blk"), key=lambda path: int(path.stem))

    def leader(self, streams: Streams, stream: str) -> int:
        """Return the number of the server that leads a stream."""
        until = time.monotonic() + START_S
        while True:
            name = streams.persist(f"STREAM.INFO.{stream}", {}).get("cluster", {}).get("leader")
            if name:
                return int(name[1:])
            assert time.monotonic() < until, f"{stream} has no leader"
            time.sleep(LOOK_S)

    def make_lead(self, streams: Streams, stream: str, number: int) -> None:
        """Let this server lead a stream."""
        until = time.monotonic() + START_S
        while self.leader(streams, stream) != number:
            assert time.monotonic() < until, f"n{number} does not come to lead {stream}"
            with suppress(Silence):
                streams.api(f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": f"n{number}"}})
            time.sleep(0.2)  # elections tell nobody how they went


@contextmanager
def log_servers(folder: Path, count: int = 1, hosts: Sequence[Host] = ()) -> Iterator[LogServers]:
    servers = LogServers(folder, count, hosts)
    try:
        yield servers
    finally:
        servers.stop()


def flip(block: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 1
    block.write_bytes(content)


def cut(block: Path) -> None:
    """Cut a file to half its length."""
    block.write_bytes(block.read_bytes()[: block.stat().st_size // 2])
