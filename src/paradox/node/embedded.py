"""A database in a folder: the Transport that serves every operation in this very process."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any

from paradox.encode.catalogue import resolve
from paradox.errors import CollectionMissing, Damaged, EncoderMismatch, StoreClosed, StoreReadOnly, StoreUnreadable
from paradox.log.file import FileLog
from paradox.model import operations as ops
from paradox.model.schema import CollectionSpec, Limits, check_name
from paradox.node import reads, writes
from paradox.node.catalogue import (
    COLLECTIONS,
    SPEC,
    check_identity,
    check_same,
    collection_names,
    drop_folder,
    load_spec,
    save_spec,
    sweep,
    wanted_spec,
)
from paradox.node.env import RealEnv
from paradox.node.held import HeldCollection
from paradox.node.kernels import NativeKernels
from paradox.node.lock import WriterLock
from paradox.node.status import describe_collection, describe_database, verify_database
from paradox.node.worker import IDLE_AFTER_S, Worker
from paradox.objects.disk import RealDisk
from paradox.objects.local import LocalStore
from paradox.ports.disk import FileState
from paradox.ports.encode import Encoder
from paradox.ports.transport import Transport


class OpenedCollection:
    """A held collection with the encoders its callers named. made: the state of its spec's file, by which it is told from a later one."""

    def __init__(self, held: HeldCollection, made: FileState) -> None:
        self.held = held
        self.made = made
        self.encoders: dict[str, Encoder] = {}

    def encoder(self, vector: str) -> Encoder:
        """Return the encoder of a vector. Raises EncoderMismatch when the collection has none, or one this program does not know."""
        known = self.encoders.get(vector)
        if known is not None:
            return known
        spec = self.held.spec.vectors[vector]
        if not spec.encoder:
            raise EncoderMismatch(
                f"collection {self.held.name!r} has no encoder for texts: it was created with dimensions={spec.dimensions}",
                hint="give vectors, or create a collection with encoder='text'",
            )
        found = resolve(spec.encoder)
        if found.fingerprint != spec.fingerprint:
            raise EncoderMismatch(
                f"encoder {spec.encoder!r} here is {found.fingerprint}, collection {self.held.name!r} was made with {spec.fingerprint}",
                hint="install the version it was made with, or add the texts to a new collection",
            )
        self.encoders[vector] = found
        return found


class EmbeddedDatabase:
    """One folder, opened. Thread-safe: writers share syncs, readers never wait for them."""

    def __init__(
        self,
        root: Path,
        *,
        read_only: bool,
        origin: str,
        limits: Limits,
        idle_after_s: float = IDLE_AFTER_S,
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.root = root
        self.read_only = read_only
        self.origin = origin
        self.limits = limits
        self.env = RealEnv()
        self.disk = RealDisk()
        self.store = LocalStore(root, self.disk, read_only=read_only)
        self._temporary = temporary
        self._kernels = NativeKernels()
        self._opened: dict[str, OpenedCollection] = {}
        self._guard = RLock()
        self._closed = False
        self.lock = None if read_only else WriterLock.acquire(root, env=self.env)
        try:
            check_identity(self.store, None if read_only else self.env.random_bytes(16).hex())
            if not read_only:
                self.store.sweep()
                sweep(root)
            self.worker = None if read_only else Worker(self.env, idle_after_s=idle_after_s)
        except BaseException:
            self._release()
            raise

    @property
    def path(self) -> str:
        """What names this database to its user."""
        return str(self.root) if self._temporary is None else ":memory:"

    # -- the Transport

    def send(self, operation: ops.Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        if self._closed:
            raise StoreClosed("the database was closed", hint="connect again")
        match operation:
            case ops.Ask(collection=name):
                return reads.ask(self.opened(name), operation, self.limits)
            case ops.AddPoints(collection=name):
                return writes.add(self.opened(name), operation, self.origin, self.limits)
            case ops.GetPoints(collection=name):
                return reads.get(self.opened(name), operation)
            case ops.UpdatePoints(collection=name):
                return writes.update(self.opened(name), operation, self.limits)
            case ops.DeletePoints(collection=name):
                return writes.delete(self.opened(name), operation, self.limits)
            case ops.CountPoints(collection=name):
                return reads.count(self.opened(name), operation, self.limits)
            case ops.ScrollPoints(collection=name):
                return reads.scroll(self.opened(name), operation, self.limits)
            case ops.ExplainPlan(collection=name):
                return reads.explain(self.opened(name), operation, self.limits)
            case ops.OpenCollection(name=name, wanted=wanted, create=create):
                return self._open_collection(name, wanted, create=create)
            case ops.ListCollections():
                return collection_names(self.store)
            case ops.DropCollection(name=name):
                return self._drop(name)
            case ops.DescribeCollection(collection=name):
                return describe_collection(self.opened(name).held)
            case ops.DescribeDatabase():
                return describe_database(self, *self._all_held())
            case ops.VerifyDatabase():
                return verify_database(*self._all_held())

    def close(self) -> None:
        """Finish the running piece of background work and let go of everything. Safe to call twice."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        if self.worker is not None:
            self.worker.close()
        for opened in self._opened.values():
            opened.held.close()
        self._release()

    def _release(self) -> None:
        if self.lock is not None:
            self.lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()

    # -- collections

    def opened(self, name: str) -> OpenedCollection:
        """Return a collection, opening it when this is its first use. Raises CollectionMissing."""
        opened = self._opened.get(name)
        if opened is None or (self.read_only and self._was_replaced(name, opened)):
            with self._guard:
                opened = self._opened.get(name)
                if opened is None or (self.read_only and self._was_replaced(name, opened)):
                    self._opened.pop(name, None)
                    opened = self._opened[name] = self._hold(name)
        return opened

    def _was_replaced(self, name: str, opened: OpenedCollection) -> bool:
        """Tell whether the writer has dropped a collection since, perhaps to make another of that name."""
        with suppress(OSError):
            return self.disk.state(self.root / COLLECTIONS / name / SPEC) != opened.made
        return True

    def _open_log(self, name: str) -> FileLog:
        folder = self.root / COLLECTIONS / name / "log"
        return FileLog.open(folder, disk=self.disk, env=self.env, limits=self.limits, read_only=self.read_only)

    def _hold(self, name: str, log: FileLog | None = None) -> OpenedCollection:
        spec = load_spec(self.store, name)
        folder = self.root / COLLECTIONS / name
        made = self.disk.state(folder / SPEC)
        log = log or self._open_log(name)
        store = LocalStore(folder, self.disk, read_only=self.read_only)
        held = HeldCollection(
            name,
            spec,
            folder,
            log=log,
            store=store,
            kernels=self._kernels,
            env=self.env,
            limits=self.limits,
            read_only=self.read_only,
        )
        if self.worker is not None:
            self.worker.watch(held, store)
        return OpenedCollection(held, made)

    def _all_held(self) -> tuple[list[HeldCollection], dict[str, str]]:
        """Return the collections, and what is wrong with those that cannot be opened."""
        held, refused = [], {}
        for name in collection_names(self.store):
            try:
                held.append(self.opened(name).held)
            except CollectionMissing:
                continue  # dropped since
            except (Damaged, StoreUnreadable) as error:
                refused[name] = error.message
        return held, refused

    def _open_collection(self, name: str, wanted: dict[str, Any], *, create: bool) -> ops.CollectionView:
        check_name(name)
        if not create and not wanted:
            return ops.CollectionView(name=name, spec=self.opened(name).held.spec)
        with self._guard:
            if create and name not in self._opened and name not in collection_names(self.store):
                if self.read_only:
                    raise StoreReadOnly(
                        f"collection {name!r} does not exist, and the database was opened with read_only=True",
                        hint="open it without read_only to create it",
                    )
                spec, encoders = wanted_spec(wanted, resolve)
                opened = self._opened[name] = self._create(name, spec)
                opened.encoders.update(encoders)
            else:
                opened = self.opened(name)
                opened.encoders.update(check_same(name, opened.held.spec, wanted, resolve))
            return ops.CollectionView(name=name, spec=opened.held.spec)

    def _create(self, name: str, spec: CollectionSpec) -> OpenedCollection:
        """Make the log, then the spec, with which the collection begins to exist: who sees it can read it."""
        log = self._open_log(name)
        try:
            save_spec(self.store, name, spec)
        except BaseException:
            log.close()
            raise
        return self._hold(name, log)

    def _drop(self, name: str) -> None:
        if self.read_only:
            raise StoreReadOnly("this database was opened with read_only=True", hint="open it without read_only to write")
        load_spec(self.store, name)
        with self._guard:
            opened = self._opened.pop(name, None)
            if opened is not None:
                if self.worker is not None:
                    self.worker.forget(opened.held)
                opened.held.close()
            drop_folder(self.root, name, self.env.random_bytes(8).hex(), self.disk)


def open_folder(path: str | None, *, read_only: bool, origin: str, timeout_s: float) -> Transport:
    """Open a folder as a database, creating it when missing; None = a temporary one that is removed at the end.

    Raises StoreLocked, StoreReadOnly, StoreUnreadable, FormatTooNew.
    """
    if path is None:
        temporary = tempfile.TemporaryDirectory(prefix="paradox-")
        return EmbeddedDatabase(Path(temporary.name), read_only=False, origin=origin, limits=Limits(), temporary=temporary)
    root = Path(path)
    if root.exists() and not root.is_dir():
        raise StoreUnreadable(f"{path!r} is a file; expected a folder", hint="give the folder that holds, or shall hold, the database")
    if read_only and not root.exists():
        raise StoreUnreadable(f"there is no folder {path!r} to read", hint="open it once without read_only to create it")
    if not read_only:
        _make_root(root, path)
    return EmbeddedDatabase(root, read_only=read_only, origin=origin, limits=Limits())


def _make_root(root: Path, path: str) -> None:
    try:
        RealDisk().make_folder(root)
    except OSError as error:
        raise StoreReadOnly(f"folder {path!r} cannot be created: {error.strerror}", hint="choose a folder you may write to") from None
