"""What the simulator puts under the program does what the real thing does: it passes the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conformance.bus import BusConformance
from conformance.log import LogConformance
from paradox.log.jetstream import open_log
from paradox.log.streams import Streams
from paradox.sim.env import SimEnv
from paradox.sim.loop import Loop
from paradox.sim.network import Network, SimBus
from paradox.sim.servers import LogServers
from sim.outside import Within, within


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(7)
    yield loop
    loop.close()


@pytest.fixture
def network(loop: Loop) -> Network:
    return Network(loop, LogServers(loop))


class TestSimLogServers(LogConformance):
    """The log that clients of JetStream see."""

    @pytest.fixture
    def log(self, loop: Loop, network: Network) -> Any:
        return Within(loop, within(loop, lambda: open_log(Streams(SimBus(network, "one"), env=SimEnv(loop, "one")), "log")))


class TestSimBus(BusConformance):
    @pytest.fixture
    def bus(self, loop: Loop, network: Network) -> Any:
        return Within(loop, within(loop, lambda: SimBus(network, "one")))

    @pytest.fixture
    def other(self, loop: Loop, network: Network) -> Any:
        return Within(loop, within(loop, lambda: SimBus(network, "other")))
