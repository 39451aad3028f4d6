"""Ten thousand damaged databases, and none that says something wrong is sound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durability.grown import Grown
from durability.harms import HARMED, harm_and_look


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return Grown(tmp_path_factory.mktemp("grown"))


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None)
@given(harmed=st.fixed_dictionaries(HARMED))
def test_whatever_happens_to_a_file_nothing_wrong_is_called_sound(
    grown: Grown, tmp_path_factory: pytest.TempPathFactory, harmed: dict[str, Any]
) -> None:
    harm_and_look(grown, tmp_path_factory.getbasetemp(), **harmed)
