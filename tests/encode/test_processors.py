from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from paradox.encode import processors
from paradox.encode.processors import SingleThreadedProducts


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(3, user_api="blas"):
        yield


def product_threads() -> set[int]:
    found = ThreadpoolController().select(user_api="blas").info()
    assert found, "NumPy's BLAS is not one that can be set"
    return {each["num_threads"] for each in found}


def test_products_use_one_thread_inside_and_as_many_as_before_outside() -> None:
    with SingleThreadedProducts():
        assert product_threads() == {1}
    assert product_threads() == {3}


def test_the_last_who_leaves_restores_the_threads() -> None:
    products = SingleThreadedProducts()
    products.__enter__()
    products.__enter__()
    products.__exit__(None, None, None)
    assert product_threads() == {1}
    products.__exit__(None, None, None)
    assert product_threads() == {3}


def test_an_error_inside_restores_the_threads() -> None:
    with pytest.raises(KeyError), SingleThreadedProducts():
        raise KeyError
    assert product_threads() == {3}


def test_workers_are_the_processors_this_program_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    assert SingleThreadedProducts().workers == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert SingleThreadedProducts().workers == processors.WORKERS_MAX


def test_without_control_there_is_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    products = SingleThreadedProducts()
    assert products.workers == 1
    with products:
        assert product_threads_of(monkeypatch) == {3}


def product_threads_of(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    monkeypatch.undo()
    return product_threads()
