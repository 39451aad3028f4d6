"""What every Disk must do. Subclass `DiskConformance` and give it the fixtures `disk` and `folder`: a Disk, and a folder it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from paradox.ports.disk import Disk


def written(disk: Disk, path: Path, *pieces: bytes) -> Path:
    file = disk.create(path)
    file.append(pieces)
    file.close()
    return path


def content(disk: Disk, path: Path) -> bytes:
    file = disk.open(path)
    try:
        return file.read(0, 1 << 20)
    finally:
        file.close()


class DiskConformance:
    def test_pieces_are_written_one_after_the_other(self, disk: Disk, folder: Path) -> None:
        path = written(disk, folder / "a", b"one", b"", b"two")
        file = disk.extend(path)
        file.append([memoryview(b"three"), bytearray(b"four")])
        file.append([])
        file.sync()
        file.close()
        assert content(disk, path) == b"onetwothreefour"
        assert disk.state(path).size == 15

    def test_more_pieces_than_a_system_call_takes_are_written(self, disk: Disk, folder: Path) -> None:
        pieces = [b"%d" % number for number in range(3000)]
        assert content(disk, written(disk, folder / "a", *pieces)) == b"".join(pieces)

    def test_reads_end_where_the_file_ends(self, disk: Disk, folder: Path) -> None:
        file = disk.open(written(disk, folder / "a", b"0123456789"))
        assert [file.read(2, 3), file.read(8, 5), file.read(10, 5), file.read(99, 5)] == [b"234", b"89", b"", b""]
        file.close()

    def test_a_map_is_read_only_and_outlives_the_file(self, disk: Disk, folder: Path) -> None:
        path = written(disk, folder / "a", b"0123456789")
        file = disk.open(path)
        view = file.map()
        file.close()
        disk.remove(path)
        assert view.readonly
        assert view == b"0123456789"

    def test_an_empty_file_can_be_mapped(self, disk: Disk, folder: Path) -> None:
        file = disk.open(written(disk, folder / "a"))
        assert file.map() == b""
        file.close()

    def test_a_cut_file_goes_on_where_it_was_cut(self, disk: Disk, folder: Path) -> None:
        path = written(disk, folder / "a", b"0123456789")
        file = disk.extend(path)
        file.truncate(4)
        file.append([b"x"])
        file.close()
        assert content(disk, path) == b"0123x"

    def test_an_open_file_stays_readable_when_its_name_is_removed(self, disk: Disk, folder: Path) -> None:
        path = written(disk, folder / "a", b"0123")
        file = disk.open(path)
        disk.remove(path)
        assert file.read(0, 10) == b"0123"
        file.close()

    def test_what_is_missing_or_taken_is_said(self, disk: Disk, folder: Path) -> None:
        path = written(disk, folder / "a")
        with pytest.raises(FileExistsError):
            disk.create(path)
        for call in (disk.open, disk.extend, disk.state, disk.remove, disk.names):
            with pytest.raises(FileNotFoundError):
                call(folder / "missing")
        with pytest.raises(FileNotFoundError):
            disk.create(folder / "missing" / "a")
        with pytest.raises(NotADirectoryError):
            disk.names(path)
        with pytest.raises(FileExistsError):
            disk.make_folder(path)
        with pytest.raises(IsADirectoryError):
            disk.state(folder)

    def test_folders_are_made_with_their_parents_and_listed_with_a_slash(self, disk: Disk, folder: Path) -> None:
        disk.make_folder(folder / "b" / "c")
        disk.make_folder(folder / "b" / "c")
        written(disk, folder / "b" / "d")
        written(disk, folder / "a")
        disk.sync_folder(folder)
        assert disk.names(folder) == ["a", "b/"]
        assert disk.names(folder / "b") == ["c/", "d"]

    def test_rename_replaces_and_publish_does_not(self, disk: Disk, folder: Path) -> None:
        one, two = written(disk, folder / "one", b"1"), written(disk, folder / "two", b"2")
        with pytest.raises(FileExistsError):
            disk.publish(one, two)
        assert disk.names(folder) == ["one", "two"]
        disk.publish(one, folder / "three")
        assert disk.names(folder) == ["three", "two"]
        disk.rename(two, folder / "three")
        assert disk.names(folder) == ["three"]
        assert content(disk, folder / "three") == b"2"

    def test_every_change_changes_the_state(self, disk: Disk, folder: Path) -> None:
        path = written(disk, folder / "a", b"0123")
        file = disk.extend(path)
        states = [disk.state(path)]
        file.append([b"4"])
        states.append(disk.state(path))
        file.truncate(2)
        states.append(disk.state(path))
        file.close()
        assert len(set(states)) == 3
