"""Asking together: callers that wait at the same time share one look at the codes, as writers share one sync."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from paradox.model.queries import Answers, Question, alike
from paradox.ports.env import Env, Lock

TOGETHER_MAX = 64
LEADERS_MAX = 2
"""At a time: while one waits for the native scan, the other does what needs Python's lock."""


class Caller:
    """One caller's place in the queue. called: held until the caller was served or leads. served: those it answers for."""

    __slots__ = ("answers", "called", "error", "leads", "question", "served")

    def __init__(self, question: Question, called: Lock) -> None:
        self.question = question
        self.answers: Answers | None = None
        self.error: Exception | None = None
        self.leads = False
        self.served: list[Caller] = []
        self.called = called
        self.called.acquire()

    @property
    def is_waiting(self) -> bool:
        """Whether nobody has answered yet."""
        return self.answers is None and self.error is None


class Asking:
    """Who comes while few lead does so, and answers all who wait by then; afterwards the first of those who came later leads."""

    def __init__(self, search: Callable[[list[Question]], list[Answers]], *, env: Env) -> None:
        """search: answers questions that are alike but for their vectors."""
        self._search = search
        self._env = env
        self._guard = env.lock()
        self._leaders = 0
        self._waiting: deque[Caller] = deque()

    def search(self, question: Question) -> Answers:
        """Return the answers to a question of one vector. Raises what the search raises."""
        caller = Caller(question, self._env.lock())
        try:
            with self._guard:
                if self._leaders < LEADERS_MAX:
                    caller.leads = True
                    self._leaders += 1
                else:
                    self._waiting.append(caller)
            if not caller.leads:
                caller.called.acquire()
            if caller.leads:
                self._lead(caller)
            elif caller.is_waiting:  # who was to answer was interrupted
                self._answer([caller])
        finally:
            self._step_back(caller)
        if caller.error is not None:
            raise caller.error
        assert caller.answers is not None, "answered above"
        return caller.answers

    def _lead(self, leader: Caller) -> None:
        with self._guard:
            leader.served = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER_MAX - 1))]
        callers = [leader, *leader.served]
        for places in alike([caller.question for caller in callers]):
            self._answer([callers[place] for place in places])

    def _answer(self, callers: list[Caller]) -> None:
        """Answer callers whose questions are alike."""
        try:
            for caller, answers in zip(callers, self._search([caller.question for caller in callers]), strict=True):
                caller.answers = answers
        except Exception as error:
            for caller in callers:
                caller.error = error

    def _step_back(self, caller: Caller) -> None:
        """Hand the lead on, wake those who were served, and leave the queue: also when interrupted."""
        following = None
        with self._guard:
            if caller.leads:
                following = self._waiting.popleft() if self._waiting else None
                self._leaders -= following is None
            elif caller.is_waiting and caller in self._waiting:
                self._waiting.remove(caller)
            if following is not None:
                following.leads = True
                following.called.release()
        for other in caller.served:
            other.called.release()
