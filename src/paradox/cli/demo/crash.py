"""Crash: a writing process is killed in the middle of its work, and nothing it was promised is lost."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paradox.cli.demo.tour import Tour
from paradox.cli.demo.writer import COLLECTION, vector_of
from paradox.cli.screen import seconds
from paradox.errors import InternalError

ACKNOWLEDGED_BEFORE_KILL = 700
PATIENCE_S = 30.0


def crash(tour: Tour) -> dict[str, Any]:
    """Start a writer, kill it with signal 9, reopen its folder and compare with what it was told. Raises InternalError on any loss."""
    with tempfile.TemporaryDirectory(prefix="paradox-demo-") as folder:
        acknowledged, writing_s = write_until_killed(folder, ACKNOWLEDGED_BEFORE_KILL)
        rate = len(acknowledged) / writing_s
        tour.line(
            f"another process adds points one by one and is told of each when it is on disk: {len(acknowledged):,}, {rate:,.0f} a second"
        )
        tour.line("then, in the middle of its work: ", ("kill -9", "bold red"))
        kept, lost, wrong, opening_s = compare(folder, acknowledged)
    extra = kept - (len(acknowledged) - lost)
    note = f", and {extra} more that it had not heard of yet" if extra else ""
    if lost or wrong:
        raise InternalError(f"{lost} acknowledged points are lost and {wrong} came back changed")
    tour.line(
        f"reopened in {seconds(opening_s)}: ",
        (f"{len(acknowledged):,} of {len(acknowledged):,} acknowledged points are back, 0 lost, 0 changed", "bold green"),
        f"{note}",
    )
    return {"acknowledged": len(acknowledged), "lost": lost, "changed": wrong, "unannounced": extra, "reopened_s": opening_s}


def write_until_killed(folder: str, enough: int) -> tuple[list[int], float]:
    """Return (ids that the writer was told are stored, seconds it wrote). It is killed while it goes on after `enough` of them."""
    command = [sys.executable, "-m", "paradox.cli.demo.writer", folder]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    watchdog = threading.Timer(PATIENCE_S, writer.kill)
    watchdog.start()
    lines: list[str] = []
    started = time.perf_counter()
    try:
        assert writer.stdout is not None
        for line in writer.stdout:
            if not lines:
                started = time.perf_counter()
            lines.append(line)
            if len(lines) == enough:
                writer.kill()
    finally:
        elapsed_s = time.perf_counter() - started
        watchdog.cancel()
        writer.kill()
        writer.wait()
    acknowledged = [int(line) for line in lines if line.endswith("\n")]
    if len(acknowledged) < enough:
        raise InternalError(f"the writing process stopped by itself after {len(acknowledged)} points")
    return acknowledged, max(elapsed_s, 1e-9)


def _same(vector: NDArray[Any] | None, number: int) -> bool:
    return vector is not None and np.array_equal(vector, vector_of(number))


def compare(folder: str, acknowledged: list[int]) -> tuple[int, int, int, float]:
    """Return (points in the folder, acknowledged ones that are lost, ones that differ, seconds to open)."""
    import paradox

    started = time.perf_counter()
    with paradox.connect(Path(folder)) as database:
        diary = database[COLLECTION]
        opening_s = time.perf_counter() - started
        there = {int(hit.id): hit for hit in diary.get(acknowledged, with_vectors=True)}
        lost = sum(number not in there for number in acknowledged)
        wrong = sum(hit.payload != {"number": number} or not _same(hit.vector, number) for number, hit in there.items())
        return diary.count(), lost, wrong, opening_s
