from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from conformance.disk import DiskConformance, content, written
from disks import SimulatedDisk
from paradox.objects.disk import RealDisk
from paradox.ports.disk import Disk


class TestRealDisk(DiskConformance):
    @pytest.fixture
    def disk(self) -> Disk:
        return RealDisk()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def test_a_write_that_the_system_cuts_short_is_finished(self, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        writev = os.writev

        def one_to_three_bytes(descriptor: int, pieces: list[bytes]) -> int:
            return writev(descriptor, [memoryview(piece).cast("B")[:3] for piece in pieces if memoryview(piece).nbytes][:1])

        monkeypatch.setattr(os, "writev", one_to_three_bytes)
        assert content(disk, written(disk, folder / "a", b"0123456789", b"", b"ab", b"cdefg")) == b"0123456789abcdefg"

    def test_a_system_that_writes_nothing_is_an_error(self, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "writev", lambda *_: 0)
        with pytest.raises(OSError, match="wrote nothing"):
            written(disk, folder / "a", b"0123456789")

    def test_a_read_that_the_system_cuts_short_is_finished(self, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(disk, folder / "a", b"0123456789")
        pread = os.pread
        monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: pread(descriptor, min(size, 3), offset))
        file = disk.open(path)
        assert [file.read(0, 10), file.read(1, 100), file.read(20, 5)] == [b"0123456789", b"123456789", b""]
        file.close()

    @pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP])
    def test_publish_works_where_there_are_no_hard_links(
        self, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
    ) -> None:
        def link(*_: object) -> None:
            raise OSError(refusal, os.strerror(refusal))

        monkeypatch.setattr(os, "link", link)
        self.test_rename_replaces_and_publish_does_not(disk, folder)

    def test_a_file_system_that_cannot_sync_folders_is_taken_as_it_is(
        self, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fsync(_: int) -> None:
            raise OSError(errno.EINVAL, "invalid argument")

        monkeypatch.setattr(os, "fsync", fsync)
        disk.make_folder(folder / "a" / "b")
        assert disk.names(folder) == ["a/"]

    def test_a_folder_that_cannot_be_synced_is_an_error(self, disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fsync(_: int) -> None:
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="input/output"):
            disk.sync_folder(folder)

    @pytest.mark.filterwarnings("ignore:This process")
    def test_a_forked_child_cannot_write_to_the_parents_file(self, disk: Disk, folder: Path) -> None:
        file = disk.create(folder / "a")
        if not (child := os.fork()):
            try:
                file.append([b"child"])
            except PermissionError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        file.append([b"parent"])
        file.close()
        assert content(disk, folder / "a") == b"parent"


class TestSimulatedDisk(DiskConformance):
    @pytest.fixture
    def disk(self) -> Disk:
        return SimulatedDisk()

    @pytest.fixture
    def folder(self, disk: Disk) -> Path:
        disk.make_folder(Path("/memory"))
        return Path("/memory")
