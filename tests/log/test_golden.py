"""A log file of format 1, written once and kept: it must open for ever. `python tests/log/test_golden.py FOLDER` writes it anew."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from conformance.log import entries
from paradox.log.file import FileLog
from paradox.model.schema import Limits
from paradox.objects.disk import RealDisk
from worlds import TestEnv

GOLDEN = Path(__file__).parents[1] / "golden" / "log-v1"
APPENDS = [
    [[b"the first entry"]],
    [[b"in", b" pieces"], [b""], [bytes(range(256))]],
    [["Größe, 大きさ".encode()]],
]


def write(folder: Path) -> None:
    """Write two files: a full one, and one that was closed, gone on with and closed again."""
    for bodies in ([APPENDS[0], APPENDS[1]], [APPENDS[2]], [APPENDS[0]]):
        log = open_log(folder)
        for each in bodies:
            log.append(each)
        log.close()


def open_log(folder: Path, *, read_only: bool = False) -> FileLog:
    return FileLog.open(folder, disk=RealDisk(), env=TestEnv(), limits=Limits(log_file_bytes_max=400), read_only=read_only, incarnation=3)


def expected() -> list[tuple[int, bytes]]:
    return list(enumerate((b"".join(body) for bodies in (*APPENDS, APPENDS[0]) for body in bodies), start=1))


def test_a_log_of_format_1_opens_for_ever() -> None:
    log = open_log(GOLDEN, read_only=True)
    assert (log.incarnation, log.first, log.last) == (3, 1, 6)
    assert entries(log) == expected()


def test_a_log_of_format_1_can_be_gone_on_with(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "log")
    log = open_log(tmp_path / "log")
    assert log.append([[b"seven"]]) == 7
    log.close()
    assert entries(open_log(tmp_path / "log", read_only=True)) == [*expected(), (7, b"seven")]


def test_format_1_is_written_as_it_was(tmp_path: Path) -> None:
    """When this fails, the bytes on disk changed: raise FORMAT, keep the old folder, and add one for the new format."""
    write(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in GOLDEN.iterdir()}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
