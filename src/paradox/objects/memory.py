"""MemoryStore: an ObjectStore that is gone with its program."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from paradox.objects.names import check_object_name, taken
from paradox.ports.log import Buffer


class MemoryStore:
    """Objects in a dict, for `:memory:` and for tests. Thread-safe."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = Lock()

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Keep a copy of an object, if the name is free. Raises NameInvalid, ObjectConflict."""
        check_object_name(name)
        content = b"".join(pieces)
        with self._lock:
            if name in self._objects:
                raise taken(name)
            self._objects[name] = content

    def get(self, name: str) -> bytes:
        """Return an object's bytes. Raises KeyError when there is none, NameInvalid."""
        return self._objects[check_object_name(name)]

    def list(self, prefix: str = "") -> list[str]:
        """Return the names that start with `prefix`, sorted."""
        return sorted(name for name in tuple(self._objects) if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Remove an object; no error when there is none. Raises NameInvalid."""
        self._objects.pop(check_object_name(name), None)
