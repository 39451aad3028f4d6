"""The worker: one background thread that keeps all collections of a database in shape."""

from __future__ import annotations

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

    def __init__(self, env: Env, *, idle_after_s: float = IDLE_AFTER_S) -> None:
        self._env = env
        self._idle_after_s = idle_after_s
        self._upkeeps: dict[str, Upkeep] = {}
        self._held: dict[str, HeldCollection] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._changed = env.condition()
        self._closing = False
        self._settled = False
        self.working = ""
        self.failure = ""
        self._thread = env.start(self._run, "paradox-upkeep")

    def watch(self, held: HeldCollection, files: Any) -> None:
        """Begin to look after a collection. files: its local store."""
        with self._changed:
            self._held[held.name] = held
            self._seen[held.name] = (-1, 0.0)
            self._settled = False
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
            return self._settled and all(self._seen[name][0] == held.changed for name, held in self._held.items())

    def wait_until_settled(self, timeout_s: float) -> bool:
        """Wait for `settled`, at most so long, and return it."""
        until = self._env.elapsed_s() + timeout_s
        while not self.settled():
            left = until - self._env.elapsed_s()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left, self._idle_after_s))
        return True

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

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closing:
                    return
                names = sorted(self._upkeeps)
            worked = [name for name in names if self._work(name)]
            with self._changed:
                self._settled = (
                    not worked and not self.failure and all(self._is_idle(self._held[name]) for name in names if name in self._held)
                )
                self._changed.notify_all()
                if not worked and not self._closing:
                    self._changed.wait(RETRY_AFTER_S if self.failure else self._idle_after_s)

    def _work(self, name: str) -> bool:
        with self._changed:
            upkeep, held = self._upkeeps.get(name), self._held.get(name)
            if upkeep is None or held is None or self._closing:
                return False
            self.working = name
        try:
            idle = self._is_idle(held)
            if idle and not held.frozen:
                upkeep.seal_when_idle(min(SEAL_IDLE_POINTS_MIN, held.limits.growing_points_max))
            worked = upkeep.step(idle=idle)
            self.failure = ""
            return worked
        except ParadoxError as error:  # nothing is lost: the log holds what could not be sealed
            self.failure = error.message
        except OSError as error:
            self.failure = f"background work of collection {name!r} failed: {error.strerror}"
        except Exception as error:  # a bug, or a kernel's own way to fail: this thread must outlive it, for writers wait for it
            self.failure = f"background work of collection {name!r} failed: {type(error).__name__}"
        finally:
            with self._changed:
                self.working = ""
                self._changed.notify_all()
        return False

    def _is_idle(self, held: HeldCollection) -> bool:
        """Tell whether nothing was written to a collection for a while."""
        now, changed = self._env.elapsed_s(), held.changed
        last, since = self._seen.get(held.name, (-1, now))
        if last != changed:
            self._seen[held.name] = (changed, now)
            self._settled = False
            return False
        return now - since >= self._idle_after_s
