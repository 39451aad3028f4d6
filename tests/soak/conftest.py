"""Assertions in the modules that several tests share say as much as those in tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("durability.deaths", "durability.harms", "durability.lives", "durability.power")
