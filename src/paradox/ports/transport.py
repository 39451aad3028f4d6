"""Transport: carries operations from a client to a database and brings the replies."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from paradox.model.operations import Operation


class Transport(Protocol):
    """The way to one database, for blocking callers. Thread-safe."""

    def send(self, operation: Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        ...

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        ...


@runtime_checkable
class Joins(Protocol):
    """A transport over which one search of many vectors costs less than as many searches of one."""

    def joins(self, collection: str) -> bool:
        """Tell whether that is so for a collection, without waiting for anything."""
        ...


class AsyncTransport(Protocol):
    """The same for callers that await."""

    async def send(self, operation: Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        ...

    async def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        ...
