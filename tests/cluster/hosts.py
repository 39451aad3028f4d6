"""Several hosts on this machine, and how they lose each other: network namespaces on a bridge. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from log_servers import Host

NUMBERS = count(os.getpid() % 10_000)
CAN = os.geteuid() == 0 and shutil.which("ip") is not None


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """Hosts 0, 1, …, each with an address; this process is beside them on the same bridge."""

    def __init__(self, many: int) -> None:
        number = next(NUMBERS)  # what was taken down is gone a moment later only
        self.tag, self.net = f"pd{number}", f"10.{200 + number % 50}.{number // 50 % 250}"
        self.count = many
        ip("link", "add", f"{self.tag}b", "type", "bridge")
        ip("addr", "add", f"{self.net}.254/24", "dev", f"{self.tag}b")
        ip("link", "set", f"{self.tag}b", "up")
        for number in range(many):
            space, outer = self.space(number), f"{self.tag}v{number}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", f"{self.tag}b", "up")
            ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")

    def space(self, number: int) -> str:
        return f"{self.tag}n{number}"

    def address(self, number: int) -> str:
        return f"{self.net}.{number + 1}"

    def all(self) -> list[Host]:
        return [Host(self.address(number), ["ip", "netns", "exec", self.space(number)]) for number in range(self.count)]

    def cut_off(self, number: int) -> None:
        """Nothing reaches a host, and nothing comes from it."""
        ip("link", "set", f"{self.tag}v{number}", "down")

    def join_again(self, number: int) -> None:
        ip("link", "set", f"{self.tag}v{number}", "up")

    def mute(self, number: int) -> None:
        """A host hears everybody, but nothing that it sends to the other hosts arrives."""
        for other in range(self.count):
            if other != number:
                ip("-n", self.space(number), "route", "add", "blackhole", f"{self.address(other)}/32")

    def unmute(self, number: int) -> None:
        for other in range(self.count):
            if other != number:
                ip("-n", self.space(number), "route", "del", "blackhole", f"{self.address(other)}/32")

    def close(self) -> None:
        for number in range(self.count):
            subprocess.run(["ip", "netns", "del", self.space(number)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self.tag}b"], check=False, capture_output=True)


@contextmanager
def hosts(many: int) -> Iterator[Hosts]:
    made = Hosts.__new__(Hosts)
    try:
        made.__init__(many)  # type: ignore[misc]
        yield made
    finally:
        made.close()
