"""A saved full-text index as files and as one bundle: whole, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import xxhash

from paradox.errors import FormatTooNew, SegmentCorrupt
from paradox.index import text_files
from paradox.index.text import TantivyText

FIELDS = ("body",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = TantivyText.create(None, FIELDS)
    index.add(0, [{"body": f"the sea number {row}"} for row in range(50)])
    index.save(tmp_path / "saved" / "text")
    return tmp_path / "saved" / "text"


def rows_of(folder: Path) -> list[int]:
    return sorted(TantivyText.open(folder, FIELDS).search("sea", 100)[1].tolist())


def sealed(body: bytes) -> bytes:
    """Return a bundle's body with a digest that fits it."""
    return body + xxhash.xxh3_64_intdigest(body).to_bytes(8, "little")


def test_a_bundle_carries_the_whole_index(folder: Path, tmp_path: Path) -> None:
    bundle = text_files.pack(folder)
    text_files.unpack(bundle, tmp_path / "elsewhere" / "text")
    assert rows_of(tmp_path / "elsewhere" / "text") == list(range(50))
    assert text_files.pack(tmp_path / "elsewhere" / "text") == bundle


def test_lock_files_do_not_travel(folder: Path) -> None:
    assert not [path for path in folder.iterdir() if path.suffix == ".lock"]
    TantivyText.open(folder, FIELDS)
    assert b".lock" not in text_files.pack(folder)


def test_any_changed_byte_of_a_bundle_is_noticed(folder: Path, tmp_path: Path) -> None:
    bundle = text_files.pack(folder)
    for place in range(0, len(bundle), 97):
        changed = bytearray(bundle)
        changed[place] ^= 1
        with pytest.raises(SegmentCorrupt):
            text_files.unpack(bytes(changed), tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("length", [0, 1, 11, 12, 19, 20, 100, -1])
def test_a_bundle_that_was_cut_is_noticed(folder: Path, tmp_path: Path, length: int) -> None:
    bundle = text_files.pack(folder)
    with pytest.raises(SegmentCorrupt):
        text_files.unpack(bundle[:length], tmp_path / "never")
    with pytest.raises(SegmentCorrupt):
        text_files.unpack(sealed(bundle[:-8][:length]), tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("name", [b"../above", b"/absolute", b"a/b", b"..", b".", b"", b"a\\b", b"\xff", b"C:x"])
def test_a_bundle_cannot_name_a_file_outside_its_folder(tmp_path: Path, name: bytes) -> None:
    body = b"PXTB" + (1).to_bytes(4, "little") + (1).to_bytes(4, "little")
    body += len(name).to_bytes(4, "little") + (1).to_bytes(8, "little") + name + b"x"
    with pytest.raises(SegmentCorrupt):
        text_files.unpack(sealed(body), tmp_path / "inside")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_a_later_format_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatTooNew, match="format 9, this version reads up to 1"):
        text_files.unpack(sealed(b"PXTB" + (9).to_bytes(4, "little") + bytes(4)), tmp_path / "never")


def test_unpacking_again_after_a_crash_succeeds(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.part").mkdir()
    (tmp_path / "text.part" / "left over").write_bytes(b"x")
    text_files.unpack(text_files.pack(folder), tmp_path / "text")
    assert rows_of(tmp_path / "text") == list(range(50))


def test_every_file_of_a_folder_is_checked_when_it_is_opened(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for damaged in (content[:-1], content[: len(content) // 2] + b"\x00\xff" + content[len(content) // 2 + 2 :]):
            path.write_bytes(damaged)
            with pytest.raises((OSError, ValueError)):
                TantivyText.open(folder, FIELDS)
        path.unlink()
        with pytest.raises((OSError, ValueError)):
            TantivyText.open(folder, FIELDS)
        path.write_bytes(content)
    assert rows_of(folder) == list(range(50))


def test_a_folder_without_its_note_is_not_whole(folder: Path) -> None:
    (folder / "index.json").unlink()
    with pytest.raises(FileNotFoundError):
        TantivyText.open(folder, FIELDS)
    with pytest.raises(SegmentCorrupt, match="not complete"):
        text_files.pack(folder)


def test_an_index_of_other_fields_is_not_opened(folder: Path) -> None:
    with pytest.raises(ValueError, match="made in another way"):
        TantivyText.open(folder, ("title",))
