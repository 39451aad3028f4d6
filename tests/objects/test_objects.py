from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.objects import ObjectStoreConformance
from disks import LOSSES, FaultyDisk, SimulatedDisk
from paradox.errors import ObjectConflict, ParadoxError, StoreFull, StoreReadOnly, StoreUnreadable
from paradox.objects.disk import RealDisk
from paradox.objects.local import LocalStore
from paradox.objects.memory import MemoryStore
from paradox.ports.objects import ObjectStore

ROOT = Path("/database/objects")


class TestMemoryStore(ObjectStoreConformance):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryStore()


class TestLocalStore(ObjectStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return LocalStore(tmp_path / "objects", RealDisk())


class TestLocalStoreOnASimulatedDisk(ObjectStoreConformance):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return LocalStore(ROOT, SimulatedDisk())


def test_an_object_is_a_file_that_can_be_mapped(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, RealDisk())
    store.put("segments/s1", [b"vectors"])
    assert store.path("segments/s1") == tmp_path / "segments" / "s1"
    assert store.path("segments/s1").read_bytes() == b"vectors"
    for name in ("segments", "segments/s2"):
        with pytest.raises(KeyError, match=name):
            store.path(name)


def test_a_finished_file_is_adopted_by_moving_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects", RealDisk())
    (tmp_path / "built").write_bytes(b"index")
    inode = (tmp_path / "built").stat().st_ino
    store.adopt("segments/s1/index", tmp_path / "built")
    assert store.path("segments/s1/index").stat().st_ino == inode
    assert not (tmp_path / "built").exists()


def test_a_file_for_a_taken_name_stays_where_it_is(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects", RealDisk())
    store.put("a", [b"first"])
    (tmp_path / "built").write_bytes(b"second")
    with pytest.raises(ObjectConflict, match="'a' exists already"):
        store.adopt("a", tmp_path / "built")
    assert (tmp_path / "built").read_bytes() == b"second"
    assert store.get("a") == b"first"


def test_a_file_of_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def only_within_one_folder(source: Path, target: Path) -> None:
        if source.parent != target.parent:
            raise OSError(errno.EXDEV, "invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", only_within_one_folder)
    store = LocalStore(tmp_path / "objects", RealDisk())
    (tmp_path / "built").write_bytes(b"index")
    store.adopt("a", tmp_path / "built")
    assert store.get("a") == b"index"
    assert not (tmp_path / "built").exists()
    assert [path.name for path in (tmp_path / "objects").iterdir()] == ["a"]


def test_adopting_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="no such file"):
        LocalStore(tmp_path, RealDisk()).adopt("a", tmp_path / "missing")


def test_an_object_cannot_stand_where_a_folder_is_needed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, RealDisk())
    store.put("a", [b"x"])
    store.put("b/c", [b"x"])
    for name in ("a/b", "a/b/c", "b"):
        with pytest.raises(ObjectConflict):
            store.put(name, [b"y"])
    assert store.list() == ["a", "b/c"]


def test_a_folder_that_someone_removed_is_made_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects", RealDisk())
    store.put("a/b", [b"x"])
    (tmp_path / "objects" / "a" / "b").unlink()
    (tmp_path / "objects" / "a").rmdir()
    store.put("a/c", [b"y"])
    assert store.list() == ["a/c"]


def test_what_was_never_finished_is_not_listed_and_can_be_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, RealDisk())
    store.put("a/b", [b"x"])
    for left in (tmp_path / ".unfinished-7-1", tmp_path / "a" / ".unfinished-7-2"):
        left.write_bytes(b"half")
    (tmp_path / "a" / ".hidden").write_bytes(b"not ours")
    assert store.list() == store.list("")[:1] == ["a/b"]
    assert store.sweep() == 2
    assert store.sweep() == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".hidden", "b"]


def test_names_that_an_earlier_program_left_are_used_again(tmp_path: Path) -> None:
    (tmp_path / f".unfinished-{os.getpid()}-1").write_bytes(b"left by a program of the same number")
    store = LocalStore(tmp_path, RealDisk())
    store.put("a", [b"x"])
    assert store.get("a") == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("operation", ["state", "open"])
def test_an_object_deleted_while_it_is_fetched_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    disk = RealDisk()
    store = LocalStore(tmp_path, disk)
    store.put("manifests/1", [b"whole"])
    path, done = store.path("manifests/1"), getattr(disk, operation)

    def overtaken(asked: Path) -> object:
        result = done(asked)
        path.unlink(missing_ok=True)
        return result

    monkeypatch.setattr(disk, operation, overtaken)
    try:
        assert store.get("manifests/1") == b"whole"
    except KeyError as error:
        assert error.args == ("manifests/1",)
    assert not path.exists()


def test_a_read_only_store_changes_nothing() -> None:
    disk = SimulatedDisk()
    LocalStore(ROOT, disk).put("a", [b"x"])
    disk.create(ROOT / "built").append([b"y"])
    before = disk.contents()
    done: list[str] = []
    disk.after = done.append
    store = LocalStore(ROOT, disk, read_only=True)
    for call in (lambda: store.put("b", [b"y"]), lambda: store.adopt("b", ROOT / "built"), lambda: store.delete("a"), store.sweep):
        with pytest.raises(StoreReadOnly, match="were opened read-only"):
            call()
    assert (store.get("a"), store.list()) == (b"x", ["a", "built"])
    assert (disk.contents(), done) == (before, [])


def test_a_read_only_store_of_a_missing_folder_is_empty(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "missing", RealDisk(), read_only=True)
    assert store.list() == []
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("operation", ["make_folder", "create", "append", "sync", "publish", "sync_folder"])
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (errno.ENOSPC, StoreFull, "the disk is full: 'a/b' in /database/objects could not be written, and nothing was changed"),
        (errno.EROFS, StoreReadOnly, "'a/b' in /database/objects could not be written: read-only file system"),
        (errno.EIO, StoreUnreadable, "'a/b' in /database/objects could not be written: input/output error"),
    ],
)
def test_a_put_that_fails_leaves_nothing_behind(operation: str, error: int, expected: type[ParadoxError], message: str) -> None:
    disk = SimulatedDisk()
    store = LocalStore(ROOT, FaultyDisk(disk, operation, error, written=3))
    with pytest.raises(expected) as caught:
        store.put("a/b", [b"content"])
    assert (caught.value.message, bool(caught.value.hint)) == (message, True)
    assert disk.contents() == {}
    store.put("a/b", [b"content"])
    assert store.get("a/b") == b"content"


@pytest.mark.parametrize("operation", ["extend", "sync", "publish", "sync_folder"])
def test_an_adoption_that_fails_leaves_the_file_where_it_was(operation: str) -> None:
    disk = SimulatedDisk()
    disk.make_folder(ROOT)
    disk.create(ROOT / "built").append([b"index"])
    store = LocalStore(ROOT, FaultyDisk(disk, operation, errno.EIO))
    with pytest.raises(StoreUnreadable, match="input/output error"):
        store.adopt("a", ROOT / "built")
    assert disk.contents() == {ROOT / "built": b"index"}
    store.adopt("a", ROOT / "built")
    assert disk.contents() == {ROOT / "a": b"index"}


@pytest.mark.parametrize("operation", ["state", "open", "names"])
def test_a_disk_that_cannot_be_read_is_said(operation: str) -> None:
    disk = SimulatedDisk()
    LocalStore(ROOT, disk).put("a", [b"x"])
    store = LocalStore(ROOT, FaultyDisk(disk, operation, errno.EIO))
    with pytest.raises(StoreUnreadable, match=r"/database/objects.* could not be read: input/output error"):
        store.list() if operation == "names" else store.get("a")


def test_a_power_cut_at_any_moment_leaves_each_object_whole_or_absent() -> None:
    dice = random.Random(42)
    promised: dict[str, bytes] = {}
    uncertain: dict[str, bytes] = {}  # being put or deleted when the power failed
    wrecks: list[tuple[dict[Path, bytes], dict[str, bytes], dict[str, bytes]]] = []

    def photograph(_: str) -> None:
        wrecks.extend((disk.after_power_cut(loss, dice), dict(promised), dict(uncertain)) for loss in LOSSES)

    disk = SimulatedDisk(after=photograph)
    store = LocalStore(ROOT, disk)
    for number in range(25):
        name, content = f"s{number % 3}/{number}", dice.randbytes(dice.choice((0, 10, 600, 3000)))
        uncertain = {name: content}
        if number % 5 == 4:
            disk.create(ROOT / "s0" / "built").append([content])
            store.adopt(name, ROOT / "s0" / "built")
        else:
            store.put(name, [content[:5], content[5:]])
        promised, uncertain = promised | uncertain, {}
        if number % 4 == 3:
            name = dice.choice(sorted(promised))
            uncertain = {name: promised.pop(name)}
            store.delete(name)
            uncertain = {}
    assert len(wrecks) > 400
    for files, kept, perhaps in wrecks:
        after = SimulatedDisk(files)
        store = LocalStore(ROOT, after)
        store.sweep()
        found = {name: store.get(name) for name in store.list() if name != "s0/built"}
        assert kept.items() <= found.items()
        assert found.items() <= (kept | perhaps).items()
        assert not [path for path in after.contents() if path.name.startswith(".")]


def test_two_programs_that_put_one_name_at_once_do_not_mix(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from paradox.errors import ObjectConflict; from paradox.objects.disk import RealDisk\n"
        "from paradox.objects.local import LocalStore\n"
        "store, won = LocalStore(Path(sys.argv[1]), RealDisk()), 0\n"
        "for number in range(30):\n"
        "    try:\n"
        "        store.put(f'a/{number}', [sys.argv[2].encode() * 5000]); won += 1\n"
        "    except ObjectConflict:\n"
        "        pass\n"
        "print(won)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    programs = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), letter], stdout=subprocess.PIPE, env=environment) for letter in "xy"
    ]
    assert sum(int(each.communicate()[0]) for each in programs) == 30
    store = LocalStore(tmp_path, RealDisk())
    assert len(store.list()) == 30
    assert {store.get(name) for name in store.list()} <= {b"x" * 5000, b"y" * 5000}
