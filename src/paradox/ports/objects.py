"""ObjectStore: write-once objects under names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from paradox.ports.log import Buffer


class ObjectStore(Protocol):
    """Objects that are written once under a name and never change. Names are relative paths with '/'.

    Every adapter passes `tests/conformance/objects.py`.
    """

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Store an object, durably, if the name is free. Raises ObjectConflict when taken, StoreFull, StoreReadOnly."""
        ...

    def get(self, name: str) -> bytes:
        """Return an object's bytes. Raises KeyError when there is none."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return the names that start with `prefix`, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; no error when there is none."""
        ...


class Mappable(Protocol):
    """A store whose objects are local files, so they can be memory-mapped."""

    def path(self, name: str) -> Path:
        """Return the file of an object. Raises KeyError when there is none."""
        ...

    def adopt(self, name: str, file: Path) -> None:
        """Store the finished local `file` under a free name by moving it, durably. Raises as `put`."""
        ...
