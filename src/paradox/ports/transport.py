"""Transport: carries operations from a client to a database and brings the replies."""

from __future__ import annotations

from typing import Any, Protocol

from paradox.model.operations import Operation


class Transport(Protocol):
    """The way to one database, for blocking callers. Thread-safe."""

    def send(self, operation: Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        ...

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        ...


class AsyncTransport(Protocol):
    """The same for callers that await."""

    async def send(self, operation: Operation) -> Any:
        """Return the reply that the operation's docstring names, or raise a ParadoxError."""
        ...

    async def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        ...
