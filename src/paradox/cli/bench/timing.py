"""Timing: how long calls take, how many a second several callers get, what a process keeps in memory; and children that start clean."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from paradox.errors import Unavailable

Ask: TypeAlias = Callable[[int], object]
"""Asks the question of a number: 0, 1, 2, …; whoever makes it wraps the number round."""

WARM_UP_CALLS = 20
CHILD_TIMEOUT_S = 3600.0
RUN = "import sys; sys.path[:0] = {path!r}; from paradox.cli.bench.children import main; main(sys.argv[1:])"


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What callers got. per_s: calls a second of all callers together. processor_s: of the whole process, a call."""

    callers: int
    calls: int
    per_s: float
    p50_ms: float
    p99_ms: float
    processor_s: float


def measure(ask: Ask, *, callers: int = 1, duration_s: float = 2.0) -> Speed:
    """Call `ask` without pause from `callers` threads for `duration_s`, started together. Raises what a call raised."""
    for number in range(WARM_UP_CALLS):
        ask(number)
    barrier = threading.Barrier(callers + 1)
    times: list[list[int]] = [[] for _ in range(callers)]
    failures: list[BaseException] = []

    def call(caller: int) -> None:
        mine = times[caller]
        clock = time.perf_counter_ns
        barrier.wait()
        end = clock() + int(duration_s * 1e9)
        number = caller
        try:
            before = clock()
            while before < end:
                ask(number)
                after = clock()
                mine.append(after - before)
                before = after
                number += callers
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    wall, processor = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    elapsed_s, used_s = time.perf_counter() - wall, time.process_time() - processor
    if failures:
        raise failures[0]
    each = np.sort(np.concatenate([np.array(mine, dtype=np.float64) for mine in times])) / 1e6
    return Speed(
        callers=callers,
        calls=len(each),
        per_s=len(each) / elapsed_s,
        p50_ms=quantile(each, 0.5),
        p99_ms=quantile(each, 0.99),
        processor_s=used_s / len(each),
    )


def quantile(ascending: np.ndarray[Any, np.dtype[np.float64]], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    return float(ascending[max(0, math.ceil(share * len(ascending)) - 1)])


class Writer:
    """Counts what a thread wrote until it was told to stop. seconds: from its first write to its last."""

    def __init__(self) -> None:
        self.points = 0
        self.elapsed_s = 0.0

    @property
    def per_s(self) -> float:
        """Points written a second."""
        return self.points / self.elapsed_s if self.elapsed_s else 0.0


@contextmanager
def writing(write: Callable[[int], int]) -> Iterator[Writer]:
    """Call `write` with 0, 1, 2, … in a thread, without pause, while the block runs. write: returns how many points it wrote.

    The block starts when the first write is done. Raises what a write raised.
    """
    writer = Writer()
    stop, started = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def keep_writing() -> None:
        before = time.perf_counter()
        turn = 0
        try:
            while not stop.is_set():
                writer.points += write(turn)
                writer.elapsed_s = time.perf_counter() - before
                started.set()
                turn += 1
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        started.wait()
        yield writer
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def anonymous_bytes() -> int | None:
    """Return the resident memory of this process that no file backs, or None where the system does not tell (it does on Linux)."""
    try:
        return _kibibytes(Path("/proc/self/smaps_rollup"), "Anonymous") or _kibibytes(Path("/proc/self/status"), "RssAnon")
    except OSError:
        return None


def _kibibytes(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def forget_pages(folder: Path) -> None:
    """Ask the system to drop the cached pages of every file below `folder`, so that the next reader goes to the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_child(task: str, **arguments: Any) -> Any:
    """Run a task of `children` in a fresh Python and return what it returned. arguments: plain JSON values.

    Raises Unavailable with the last line of its complaints when it died, whatever it died of.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        code = RUN.format(path=[str(Path(__file__).parents[3])])
        words = [sys.executable, "-c", code, task, json.dumps(arguments), str(answer)]
        try:
            ended = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=CHILD_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"measuring {task} took more than {CHILD_TIMEOUT_S:.0f} s and was ended") from None
        if ended.returncode or not answer.exists():
            complaint = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Unavailable(f"measuring {task} failed with code {ended.returncode}: {complaint}")
        return msgspec.json.decode(answer.read_bytes())
