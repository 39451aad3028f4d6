"""Assertions in the conformance suite are explained as those of tests are."""

import pytest

pytest.register_assert_rewrite("conformance.index")
