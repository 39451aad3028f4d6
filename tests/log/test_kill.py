"""Real programs on a real disk: a writer that is killed without warning, and a reader beside a writer that never pauses."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paradox.errors import LogCorrupt
from paradox.log.file import FileLog
from paradox.model.schema import Limits
from paradox.objects.disk import RealDisk
from worlds import TestEnv

ROUNDS = 5
LIMITS = Limits(log_file_bytes_max=20_000)
ENTRIES = 1500
WRITER = """
import os, sys
from test_kill import bodies_from, open_log
log = open_log(sys.argv[1], seed=int(sys.argv[2]))
while log.last < int(sys.argv[3]):
    last = log.append([[body[:5], body[5:]] for body in bodies_from(log.last + 1)])
    if last % 50 > 45 and sys.argv[4] == "trim":
        log.trim(last - 40)
    os.write(1, b"%d\\n" % last)
"""


def bodies_from(position: int) -> list[bytes]:
    """Return what stands at `position` and after it, as one append. Each body is known from its position alone, whoever wrote it."""
    return [random.Random(at).randbytes(at * 37 % 1500) for at in range(position, position + position % 4 + 1)]


def open_log(folder: str | Path, *, seed: int, read_only: bool = False) -> FileLog:
    return FileLog.open(folder, disk=RealDisk(), env=TestEnv(seed), limits=LIMITS, read_only=read_only)


def start_writer(folder: Path, *, seed: int, until: int, trim: str = "keep") -> subprocess.Popen[bytes]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seed), str(until), trim],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged = 0
    for number in range(ROUNDS):
        writer = start_writer(tmp_path, seed=number, until=1 << 40, trim="trim")
        assert writer.stdout is not None
        for _ in range(random.Random(number).randrange(20, 120)):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        acknowledged = int(([b"%d" % acknowledged, *writer.stdout.read().splitlines()])[-1])
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        reader = open_log(tmp_path, seed=number, read_only=True)
        log = open_log(tmp_path, seed=number + 100)
        assert log.last == reader.last >= acknowledged
        assert 1 < log.first <= acknowledged - 40 + 1
        check(log.read(log.first - 1), log.first, log.last)
        if number % 2:
            log.close()
    assert acknowledged > 200


def test_a_reader_follows_a_writer_that_never_pauses(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, seed=1, until=ENTRIES)
    assert writer.stdout is not None
    acknowledged = int(writer.stdout.readline())
    reader = open_log(tmp_path, seed=2, read_only=True)
    seen = polls = 0
    while seen < ENTRIES:
        found = list(reader.read(seen))
        check(iter(found), seen + 1, reader.last)
        assert reader.last >= acknowledged
        assert found or writer.poll() is None, "the writer ended, and the reader does not see its last entries"
        seen, polls = reader.last, polls + 1
        if found and writer.poll() is None:
            acknowledged = int(writer.stdout.readline() or seen)
    assert polls > 10
    writer.communicate()
    assert writer.returncode == 0
    assert len(list(tmp_path.iterdir())) > 10


def check(found: Iterator[tuple[int, memoryview]], first: int, last: int) -> None:
    positions = []
    for position, body in found:
        assert body == random.Random(position).randbytes(position * 37 % 1500)
        positions.append(position)
    assert positions == list(range(first, last + 1))


def test_threads_may_append_trim_and_read_at_once(tmp_path: Path) -> None:
    log = FileLog.open(tmp_path, disk=RealDisk(), env=TestEnv(), limits=Limits(log_file_bytes_max=2000))

    def append() -> None:
        for _ in range(100):
            log.append([[b"%d" % number] for number in range(3)])

    def trim() -> None:
        while log.last < 400:
            log.trim(log.last - 200)

    def read() -> int:
        count = 0
        while log.last < 400:
            first = max(log.last - 100, 0)
            try:
                positions = [position for position, _ in log.read(first)]
            except LogCorrupt as trimmed:  # by the other thread, if this one sleeps for a hundred entries
                if "trimmed" not in trimmed.message:
                    raise
                continue
            assert positions == list(range(first + 1, first + 1 + len(positions)))
            count += len(positions)
        return count

    with ThreadPoolExecutor(5) as pool:
        tasks = [pool.submit(work) for work in (append, append, trim, read, read)]
        results = [task.result() for task in tasks]
    assert results[3] > 0
    assert results[4] > 0
    assert log.last == 600
    assert log.first > 1  # how far trimming got depends on how the threads were scheduled
