"""Assertions in what the tests share are explained as theirs are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import paradox
from served import served

if TYPE_CHECKING:
    from engine.refusals import World

pytest.register_assert_rewrite("engine.oracle", "engine.refusals", "engine.small")


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    from engine.refusals import World  # not before its assertions were registered above

    made = World(tmp_path_factory.mktemp("world"))
    if request.param == "in process":
        yield made
    else:
        with served(made.embedded) as address, paradox.connect(address) as made.db:
            made.open_all()
            yield made
    made.embedded.close()
