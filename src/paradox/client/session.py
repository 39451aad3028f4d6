"""A session: the way of one connection to a database, which reads nothing older than what was written through it."""

from __future__ import annotations

from threading import Lock
from typing import Any

import msgspec

from paradox.errors import DeadlineExceeded
from paradox.model import operations as ops
from paradox.model.operations import Operation
from paradox.ports.transport import Transport

READS = (ops.GetPoints, ops.CountPoints, ops.ScrollPoints)
SEARCHES = (ops.Ask, ops.ExplainPlan)


class Session:
    """A Transport over another. Thread-safe; each connection has its own."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._guard = Lock()
        self._written: dict[str, int] = {}
        self._ids: dict[str, str] = {}

    def send(self, operation: Operation) -> Any:
        """Return the reply, or raise a ParadoxError. Reads at the level "session" wait for the position of the last write before them."""
        asked = self._after_own_writes(operation)
        try:
            reply = self._transport.send(asked)
        except DeadlineExceeded:
            if asked is operation or not self._was_made_anew(_name_of(operation)):
                raise
            reply = self._transport.send(operation)
        match operation:
            case ops.OpenCollection():
                self._opened(reply)
            case ops.DropCollection(name=name):
                self._forget(name)
            case ops.AddPoints() | ops.UpdatePoints() | ops.DeletePoints():
                with self._guard:
                    name = operation.collection
                    self._written[name] = max(self._written.get(name, 0), reply.position)
        return reply

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        self._transport.close()

    def _after_own_writes(self, operation: Operation) -> Operation:
        position = self._written.get(_name_of(operation), 0)
        if isinstance(operation, SEARCHES):
            question = operation.question
            if question.consistency == "session" and question.after < position:
                return msgspec.structs.replace(operation, question=msgspec.structs.replace(question, after=position))
        elif isinstance(operation, (ops.UpdatePoints, ops.DeletePoints)):
            if operation.after < position:
                return msgspec.structs.replace(operation, after=position)
        elif isinstance(operation, READS) and operation.consistency == "session" and operation.after < position:
            return msgspec.structs.replace(operation, after=position)
        return operation

    def _was_made_anew(self, name: str) -> bool:
        """Tell whether a collection is another one than that which was written to: positions in its log begin at 1 again."""
        before = self._ids.get(name)
        self._opened(self._transport.send(ops.OpenCollection(name=name, wanted={}, create=False)))
        return self._ids.get(name) != before

    def _opened(self, view: ops.CollectionView) -> None:
        with self._guard:
            if self._ids.get(view.name, view.id) != view.id:
                self._written.pop(view.name, None)
            self._ids[view.name] = view.id

    def _forget(self, name: str) -> None:
        with self._guard:
            self._written.pop(name, None)
            self._ids.pop(name, None)


def _name_of(operation: Operation) -> str:
    return getattr(operation, "collection", "")
