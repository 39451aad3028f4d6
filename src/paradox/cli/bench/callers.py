"""Callers: processes of their own that ask one server without pause, so that no caller waits for another's lock."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from paradox.cli.bench.timing import RUN, WARM_UP_CALLS, Speed, quantile
from paradox.errors import Unavailable

GO, READY = b"go\n", b"ready\n"
ENOUGH_FAILURES = 100


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller did. at_s: when each call began, since it was told to go; took_ms: of those that were answered. done: points."""

    at_s: list[float]
    took_ms: list[float]
    failures: list[str]
    elapsed_s: float
    done: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What all callers did together."""

    callers: int
    calls: list[Calls]

    @property
    def speed(self) -> Speed:
        """Calls a second of all callers together, and how long they took."""
        each = np.sort(self.took_ms)
        elapsed_s = max(one.elapsed_s for one in self.calls)
        return Speed(
            callers=self.callers,
            calls=len(each),
            per_s=len(each) / elapsed_s,
            p50_ms=quantile(each, 0.5),
            p99_ms=quantile(each, 0.99),
            processor_s=0.0,
        )

    @property
    def took_ms(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """How long each answered call took."""
        return np.concatenate([np.array(one.took_ms, dtype=np.float64) for one in self.calls])

    @property
    def points_per_s(self) -> float:
        """Points written a second."""
        return sum(one.done for one in self.calls) / max(one.elapsed_s for one in self.calls)

    @property
    def failures(self) -> list[str]:
        """What went wrong, of all callers."""
        return [failure for one in self.calls for failure in one.failures]


def call(task: str, *, callers: int, duration_s: float, beside: Callable[[], None] | None = None, **arguments: Any) -> Told:
    """Let `callers` processes do a task of `children` at once, and return what they did. Raises Unavailable when one of them died.

    beside: what is done here while they call.
    """
    code = RUN.format(path=[str(Path(__file__).parents[3])])
    started: list[tuple[subprocess.Popen[bytes], Path]] = []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for number in range(callers):
                answer = Path(scratch) / f"{number}.json"
                given = json.dumps(arguments | {"duration_s": duration_s, "caller": number, "callers": callers})
                command = [sys.executable, "-c", code, task, given, str(answer)]
                started.append((subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE), answer))
            for child, _ in started:
                assert child.stdout is not None
                if child.stdout.readline() != READY:
                    raise _died(child)
            for child, _ in started:
                assert child.stdin is not None
                child.stdin.write(GO)
                child.stdin.flush()
            if beside is not None:
                beside()
            return Told(callers=callers, calls=[_calls(child, answer) for child, answer in started])
        finally:
            for child, _ in started:
                child.kill()
                child.communicate()


def _calls(child: subprocess.Popen[bytes], answer: Path) -> Calls:
    child.wait()
    if child.returncode or not answer.exists():
        raise _died(child)
    return msgspec.json.decode(answer.read_bytes(), type=Calls)


def _died(child: subprocess.Popen[bytes]) -> Unavailable:
    child.kill()
    _, said = child.communicate()
    complaint = (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    return Unavailable(f"a caller died: {complaint}", hint="look at the server's own log")


# -- in the callers


def repeat(ask: Callable[[int], int], *, caller: int, callers: int, duration_s: float, warm: int = WARM_UP_CALLS) -> Calls:
    """Say that this caller is ready, wait for the word, and call `ask` with this caller's numbers for so long. ask: returns points done."""
    for number in range(warm):
        ask(caller + number * callers)
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    if sys.stdin.buffer.readline() != GO:
        sys.exit("nobody said go")
    at_s: list[float] = []
    took_ms: list[float] = []
    failures: list[str] = []
    done, number = 0, caller + warm * callers
    began = time.perf_counter()
    end = began + duration_s
    while (before := time.perf_counter()) < end and len(failures) < ENOUGH_FAILURES:
        try:
            done += ask(number)
        except Exception as error:  # whatever a client of any make raises
            failures.append(f"{type(error).__name__}: {error}"[:200])
        else:
            at_s.append(before - began)
            took_ms.append((time.perf_counter() - before) * 1e3)
        number += callers
    return Calls(at_s=at_s, took_ms=took_ms, failures=failures, elapsed_s=time.perf_counter() - began, done=done)


def search_without_pause(
    kind: str, target: str, questions: str, effort: int, recall: float, caller: int, callers: int, duration_s: float
) -> Calls:
    """Search one server for the questions in a file. kind: of `server_peers.CLIENTS`."""
    from paradox.cli.bench.server_peers import connect

    asked = np.load(questions)
    client = connect(kind, target, recall=recall)
    client.set_effort(effort)
    return repeat(lambda number: len(client.search(asked[number % len(asked)])), caller=caller, callers=callers, duration_s=duration_s)


def write_without_pause(
    target: str, collection: str, vectors: str, batch: int, caller: int, callers: int, duration_s: float, timeout_s: float
) -> Calls:
    """Add points to a collection that exists, `batch` of them a call, vectors from a file over and over, ids that nobody else takes."""
    import paradox

    rows = np.load(vectors, mmap_mode="r")
    with paradox.connect(target, timeout_s=timeout_s) as database:
        points = database[collection]

        def add(number: int) -> int:
            start = number * batch
            chosen = np.arange(start, start + batch)
            points.add(ids=chosen, vectors=np.array(rows[chosen % len(rows)]))
            return batch

        return repeat(add, caller=caller, callers=callers, duration_s=duration_s, warm=2)
