"""One world of refusals: a collection that bad inputs are tried on, in process and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import paradox
from engine.refusals import World
from served import served


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    if request.param == "in process":
        yield made
    else:
        with served(made.embedded) as address, paradox.connect(address) as made.db:
            made.open_all()
            yield made
    made.embedded.close()
