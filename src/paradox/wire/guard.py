"""Guard: what a connection refuses before anything is sent, because it was closed or is there to read only."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from paradox.errors import CollectionMissing, StoreClosed, StoreReadOnly
from paradox.model import operations as ops

WRITES = (ops.AddPoints, ops.UpdatePoints, ops.DeletePoints, ops.DropCollection, ops.SplitRegion, ops.MoveShard)


class Guard:
    """The state of one connection."""

    def __init__(self, *, read_only: bool) -> None:
        self._read_only = read_only
        self.closed = False

    def check(self, operation: ops.Operation) -> None:
        """Raise StoreClosed, StoreReadOnly when an operation is not to be sent."""
        if self.closed:
            raise StoreClosed("the database was closed", hint="connect again")
        if self._read_only and isinstance(operation, WRITES):
            raise StoreReadOnly("this database was opened with read_only=True", hint="connect without read_only to write")

    def open(self, operation: ops.OpenCollection, send: Callable[[ops.OpenCollection], ops.CollectionView]) -> ops.CollectionView:
        """Open a collection by `send`; where nothing may be written only one that exists. Raises StoreReadOnly, and what `send` raises."""
        if not (self._read_only and operation.create):
            return send(operation)
        try:
            return send(msgspec.structs.replace(operation, create=False))
        except CollectionMissing as error:
            hint = "connect without read_only to create it"
            raise StoreReadOnly(f"{error.message}, and the database was opened with read_only=True", hint=hint) from None
