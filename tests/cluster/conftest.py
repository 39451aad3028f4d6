"""Real log servers for the tests beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from log_servers import LogServers, log_servers


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[LogServers]:
    """One log server of its own for each test."""
    folder = tmp_path / "log"
    folder.mkdir()
    with log_servers(folder) as servers:
        yield servers
