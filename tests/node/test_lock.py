from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from paradox.errors import StoreLocked, StoreReadOnly, StoreUnreadable
from paradox.node.lock import Writer, WriterLock, read_writer
from worlds import TestEnv

HOLDER = """
import sys, time
from pathlib import Path
from worlds import TestEnv
from paradox.node.lock import WriterLock
lock = WriterLock.acquire(Path(sys.argv[1]), env=TestEnv())
print("locked", flush=True)
sys.stdin.read()
"""


def start_holder(folder: Path) -> subprocess.Popen[bytes]:
    paths = [str(Path(__file__).parents[1]), *sys.path]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    return holder


def test_the_lock_file_names_its_holder(tmp_path: Path) -> None:
    lock = WriterLock.acquire(tmp_path, env=TestEnv())
    expected = {"pid": os.getpid(), "host": socket.gethostname(), "since_us": 1_700_000_000_000_000}
    assert json.loads((tmp_path / "LOCK").read_text()) == expected
    assert read_writer(tmp_path) == Writer(**expected)
    lock.release()
    assert read_writer(tmp_path) is None


def test_two_databases_of_one_program_conflict(tmp_path: Path) -> None:
    lock = WriterLock.acquire(tmp_path, env=TestEnv())
    with pytest.raises(StoreLocked) as caught:
        WriterLock.acquire(tmp_path, env=TestEnv())
    assert caught.value.message == (
        f"{tmp_path} is open for writing by process {os.getpid()} on {socket.gethostname()} (this very program)"
        " since 2023-11-14T22:13:20+00:00; one writer at a time is allowed"
    )
    assert "read_only=True" in caught.value.hint
    lock.release()
    lock.release()
    WriterLock.acquire(tmp_path, env=TestEnv()).release()


def test_another_program_is_named_and_kill_frees_its_lock(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    with pytest.raises(StoreLocked, match=f"open for writing by process {holder.pid} on {socket.gethostname()} since 2023-11-14T22:13:20"):
        WriterLock.acquire(tmp_path, env=TestEnv())
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    lock = WriterLock.acquire(tmp_path, env=TestEnv())
    assert read_writer(tmp_path) == Writer(pid=os.getpid(), host=socket.gethostname(), since_us=1_700_000_000_000_000)
    lock.release()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid":1,"host":"a","since_us":99999999999999999999}', b"\xff" * 9000]
)
def test_a_lock_file_that_says_nothing_sensible_still_locks(tmp_path: Path, content: bytes) -> None:
    lock = WriterLock.acquire(tmp_path, env=TestEnv())
    (tmp_path / "LOCK").write_bytes(content)
    assert read_writer(tmp_path) is None
    with pytest.raises(StoreLocked, match="open for writing by another program"):
        WriterLock.acquire(tmp_path, env=TestEnv())
    lock.release()


def test_what_an_earlier_holder_wrote_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_bytes(b"x" * 5000)
    lock = WriterLock.acquire(tmp_path, env=TestEnv())
    assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StoreReadOnly, match=f"the lock of {tmp_path} could not be written") as caught:
            WriterLock.acquire(tmp_path, env=TestEnv())
    assert "read_only=True" in caught.value.hint


def test_a_full_disk_lets_a_writer_in_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        lock = WriterLock.acquire(tmp_path, env=TestEnv())
    with pytest.raises(StoreLocked, match="another program"):
        WriterLock.acquire(tmp_path, env=TestEnv())
    lock.release()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="no such file or directory"):
        WriterLock.acquire(tmp_path / "missing", env=TestEnv())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnreadable, match="not a directory"):
        WriterLock.acquire(tmp_path / "file", env=TestEnv())


@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_cannot_give_the_parents_lock_away(tmp_path: Path) -> None:
    lock = WriterLock.acquire(tmp_path, env=TestEnv())
    if not (child := os.fork()):
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(StoreLocked):
        WriterLock.acquire(tmp_path, env=TestEnv())
    lock.release()
    WriterLock.acquire(tmp_path, env=TestEnv()).release()
