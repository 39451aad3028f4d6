"""A database in a folder: what `connect` gives for a path."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from paradox.errors import StoreReadOnly, StoreUnreadable
from paradox.model.schema import Limits
from paradox.node.catalogue import FolderCatalogue, check_identity, sweep
from paradox.node.database import HeldDatabase
from paradox.node.env import RealEnv
from paradox.node.lock import WriterLock, read_writer
from paradox.node.worker import IDLE_AFTER_S, Worker
from paradox.objects.disk import RealDisk
from paradox.objects.local import LocalStore
from paradox.ports.transport import Transport


class EmbeddedDatabase(HeldDatabase):
    """One folder, opened."""

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
        env, disk = RealEnv(), RealDisk()
        self.store = LocalStore(root, disk, read_only=read_only)
        self._temporary = temporary
        self.lock = None if read_only else WriterLock.acquire(root, env=env)
        try:
            check_identity(self.store, None if read_only else env.random_bytes(16).hex())
            if not read_only:
                self.store.sweep()
                sweep(root)
            super().__init__(
                FolderCatalogue(root, self.store, disk, env=env, limits=limits, read_only=read_only),
                path=str(root) if temporary is None else ":memory:",
                disk=disk,
                env=env,
                limits=limits,
                worker=None if read_only else Worker(env, idle_after_s=idle_after_s),
                read_only=read_only,
                origin=origin,
            )
        except BaseException:
            self._release()
            raise

    def writer(self) -> dict[str, int] | None:
        """Return the process that writes to the folder, as far as its lock tells."""
        if not self.read_only:
            return {"pid": os.getpid()}
        writer = read_writer(self.root)
        return None if writer is None else {"pid": writer.pid}

    def _release(self) -> None:
        if self.lock is not None:
            self.lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()


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
