"""A real server over a real folder, for the tests beside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paradox.node.embedded import open_folder
from paradox.ports.transport import Transport
from served import served


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transport]:
    made = open_folder(str(tmp_path_factory.mktemp("served")), read_only=False, origin="", timeout_s=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(database: Transport) -> Iterator[str]:
    with served(database) as address:
        yield address
