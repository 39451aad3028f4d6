"""The loop: virtual time, and threads of which one runs at a time, in an order that a seed decides.

A thread runs until it waits: for a lock, a condition, a time. Then it picks the next by the loop's dice and hands over, which costs
nothing when that is itself. When none can run, the clock jumps to the next time somebody waits for. So a run is the same for the same
seed, and a minute takes a moment.
"""

from __future__ import annotations

import heapq
import random
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

PREEMPTED = 0.05
"""How likely a thread that takes a lock lets others go first."""
STUCK_S = 120.0
"""Of real time: a thread that runs for so long without waiting for anything is stuck."""
STEPS_AT_ONCE_MAX = 100_000
"""Steps without time passing, after which threads are taken to go round in circles."""


class Killed(BaseException):
    """Unwinds the threads that are left when a world ends."""


class Stuck(Exception):
    """No thread can run, and none ever will, or one does not stop running."""


class Task:
    """One thread of the world. owner: who it dies with."""

    def __init__(self, loop: Loop, work: Callable[[], None], name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        self.done = False
        self.error: BaseException | None = None
        self.woken = False
        self.turn = 0  # raised whenever it waits anew: what would have woken it before then does not
        self.waits = False
        self.go = threading.Lock()  # released when it is its turn
        self.go.acquire()
        self.joining: list[Task] = []
        self._loop = loop
        self._work = work
        self.thread = threading.Thread(target=self._run, name=f"sim-{owner}-{name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.go.acquire()
        try:
            if not self._loop.ending:
                self._work()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.done = True
            self._loop.ended(self)

    def join(self) -> None:
        """Return when it has ended."""
        while not self.done:
            self.joining.append(self._loop.current)
            self._loop.block()


class Loop:
    """Virtual time and the threads in it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.ending = False
        self.steps = 0
        self._current: Task | None = None
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._main: Task | None = None
        self._until = 0.0
        self._moved_at = 0  # steps when the clock last moved
        self._failure: BaseException | None = None
        self._over = threading.Lock()  # released when the run is over
        self._over.acquire()
        self._tasks: dict[Task, None] = {}
        self._dead: list[Task] = []
        self._paused: dict[str, list[Task]] = {}

    @property
    def current(self) -> Task:
        """The thread that runs."""
        if self.ending:
            raise Killed
        assert self._current is not None, "only threads of the world may wait"
        return self._current

    # -- for threads

    def start(self, work: Callable[[], None], name: str, owner: str) -> Task:
        """Start a thread. From threads and from what `call_at` calls."""
        if self.ending:
            raise Killed
        task = Task(self, work, name, owner)
        self._tasks[task] = None
        self._make_ready(task)
        return task

    def block(self, until: float | None = None) -> bool:
        """Wait to be woken, or until a time; False when that came first."""
        task = self.current
        task.turn += 1
        task.waits = True
        if until is not None:
            turn = task.turn
            self.call_at(until, lambda: self._wake(task, turn, woken=False))
        self._switch(task)
        return task.woken

    def wake(self, task: Task) -> None:
        """Wake a thread that waits; nothing happens to others."""
        self._wake(task, task.turn, woken=True)

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.block(self.now + seconds)

    def let_others_go(self) -> None:
        """Let any other thread that can run go first, now and then."""
        if self.dice.random() < PREEMPTED:
            task = self.current
            self._make_ready(task)
            self._switch(task)

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Call something, which may not wait, at a time."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, call))

    def _wake(self, task: Task, turn: int, *, woken: bool) -> None:
        if task.waits and task.turn == turn and not task.done:
            task.woken = woken
            task.waits = False
            self._make_ready(task)

    def _make_ready(self, task: Task) -> None:
        self._paused.get(task.owner, self._ready).append(task)

    def _switch(self, task: Task) -> None:
        if self._hand_over() is not task:
            task.go.acquire()
        if self.ending:
            raise Killed

    def _hand_over(self) -> Task | None:
        """Pick whose turn it is and let it go, unless it is the caller's own; None when the run is over."""
        before, self._current = self._current, None
        try:
            task = self._next()
        except BaseException as error:  # the one who waits for the end is told
            self._failure, task = error, None
        self._current = task
        if task is None:
            self._over.release()
        elif task is not before:
            task.go.release()
        return task

    def _next(self) -> Task | None:
        assert self._main is not None
        while not self._main.done:
            if self.now > self._until:
                raise Stuck(f"it did not end within {self._until:.0f} s of virtual time\n{self._where()}")
            if self.steps - self._moved_at > STEPS_AT_ONCE_MAX:
                raise Stuck(f"{STEPS_AT_ONCE_MAX:,} steps were made at {self.now:.3f} s\n{self._where()}")
            if self._ready:
                self.steps += 1
                return self._ready.pop(self.dice.randrange(len(self._ready)))
            if not self._timers:
                raise Stuck(f"every thread waits for another\n{self._where()}")
            self.now, _, call = heapq.heappop(self._timers)
            self._moved_at = self.steps
            call()
        return None

    def ended(self, task: Task) -> None:
        """Note that a thread has ended; it calls this itself, last."""
        self._tasks.pop(task, None)
        if self.ending:
            return
        for one in task.joining:
            self.wake(one)
        if task.error is not None and task is not self._main:
            self._failure = task.error
            self._over.release()
        else:
            self._hand_over()

    # -- for the world

    def kill(self, owner: str) -> None:
        """Let the threads of an owner never run again, wherever they are."""
        self._paused.pop(owner, None)
        gone = [task for task in self._tasks if task.owner == owner]
        for task in gone:
            del self._tasks[task]
        self._dead += gone
        self._ready = [task for task in self._ready if task.owner != owner]
        for task in gone:
            task.turn += 1
            task.waits = False

    def pause(self, owner: str) -> None:
        """Let the threads of an owner stand still until `resume`."""
        self._paused.setdefault(owner, [task for task in self._ready if task.owner == owner])
        self._ready = [task for task in self._ready if task.owner != owner]

    def resume(self, owner: str) -> None:
        """Let the threads of an owner go on."""
        self._ready += self._paused.pop(owner, [])

    def run(self, work: Callable[[], None], *, until: float) -> None:
        """Run a thread to its end, with all others beside. until: the time by which it must have ended. Raises what it raises, Stuck."""
        self._until = until
        self._main = self.start(work, "main", "world")
        self._hand_over()
        seen = -1
        while not self._over.acquire(timeout=STUCK_S):
            if self.steps == seen:
                task = self._current
                name = "the clock" if task is None else f"thread {task.name} of {task.owner}"
                raise Stuck(f"{name} does not stop running\n{self._where()}")
            seen = self.steps
        error = self._failure or self._main.error
        if error is not None:
            raise error

    def close(self) -> None:
        """Unwind all threads that are left, dead ones too."""
        self.ending = True
        for task in [*self._dead, *self._tasks]:
            task.go.release()
            task.thread.join(STUCK_S)

    def _where(self) -> str:
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way to see where a thread is
        told = []
        for task in sorted(self._tasks, key=lambda one: (one.owner, one.name)):
            frame = frames.get(task.thread.ident or 0)
            lines = [line for line in traceback.format_stack(frame) if "/sim/loop.py" not in line][-3:] if frame else []
            told.append(f"{task.owner}/{task.name}:\n{''.join(lines)}")
        return "\n".join(told)


class SimLock:
    """A lock of the world. again: its holder may take it again."""

    def __init__(self, loop: Loop, *, again: bool) -> None:
        self._loop = loop
        self._again = again
        self._holder: Task | None = None
        self._depth = 0
        self._waiting: list[Task] = []

    def acquire(self) -> bool:
        """Wait until nobody else has it, and take it."""
        self._loop.let_others_go()
        self.take(1)
        return True

    def take(self, depth: int) -> None:
        """Take it as often at once as it was given up."""
        me = self._loop.current
        if self._again and self._holder is me:
            self._depth += depth
            return
        while self._depth:
            self._waiting.append(me)
            self._loop.block()
        self._holder, self._depth = me, depth

    def release(self) -> None:
        """Let another have it."""
        self._depth -= 1
        if not self._depth:
            self.give_up()

    def give_up(self) -> int:
        """Let go altogether, and return how often it was taken."""
        depth, self._holder, self._depth = self._depth, None, 0
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._loop.wake(task)
        return depth

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class SimCondition:
    """A condition of the world, with a lock of its own."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = SimLock(loop, again=True)
        self._waiting: list[Task] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let go, wait to be notified, at most so many seconds, and take it again. False when the time was up."""
        me = self._loop.current
        self._waiting.append(me)
        depth = self._lock.give_up()
        told = self._loop.block(None if timeout is None else self._loop.now + max(0.0, timeout))
        if me in self._waiting:
            self._waiting.remove(me)
        self._lock.take(max(1, depth))
        return told

    def notify_all(self) -> None:
        """Wake all who wait."""
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._loop.wake(task)
