"""What a newer version wrote is refused by its name and its version, and nothing on disk is touched."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import pytest
import xxhash

from durability.grown import SHAPE, Grown, opened
from durability.lives import ASIDE, NAME
from paradox.client.sync import Database
from paradox.errors import FormatTooNew
from paradox.log.file import FileLog
from paradox.log.frame import FILE_HEADER_BYTES
from paradox.model.schema import Limits
from paradox.objects.disk import RealDisk
from paradox.shard.container import MAGIC, TAIL
from paradox.shard.manifest import HEAD
from worlds import TestEnv


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    return Grown(tmp_path_factory.mktemp("grown"))


@pytest.fixture
def folder(grown: Grown, tmp_path: Path) -> Path:
    folder = grown.copy(tmp_path / "database")
    database = Database(opened(folder))
    SHAPE.collection(database, ASIDE).add(ids=[1], vectors=np.ones((1, 8)))
    database.close()
    return folder


def newer_spec(folder: Path) -> str:
    path = folder / "collections" / NAME / "spec.json"
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    return f"collection '{NAME}' has format 2; this version reads up to 1"


def newer_log_file(folder: Path) -> str:
    path = max((folder / "collections" / NAME / "log").iterdir())
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 8, 2)
    struct.pack_into("<I", content, FILE_HEADER_BYTES - 4, crc32(content[: FILE_HEADER_BYTES - 4]))
    path.write_bytes(content)
    return f"{path} has log format 2; this version of Paradox reads up to 1"


def newer_log_entry(folder: Path) -> str:
    log = FileLog.open(folder / "collections" / NAME / "log", disk=RealDisk(), env=TestEnv(), limits=Limits())
    log.append([[struct.pack("<HHI", 2, 0, 0)]])
    log.close()
    return "a log entry has format 2; this version reads up to 1"


def newer_segment(folder: Path) -> str:
    path = min((folder / "collections" / NAME).glob("segments/*/points"))
    content = path.read_bytes()
    length, _, _ = TAIL.unpack(content[-TAIL.size :])
    body, footer = content[: -TAIL.size - length], msgspec.msgpack.decode(content[-TAIL.size - length : -TAIL.size])
    raw = msgspec.msgpack.encode(footer | {"version": 2})
    path.write_bytes(body + raw + TAIL.pack(len(raw), xxhash.xxh3_64_intdigest(raw), MAGIC))
    return f"segment file {path.parent.name}/points has format 2; this version reads up to 1"


def newer_manifest(folder: Path) -> str:
    path = max((folder / "collections" / NAME / "manifests").iterdir())
    content = path.read_bytes()
    magic, _, _ = HEAD.unpack_from(content)
    raw = msgspec.msgpack.encode(msgspec.msgpack.decode(content[HEAD.size :]) | {"version": 2})
    path.write_bytes(HEAD.pack(magic, xxhash.xxh3_64_intdigest(raw), len(raw)) + raw)
    return f"manifest manifests/{path.name} has format 2; this version reads up to 1"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "LOCK"}


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("newer", [newer_spec, newer_log_file, newer_log_entry, newer_segment, newer_manifest])
def test_a_collection_of_a_newer_version_is_refused_untouched(folder: Path, newer: Callable[[Path], str], read_only: bool) -> None:
    message = newer(folder)
    before = contents(folder)
    database = Database(opened(folder, read_only=read_only))
    for use in (lambda: database[NAME], lambda: SHAPE.collection(database), lambda: database[NAME]):
        with pytest.raises(FormatTooNew, match=f"^{re.escape(message)}") as raised:
            use()
        assert raised.value.message == message
        assert raised.value.hint in ("upgrade paradox-memory", "open it with a newer version of Paradox")
    assert database[ASIDE].count() == 1
    assert database.status()["quarantined"] == {NAME: message}
    assert database.verify()["damaged"] == [{"file": NAME, "reason": message}]
    database.close()
    assert contents(folder) == before


@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_of_a_newer_version_is_refused_untouched(folder: Path, read_only: bool) -> None:
    path = folder / "paradox.json"
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    before = contents(folder)
    with pytest.raises(FormatTooNew) as raised:
        opened(folder, read_only=read_only)
    assert raised.value.message == "the folder has format 2; this version reads up to 1"
    assert raised.value.hint == "upgrade paradox-memory"
    assert contents(folder) == before
    path.write_bytes(path.read_bytes().replace(b'"format":2', b'"format":1'))
    opened(folder).close()  # the lock was let go
