"""A whole cluster on this machine under one process: log servers, nodes and a gateway, started, watched and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from paradox.errors import InvalidRequest, Unavailable
from paradox.node.config import ServerConfig, written_config
from paradox.node.env import RealEnv
from paradox.node.lock import WriterLock
from paradox.node.log_server import HOST, is_healthy, monitor_url, program, settings
from paradox.node.roles import connect_bus
from paradox.node.watchdog import ILL, Ill
from paradox.objects.disk import RealDisk
from paradox.ports.bus import Bus

Role: TypeAlias = Literal["log", "node", "gateway"]
CLUSTER_FILE = "cluster.json"
NODES_MAX = 64
LOG_SERVERS = 3
PORTS = range(20_000, 30_000)
"""Where processes listen: below the ports that a system gives to connections, which may take one before who chose it listens there."""
START_S, STOP_S, LOOK_S = 60.0, 20.0, 0.02
RESTART_AFTER_S = 1.0
DAMAGED = "damaged"
"""Where the last files of a log server are moved that has lost something."""
QUIET_S = 20.0
"""How long a log server is given after help before more of it is heard."""
SHOWN_CHARACTERS = 2_000


Died: TypeAlias = Callable[["Child", "subprocess.Popen[bytes]"], None]


class Listed(msgspec.Struct, kw_only=True):
    """One process of the cluster, as cluster.json tells of it."""

    role: Role
    name: str
    pid: int
    url: str


class Child:
    """A process that is started, and started again when it dies."""

    def __init__(self, role: Role, name: str, folder: Path, command: list[str], url: str, monitor: str = "") -> None:
        """folder: where its log file goes. url: what cluster.json says, unless it says itself. monitor: of a log server."""
        self.role: Role = role
        self.name = name
        self.folder = folder
        self.command = command
        self.url = url
        self.monitor = monitor
        self.running: subprocess.Popen[bytes] | None = None
        self.helped_s = float("-inf")

    @property
    def log_file(self) -> Path:
        """What the process says on standard error."""
        return self.folder / f"{self.name}.log"

    def start(self, died: Died) -> None:
        """Start it and return once it is ready. died: called when it ends. Raises Unavailable with what it said."""
        with self.log_file.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if not self.monitor else log, stderr=log, start_new_session=True
            )
        threading.Thread(target=self._watch, args=(self.running, died), name=f"watch-{self.name}", daemon=True).start()
        said = self._first_words(self.running) if not self.monitor else {}
        if "ready" in said:
            self.url = said["ready"]
        elif not self.monitor or not self._is_healthy(self.running):
            self.stop()
            why = said["error"]["message"] if "error" in said else self.log_file.read_text(errors="replace").strip()[-SHOWN_CHARACTERS:]
            raise Unavailable(f"{self.name} does not start: {why or 'it says nothing'}", hint=f"more may be in {self.log_file}")

    def _first_words(self, running: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Wait for the line of JSON by which our own programs say that they are ready, or why they are not; nothing when they just end."""
        assert running.stdout is not None
        with contextlib.suppress(ValueError):
            said: dict[str, Any] = json.loads(running.stdout.readline())
            return said
        return {}

    def _is_healthy(self, running: subprocess.Popen[bytes]) -> bool:
        until = time.monotonic() + START_S
        while time.monotonic() < until and running.poll() is None:
            if is_healthy(self.monitor):
                return True
            time.sleep(LOOK_S)  # a log server tells nobody that it is ready
        return False

    def _watch(self, running: subprocess.Popen[bytes], died: Died) -> None:
        running.wait()
        died(self, running)

    def stop(self, *, hangs: bool = False) -> None:
        """End it, by force when it hangs or takes too long. Safe to call twice."""
        running, self.running = self.running, None
        if running is None:
            return
        if running.poll() is None:
            if not hangs:
                running.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(STOP_S)
            running.kill()
        running.wait()
        for pipe in (running.stdin, running.stdout):
            if pipe is not None:
                pipe.close()


class LocalCluster:
    """See above. DIR holds cluster.json, a folder for each process, and what each says in its .log."""

    def __init__(self, folder: Path, *, nodes: int, host: str, port: int, tell: Callable[[str], None]) -> None:
        """tell: hears in words what happens. Raises InvalidRequest, StoreLocked when a cluster runs in this folder, ExtraMissing."""
        if not 1 <= nodes <= NODES_MAX:
            raise InvalidRequest(f"--nodes {nodes}; expected 1 to {NODES_MAX}", hint="give --nodes 3")
        self.folder = folder.resolve()
        self._tell = tell
        self._events: queue.SimpleQueue[tuple[Child, subprocess.Popen[bytes]] | Ill | None] = queue.SimpleQueue()
        self._bus: Bus | None = None
        self._leaving = threading.Event()
        RealDisk().make_folder(self.folder)
        nats = program()
        self._lock = WriterLock.acquire(self.folder, env=RealEnv())
        self._end_leftovers()
        count = len(list(self.folder.glob("log*/"))) or (LOG_SERVERS if nodes >= LOG_SERVERS else 1)
        *ports, free = free_ports(3 * count + 1)
        logs = self._log_servers(nats, ports[:count], ports[count : 2 * count], ports[2 * count :])
        # chosen here: a gateway that is killed and started again must be found where it was
        self._children = [*logs, *self._our_own(logs, nodes, host, port or free)]

    def _log_servers(self, nats: str, clients: Sequence[int], routes: Sequence[int], monitors: Sequence[int]) -> list[Child]:
        count = len(clients)
        children = []
        for number in range(count):
            name, settled = f"log{number + 1}", self.folder / f"log{number + 1}.conf"
            settled.write_text(
                settings(
                    name,
                    self.folder / name,
                    port=clients[number],
                    monitor=monitors[number],
                    route=routes[number],
                    routes=routes if count > 1 else (),
                )
            )
            url = f"nats://{HOST}:{clients[number]}"
            children.append(Child("log", name, self.folder, [nats, "-c", str(settled)], url, monitor_url(monitors[number])))
        return children

    def _our_own(self, logs: list[Child], nodes: int, host: str, port: int) -> list[Child]:
        urls, monitors = tuple(log.url for log in logs), tuple(log.monitor for log in logs)
        gateway = ServerConfig(role="gateway", log=urls, host=host, port=port, stop_with_stdin=True)
        configs = {}
        for name in (f"n{number}" for number in range(1, nodes + 1)):
            configs[name] = ServerConfig(
                role="node",
                name=name,
                store=str(self.folder / "store"),
                log=urls,
                log_monitors=monitors,
                log_replicas=len(logs),
                stop_with_stdin=True,
            )
        configs["gateway"] = gateway
        children = []
        for name, config in configs.items():
            file = self.folder / f"{name}.toml"
            file.write_text(written_config(config))
            command = [sys.executable, "-m", "paradox.cli", "serve", "--config", str(file), "--json"]
            children.append(Child(config.role, name, self.folder, command, name))
        return children

    def start(self) -> str:
        """Start everything, and return the gateway's address. Raises Unavailable; then everything was stopped."""
        try:
            self._start_logs()
            for role in ("node", "gateway"):
                self._start_together([child for child in self._children if child.role == role])
        except BaseException:
            self.stop()
            raise
        self._write()
        return next(child.url for child in self._children if child.role == "gateway")

    def _start_logs(self) -> None:
        """Start the log servers, and hear from now on which of them needs help."""
        logs = self._logs()
        try:
            self._start_together(logs)
        except Unavailable:
            for child in logs:
                if child.running is None and not self._refill(child):
                    raise
        self._bus = connect_bus(tuple(log.url for log in logs))
        self._bus.hear(ILL, lambda raw: self._events.put(msgspec.msgpack.decode(raw, type=Ill)))

    def _logs(self) -> list[Child]:
        return [child for child in self._children if child.role == "log"]

    def _start_together(self, children: list[Child]) -> None:
        """Start processes side by side: log servers need one another to be ready."""
        failures: list[Exception] = []

        def start(child: Child) -> None:
            try:
                child.start(self._died)
            except Exception as failure:
                failures.append(failure)

        threads = [threading.Thread(target=start, args=(child,)) for child in children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _died(self, child: Child, ended: subprocess.Popen[bytes]) -> None:
        self._events.put((child, ended))

    def listed(self) -> list[Listed]:
        """Return what runs."""
        return [
            Listed(role=child.role, name=child.name, pid=child.running.pid, url=child.url)
            for child in self._children
            if child.running is not None
        ]

    def _write(self) -> None:
        file = self.folder / CLUSTER_FILE
        beside = file.with_suffix(".new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode({"processes": self.listed()}), indent=2) + b"\n")
        beside.replace(file)

    def run(self) -> None:
        """Watch over the processes until `leave` is called: what dies is started again."""
        while (event := self._events.get()) is not None:
            if isinstance(event, Ill):
                self._help(event)
                continue
            child, ended = event
            if child.running is not ended:
                continue
            code = ended.returncode
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            self._tell(f"{child.name} {how}; it is started again")
            child.stop()
            self._start_again(child)

    def _start_again(self, child: Child) -> None:
        while not self._leaving.wait(RESTART_AFTER_S):  # so that what cannot live does not spin
            try:
                child.start(self._died)
                self._tell(f"{child.name} is back")
                break
            except Unavailable as error:
                self._tell(error.message)
                if child.role == "log" and self._refill(child):
                    break
        self._write()

    def _help(self, ill: Ill) -> None:
        """Start a log server again that hangs; empty one that has lost something, so that the others fill it, as often as that takes."""
        now = time.monotonic()
        child = next((log for log in self._logs() if ill.server in (log.name, log.monitor)), None)
        if child is None or child.running is None or now - child.helped_s < QUIET_S:
            return
        self._tell(f"{child.name} {ill.what}")
        child.stop(hangs=True)
        if ill.kind != "lost" or not self._refill(child):
            for index in (self.folder / child.name).rglob("index.db"):
                index.unlink()  # so that it looks through all its files when it starts
            self._start_again(child)
        child.helped_s = time.monotonic()
        self._write()

    def _refill(self, child: Child) -> bool:
        """Start a log server with nothing if all the others are well: they give it everything. Tells whether it runs."""
        others = [log for log in self._logs() if log is not child]
        if not others or not all(log.running is not None and is_healthy(log.monitor) for log in others):
            return False
        aside = self.folder / DAMAGED / child.name
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / child.name).rename(aside)
        self._tell(f"{child.name} begins with nothing and is filled by the others; what it had is in {aside}")
        try:
            child.start(self._died)
        except Unavailable as error:
            self._tell(error.message)
            return False
        return True

    def leave(self) -> None:
        """Let `run` return. From a signal handler or any thread."""
        self._leaving.set()
        self._events.put(None)

    def stop(self) -> None:
        """Stop everything, the gateway first and the log servers last. Safe to call twice."""
        self._leaving.set()
        if self._bus is not None:
            self._bus.close()
        for role in ("gateway", "node", "log"):
            threads = [threading.Thread(target=child.stop) for child in self._children if child.role == role]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with contextlib.suppress(FileNotFoundError):
            (self.folder / CLUSTER_FILE).unlink()
        self._lock.release()

    def _end_leftovers(self) -> None:
        """End processes of a cluster whose supervisor was killed: our own end with it, log servers do not."""
        try:
            left = msgspec.json.decode((self.folder / CLUSTER_FILE).read_bytes(), type=dict[str, list[Listed]])["processes"]
        except (OSError, msgspec.MsgspecError, KeyError):
            return
        for one in left:
            if str(self.folder).encode() not in _command_of(one.pid):
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGTERM)
            until = time.monotonic() + STOP_S
            while _command_of(one.pid) and time.monotonic() < until:
                time.sleep(LOOK_S)  # it is not our child: nobody tells us
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)


def _command_of(pid: int) -> bytes:
    """Return the command line of a process, empty when there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on now. Raises Unavailable when there are too few."""
    ports: list[int] = []
    with contextlib.ExitStack() as doors:
        for port in random.sample(PORTS, len(PORTS)):
            with contextlib.suppress(OSError):
                doors.enter_context(socket.create_server((HOST, port)))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise Unavailable(f"{count} ports of {PORTS.start} to {PORTS.stop - 1} are not free on this machine", hint="stop what listens there")
