"""The worker: one background thread that keeps all collections of a database in shape."""

from __future__ import annotations

from threading import Condition, Thread
from typing import Any

from paradox.errors import ParadoxError
from paradox.node.held import HeldCollection
from paradox.node.upkeep import Upkeep
from paradox.ports.env import Env

IDLE_AFTER_S = 0.5
RETRY_AFTER_S = 5.0
SEAL_IDLE_POINTS_MIN = 20_000
"""A growing segment of at least this many points is sealed once nothing was written for a while."""
FROZEN_MAX = 6
"""Segments set aside and not yet sealed, above which writers wait."""


class Worker:
    """Runs `Upkeep.step` of every watched collection while there is something to do."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._upkeeps: dict[str, Upkeep] = {}
        self._held: dict[str, HeldCollection] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._changed = Condition()
        self._closing = False
        self.working = ""
        self.failure = ""
        self._thread = Thread(target=self._run, name="paradox-upkeep", daemon=True)
        self._thread.start()

    def watch(self, held: HeldCollection, files: Any) -> None:
        """Begin to look after a collection. files: its local store."""
        with self._changed:
            self._held[held.name] = held
            self._upkeeps[held.name] = Upkeep(held, files)
            held.frozen_changed = self.wake
            held.wait_for_room = self._wait_for_room
            self._changed.notify_all()

    def forget(self, held: HeldCollection) -> None:
        """Stop looking after a collection; returns when no work on it is running."""
        with self._changed:
            self._held.pop(held.name, None)
            self._upkeeps.pop(held.name, None)
            while self.working == held.name:
                self._changed.wait()

    def wake(self) -> None:
        """Tell that there may be work."""
        with self._changed:
            self._changed.notify_all()

    def settled(self) -> bool:
        """Tell whether nothing is running or due, the work of idle times included."""
        with self._changed:
            return not self.working and all(self._idle_since(held) is not None for held in self._held.values()) and not self._due

    def close(self) -> None:
        """Let the running step finish, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _wait_for_room(self, held: HeldCollection) -> None:
        """Hold a writer back while too much waits to be sealed."""
        with self._changed:
            while len(held.frozen) > FROZEN_MAX and not self._closing and not self.failure:
                self._changed.wait()

    _due = True

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                names = sorted(self._upkeeps)
            worked = False
            for name in names:
                worked = self._work(name) or worked
            with self._changed:
                self._due = worked
                if self._closing:
                    return
                if not worked:
                    self._changed.wait(RETRY_AFTER_S if self.failure else IDLE_AFTER_S)

    def _work(self, name: str) -> bool:
        with self._changed:
            upkeep, held = self._upkeeps.get(name), self._held.get(name)
            if upkeep is None or held is None or self._closing:
                return False
            self.working = name
        try:
            idle = self._idle_since(held) is not None
            if idle and not held.frozen:
                upkeep.seal_when_idle(SEAL_IDLE_POINTS_MIN)
            worked = upkeep.step(idle=idle)
            self.failure = ""
            return worked
        except ParadoxError as error:  # nothing is lost: the log holds what could not be sealed
            self.failure = error.message
        except OSError as error:
            self.failure = f"background work of collection {name!r} failed: {error.strerror}"
        finally:
            with self._changed:
                self.working = ""
                self._changed.notify_all()
        return False

    def _idle_since(self, held: HeldCollection) -> float | None:
        """Return since when nothing was written, None when something just was."""
        now, applied = self._env.elapsed_s(), held.engine.applied
        last, since = self._seen.get(held.name, (-1, now))
        if last != applied:
            self._seen[held.name] = (applied, now)
            return None
        return since if now - since >= IDLE_AFTER_S else None
