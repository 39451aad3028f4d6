"""Assertions in what the tests share are explained as theirs are."""

import pytest

pytest.register_assert_rewrite("engine.oracle", "engine.refusals", "engine.small")
