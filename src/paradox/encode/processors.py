"""How many processors an encoder uses, and who uses them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from threading import Lock
from types import TracebackType
from typing import Any

WORKERS_MAX = 4
"""More workers wait for each other: splitting texts into words holds Python's lock."""


class SingleThreadedProducts:
    """A context in which matrix products use the calling thread only, so that workers can run side by side.

    NumPy's BLAS starts its own threads for each product; on a busy machine they wait for each other (measured: up to 6 times slower), and
    several callers share one pool. The setting belongs to the whole process, so it is made by the first who enters and undone by the
    last who leaves. Without the package `threadpoolctl` nothing is set, and `workers` is 1. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._entered = 0
        self._limit: AbstractContextManager[Any] | None = None
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:
            self._controller: Any = None
        else:
            self._controller = ThreadpoolController()

    @property
    def workers(self) -> int:
        """How many threads should run products side by side."""
        return 1 if self._controller is None else min(_processors(), WORKERS_MAX)

    def __enter__(self) -> None:
        with self._lock:
            if self._entered == 0 and self._controller is not None:
                self._limit = self._controller.limit(limits=1, user_api="blas")
                self._limit.__enter__()
            self._entered += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0 and self._limit is not None:
                self._limit.__exit__(None, None, None)
                self._limit = None


def _processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
