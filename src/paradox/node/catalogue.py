"""The catalogue of one folder: which collections there are, and what each one is.

paradox.json                        format version and identity of the database
LOCK                                held by the writing process
collections/NAME/spec.json          write-once
collections/NAME/{log,manifests,segments,tmp}/
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from paradox.errors import CollectionMissing, FormatTooNew, SpecInvalid, StoreUnreadable
from paradox.log.file import FileLog
from paradox.model.schema import CollectionSpec, Limits, check_name
from paradox.ports.disk import Disk, FileState, write_failure
from paradox.ports.env import Env
from paradox.ports.objects import ObjectStore

VERSION = 1
IDENTITY = "paradox.json"
COLLECTIONS = "collections"
SPEC = "spec.json"
DROPPED = "dropped-"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a folder a database."""

    format: int
    database: str


class StoredSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A collection's spec as it is stored. xxh3: of the bytes of `spec`, in hex."""

    format: int
    xxh3: str
    spec: msgspec.Raw


def check_identity(store: ObjectStore, database: str | None) -> None:
    """Make the folder a database, as `database`, or check that it is one. Raises FormatTooNew, StoreUnreadable."""
    try:
        raw = store.get(IDENTITY)
    except KeyError:
        if database is None:
            raise StoreUnreadable("the folder holds no database", hint="open it once without read_only to create one") from None
        store.put(IDENTITY, [msgspec.json.encode(Identity(format=VERSION, database=database))])
        return
    _decode_identity(raw)


def _decode_identity(raw: bytes) -> Identity:
    try:
        identity = msgspec.json.decode(raw, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise StoreUnreadable(f"{IDENTITY} is damaged", hint="restore the file from a copy; the collections are untouched") from None
    if identity.format > VERSION:
        raise FormatTooNew(f"the folder has format {identity.format}; this version reads up to {VERSION}", hint="upgrade paradox-memory")
    return identity


def identity_of(store: ObjectStore) -> str | None:
    """Return the identity of what a store holds; None when it has none. Raises FormatTooNew, StoreUnreadable."""
    try:
        raw = store.get(IDENTITY)
    except KeyError:
        return None
    return _decode_identity(raw).database


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a catalogue says of a collection. mark: tells it from a later one of the same name. folder: where its segments are.

    node, shards: in a cluster, who holds it here, and what of it; else all.
    """

    spec: CollectionSpec
    folder: Path
    mark: object
    node: str = ""
    shards: frozenset[int] | None = None


class FolderCatalogue:
    """The collections of one folder."""

    def __init__(self, root: Path, store: ObjectStore, disk: Disk, *, env: Env, limits: Limits, read_only: bool) -> None:
        self._root = root
        self._store = store
        self._disk = disk
        self._env = env
        self._limits = limits
        self._read_only = read_only

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        prefix = f"{COLLECTIONS}/"
        return sorted(name.split("/")[1] for name in self._store.list(prefix) if name.endswith(f"/{SPEC}") and name.count("/") == 2)

    def find(self, name: str) -> Kept:
        """Return a collection. Raises CollectionMissing naming near names, FormatTooNew, StoreUnreadable when its spec is damaged."""
        check_name(name)
        try:
            spec = decode_spec(self._store.get(f"{COLLECTIONS}/{name}/{SPEC}"), name)
        except KeyError:
            raise missing(name, self.names()) from None
        return Kept(spec=spec, folder=self._folder(name), mark=self._mark(name))

    def is_current(self, name: str, mark: object) -> bool:
        """Tell whether a collection is still there and the one that was opened: the writer may have dropped it and made another."""
        if not self._read_only:
            return True
        with suppress(OSError):
            return self._mark(name) == mark
        return False

    def defaults(self) -> dict[str, Any]:
        """Return the words of a spec that nobody need say here."""
        return {}

    def create(self, name: str, spec: CollectionSpec) -> None:
        """Make the log, then the spec, with which the collection begins to exist: who sees it can read it. Raises SpecInvalid."""
        if spec.replicas > 1:
            raise SpecInvalid(
                f"replicas={spec.replicas} needs a cluster: one folder holds each shard once",
                hint="leave it out here; `paradox up --nodes 3` raises a cluster",
            )
        self._log(name).close()
        self._store.put(f"{COLLECTIONS}/{name}/{SPEC}", [encode_spec(spec)])

    def open_log(self, name: str, kept: Kept) -> FileLog:
        """Return the log of a collection."""
        return self._log(name)

    def drop(self, name: str) -> None:
        """Take a collection out in one durable step, then delete its files. Raises StoreReadOnly, StoreUnreadable."""
        gone = self._root / f"{DROPPED}{self._env.random_bytes(8).hex()}"
        try:
            self._folder(name).rename(gone)
            self._disk.sync_folder(self._root / COLLECTIONS)
            self._disk.sync_folder(self._root)
        except OSError as error:
            raise write_failure(error, f"collection {name!r}") from None
        shutil.rmtree(gone, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return self._root / COLLECTIONS / name

    def _mark(self, name: str) -> FileState:
        return self._disk.state(self._folder(name) / SPEC)

    def _log(self, name: str) -> FileLog:
        return FileLog.open(self._folder(name) / "log", disk=self._disk, env=self._env, limits=self._limits, read_only=self._read_only)


def missing(name: str, known: list[str]) -> CollectionMissing:
    """Return the error for a collection that is not there, naming near names."""
    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(known[:10]) or 'none yet'}"
    return CollectionMissing(f"there is no collection {name!r}", hint=hint)


def decode_spec(raw: bytes, name: str) -> CollectionSpec:
    """Return the spec that `encode_spec` made these bytes of. Raises FormatTooNew, StoreUnreadable."""
    try:
        stored = msgspec.json.decode(raw, type=StoredSpec)
        if stored.format > VERSION:
            what = f"collection {name!r} has format {stored.format}; this version reads up to {VERSION}"
            raise FormatTooNew(what, hint="upgrade paradox-memory")
        if xxhash.xxh3_64_hexdigest(stored.spec) == stored.xxh3:
            return msgspec.json.decode(stored.spec, type=CollectionSpec)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    raise StoreUnreadable(f"{SPEC} of collection {name!r} is damaged", hint="restore the file from a copy; the points are untouched")


def encode_spec(spec: CollectionSpec) -> bytes:
    """Return a spec as it is stored, with its checksum."""
    raw = msgspec.json.encode(spec)
    stored = StoredSpec(format=VERSION, xxh3=xxhash.xxh3_64_hexdigest(raw), spec=msgspec.Raw(raw))
    return msgspec.json.encode(stored)


def sweep(root: Path) -> None:
    """Delete what a killed writer left half made or half deleted. For the one writer, before it writes."""
    for left in (*root.glob(f"{DROPPED}*"), *root.glob(f"{COLLECTIONS}/*/tmp")):
        shutil.rmtree(left, ignore_errors=True)
