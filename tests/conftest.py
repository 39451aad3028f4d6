"""Assertions in modules that tests share are explained as their own are: said here, before any test imports one of these."""

import pytest

pytest.register_assert_rewrite(
    *("conformance.bus", "conformance.disk", "conformance.index", "conformance.log", "conformance.objects"),
    *("durability.deaths", "durability.harms", "durability.lives", "durability.power"),
    *("engine.oracle", "engine.refusals", "engine.small"),
)
