"""Done: which requests a log holds, by the names they carry in it, so that one that was asked of two nodes is done once."""

from __future__ import annotations

from collections.abc import Iterable

from paradox.errors import LogUnavailable
from paradox.model.entries import Once

KEPT_MAX = 65_536


class Done:
    """The newest requests that were done. For one thread at a time."""

    def __init__(self, since: int) -> None:
        """since: the position after which all entries will be noted."""
        self._since = since
        self._positions: dict[bytes, int] = {}

    def note(self, names: Iterable[bytes], position: int) -> None:
        """Note that an entry holds requests."""
        for name in names:
            self._positions[name] = position
            if len(self._positions) > KEPT_MAX:
                self._since = self._positions.pop(next(iter(self._positions)))

    def find(self, once: Once) -> int | None:
        """Return the position of the entry that holds a request; None when none does. Raises LogUnavailable when that is not known."""
        found = self._positions.get(once.name)
        if found is None and once.since < self._since:
            raise LogUnavailable(
                f"this write was first asked for at entry {once.since}, and this node knows what was done since {self._since} only",
                hint="look whether it is there, and try again",
            )
        return found
