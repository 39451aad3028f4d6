"""The network of a world, and the Bus of each program in it: messages pass through the log servers, as with NATS, and take their time.

What one program sends another arrives in order, at most once. In rough weather messages are late or lost; who is cut off loses all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from paradox.errors import LogUnavailable
from paradox.ports.bus import Answer, Headers, Message, Silence
from paradox.sim.loop import Loop, Task
from paradox.sim.servers import LogServers

DELAY_S = 0.0005
COMMIT_S = 0.003
LATE, LATE_S = 0.05, 1.5
LOST = 0.01
TWICE = 0.1
"""In rough weather: how often a message is late, by how much at most, lost, or a publish sent twice."""
PROBE_S = 0.1
NOBODY = None
CLOSED = "the connection was closed"


class Network:
    """Who is connected, who hears and who serves what."""

    def __init__(self, loop: Loop, servers: LogServers) -> None:
        self.loop = loop
        self.servers = servers
        self.cut: set[str] = set()
        self.rough = False
        self.serving: dict[str, SimBus] = {}
        self.hearing: dict[str, list[SimBus]] = {}
        self._arrived: dict[tuple[int, str], float] = {}

    def pass_on(self, bus: SimBus, way: str, call: Callable[[], None]) -> None:
        """Let a message of a program pass to the servers (way "up") or from them ("down")."""
        dice = self.loop.dice
        delay = DELAY_S * (1 + dice.random())
        lost = bus.owner in self.cut
        if self.rough:
            delay += dice.random() * LATE_S if dice.random() < LATE else 0.0
            lost = lost or dice.random() < LOST
        if lost:
            return
        when = max(self.loop.now + delay, self._arrived.get((bus.number, way), 0.0))
        self._arrived[bus.number, way] = when
        self.loop.call_at(when, lambda: None if bus.owner in self.cut or bus.gone else call())

    def forget(self, bus: SimBus) -> None:
        """Note that a program's connection broke."""
        bus.gone = True
        self.serving = {subject: other for subject, other in self.serving.items() if other is not bus}
        self.hearing = {subject: [other for other in buses if other is not bus] for subject, buses in self.hearing.items()}


class Mailbox:
    """Where a thread waits for replies."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._task: Task = loop.current
        self._there: deque[Any] = deque()

    def put(self, message: Any) -> None:
        """Deliver a message."""
        self._there.append(message)
        self._loop.wake(self._task)

    def get(self, until: float | None) -> Any:
        """Return the next message. Raises TimeoutError when none has come by then."""
        while not self._there:
            if not self._loop.block(until) and not self._there:
                raise TimeoutError
        return self._there.popleft()


class Serving:
    """What a program serves: who answers, in how many threads, and the questions that wait."""

    def __init__(self, answer: Answer, threads: int) -> None:
        self.answer = answer
        self.threads = threads
        self.working = 0
        self.questions: deque[tuple[bytes, SimBus, int, Mailbox]] = deque()


class SimBus:
    """See `ports.bus.Bus`. owner: the program that has it."""

    def __init__(self, network: Network, owner: str) -> None:
        self.owner = owner
        self.gone = False
        self._network = network
        self._loop = network.loop
        self.number = self._loop.dice.getrandbits(48)
        self._closed = False
        self._calls = 0
        self._heard: dict[str, Callable[[bytes], None]] = {}
        self._serving: dict[str, Serving] = {}
        self._answering: set[tuple[int, int]] = set()
        self._inbox: deque[Callable[[], None]] = deque()
        self._waiters: list[Task] = []
        self._boxes: dict[Mailbox, None] = {}
        self._receiver = self._loop.start(self._receive, "bus", owner)

    # -- one message

    def tell(self, subject: str, body: bytes) -> None:
        """Send a message to whoever hears it, without waiting."""
        network = self._network

        def spread() -> None:
            for other in network.hearing.get(subject, ()):
                network.pass_on(other, "down", lambda other=other: other.deliver(lambda: other.heard(subject, body)))  # type: ignore[misc]

        network.pass_on(self, "up", spread)

    def hear(self, subject: str, heard: Callable[[bytes], None]) -> None:
        """Call `heard`, which may not block, for each message of a subject from now on."""
        self._heard[subject] = heard
        self._network.hearing.setdefault(subject, []).append(self)

    def heard(self, subject: str, body: bytes) -> None:
        """Hand over a message that has arrived."""
        self._heard[subject](body)

    def deliver(self, call: Callable[[], None]) -> None:
        """Let the thread that receives do something."""
        self._inbox.append(call)
        self._loop.wake(self._receiver)

    def _receive(self) -> None:
        while not self._closed:
            while self._inbox:
                self._inbox.popleft()()
            self._loop.block()

    # -- questions to the servers

    def request(
        self, subject: str, body: bytes, *, headers: Headers | None = None, before: Sequence[Message] = (), timeout_s: float
    ) -> bytes:
        """Send messages to a subject, the last one as a question, and return the body of the reply. Raises Silence."""
        messages: list[Message] = [*before, (body, headers or {})]
        times = 2 if self._network.rough and headers and self._loop.dice.random() < TWICE else 1
        with self._box() as box:
            for _ in range(times):
                self._to_servers(subject, messages, box, COMMIT_S if headers else 0.0)
            reply: bytes = self._wait(box, self._loop.now + timeout_s)[0]
        return reply

    def collect(self, subject: str, body: bytes, *, until: Callable[[Headers], bool], timeout_s: float) -> list[Message]:
        """Return the replies before the one that `until` is true of. Raises Silence."""
        found: list[Message] = []
        with self._box() as box:
            self._to_servers(subject, [(body, {})], box, 0.0)
            while True:
                reply, headers = self._wait(box, self._loop.now + timeout_s)
                if until(headers):
                    return found
                found.append((reply, headers))

    def _to_servers(self, subject: str, messages: Sequence[Message], box: Mailbox, takes_s: float) -> None:
        network = self._network

        def answer(reply: bytes, headers: Headers) -> None:
            self._loop.call_at(self._loop.now + takes_s, lambda: network.pass_on(self, "down", lambda: box.put((reply, headers))))

        network.pass_on(self, "up", lambda: network.servers.take(subject, messages, answer))

    @contextmanager
    def _box(self) -> Iterator[Mailbox]:
        if self._closed:
            raise Silence(CLOSED, nobody=True)
        box = Mailbox(self._loop)
        self._boxes[box] = None
        try:
            yield box
        finally:
            del self._boxes[box]

    def _wait(self, box: Mailbox, until: float | None) -> Any:
        try:
            message = box.get(until)
        except TimeoutError:
            raise Silence("no answer in time", nobody=False) from None
        if message is CLOSED:
            raise Silence(CLOSED, nobody=True)
        return message

    # -- questions to other programs

    def ask(
        self,
        subjects: Sequence[str],
        body: bytes,
        *,
        hedge_s: float,
        timeout_s: float | None,
        lives: Callable[[str], bool] = lambda _: True,
    ) -> tuple[str, bytes]:
        """Return what one who serves any of the subjects answers, and which of them it was. Raises Silence."""
        reply = self.ask_all([(subjects, body)], hedge_s=hedge_s, timeout_s=timeout_s, lives=lives)[0]
        if isinstance(reply, Silence):
            raise reply
        return reply

    def ask_all(
        self,
        questions: Sequence[tuple[Sequence[str], bytes]],
        *,
        hedge_s: float,
        timeout_s: float | None,
        lives: Callable[[str], bool] = lambda _: True,
    ) -> list[tuple[str, bytes] | Silence]:
        """Ask many things side by side, and return the answers and whose they are, or why there is none."""
        until = None if timeout_s is None else self._loop.now + timeout_s
        replies: dict[int, tuple[str, bytes] | Silence] = dict.fromkeys(
            range(len(questions)), Silence("there is nobody to ask", nobody=True)
        )
        left = {number: list(subjects) for number, (subjects, _) in enumerate(questions)}
        hedge_at = dict.fromkeys(left, self._loop.now)
        asking: dict[int, tuple[int, str]] = {}
        with self._box() as box:
            while True:
                for number, subjects in left.items():
                    waits = any(one == number for one, _ in asking.values())
                    if subjects and (not waits or self._loop.now >= hedge_at[number]):
                        subject = subjects.pop(0)
                        asking[self._send(subject, questions[number][1], box)] = number, subject
                        hedge_at[number] = self._loop.now + hedge_s
                if not asking:
                    return list(replies.values())
                hedges = [hedge_at[number] for number, _ in asking.values() if left[number]]
                heard = self._next(box, asking, until, lives, min(hedges, default=None))
                if heard is None:
                    continue
                number, subject, reply = heard
                replies[number] = reply if isinstance(reply, Silence) else (subject, reply)
                if not isinstance(reply, Silence):
                    left[number] = []
                    asking = {call: one for call, one in asking.items() if one[0] != number}

    def _next(
        self, box: Mailbox, asking: dict[int, tuple[int, str]], until: float | None, lives: Callable[[str], bool], hedge_at: float | None
    ) -> tuple[int, str, bytes | Silence] | None:
        """Return one more reply with its question and subject, which is taken out of `asking`; None when it is time to look about."""
        probe_at = self._loop.now + PROBE_S
        try:
            heard = self._wait(box, min(when for when in (until, hedge_at, probe_at) if when is not None))
        except Silence as silence:
            if silence.nobody:
                raise
            for call, (number, subject) in list(asking.items()):
                if not lives(subject) or (until is not None and self._loop.now >= until):
                    del asking[call]
                    return number, subject, silence
                self._probe(call, subject, box)
            return None
        call, reply = heard
        if call not in asking:
            return None
        return *asking.pop(call), Silence("nobody is there to answer", nobody=True) if reply is NOBODY else reply

    def _send(self, subject: str, body: bytes, box: Mailbox) -> int:
        self._calls += 1
        call = self._calls
        self._to_server_of(subject, call, box, lambda other: other.deliver(lambda: other.take(subject, body, self, call, box)))
        return call

    def _probe(self, call: int, subject: str, box: Mailbox) -> None:
        def look(other: SimBus) -> None:
            if not other.is_at(self, call):
                self._network.pass_on(other, "up", lambda: self._network.pass_on(self, "down", lambda: box.put((call, NOBODY))))

        self._to_server_of(subject, call, box, lambda other: other.deliver(lambda: look(other)))

    def _to_server_of(self, subject: str, call: int, box: Mailbox, arrive: Callable[[SimBus], None]) -> None:
        network = self._network

        def route() -> None:
            other = network.serving.get(subject)
            if other is None:
                network.pass_on(self, "down", lambda: box.put((call, NOBODY)))
            else:
                network.pass_on(other, "down", lambda: arrive(other))

        network.pass_on(self, "up", route)

    # -- serving

    def serve(self, subject: str, answer: Answer, *, threads: int) -> None:
        """Answer what is asked of a subject from now on, in threads."""
        self._serving[subject] = Serving(answer, threads)
        self._network.serving[subject] = self

    def is_at(self, asker: SimBus, call: int) -> bool:
        """Tell whether a question arrived and is not answered yet."""
        return (asker.number, call) in self._answering

    def take(self, subject: str, body: bytes, asker: SimBus, call: int, box: Mailbox) -> None:
        """Take a question that has arrived."""
        serving = self._serving[subject]
        self._answering.add((asker.number, call))
        serving.questions.append((body, asker, call, box))
        if serving.working < serving.threads:
            serving.working += 1
            self._loop.start(lambda: self._work(serving), "answer", self.owner)

    def _work(self, serving: Serving) -> None:
        network = self._network
        while serving.questions:
            body, asker, call, box = serving.questions.popleft()
            reply = serving.answer(body)
            self._answering.discard((asker.number, call))
            network.pass_on(
                self,
                "up",
                lambda asker=asker, box=box, call=call, reply=reply: network.pass_on(asker, "down", lambda: box.put((call, reply))),  # type: ignore[misc]
            )
        serving.working -= 1
        self._wake_waiters()

    def stop_serving(self) -> None:
        """Take no more questions, and return once those that were taken are answered."""
        for subject in self._serving:
            if self._network.serving.get(subject) is self:
                del self._network.serving[subject]
        while self._answering:
            self._waiters.append(self._loop.current)
            self._loop.block()

    # -- time

    def wait(self, seconds: float) -> None:
        """Return after a time. Raises LogUnavailable when the connection is closed, at once."""
        me, until = self._loop.current, self._loop.now + seconds
        while not self._closed and self._loop.now < until:  # it is woken for other reasons too
            self._waiters.append(me)
            self._loop.block(until)
            if me in self._waiters:
                self._waiters.remove(me)
        if self._closed:
            raise LogUnavailable(CLOSED, hint="connect again")

    def move(self) -> None:
        """Connect to another server: all are one here."""

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for task in waiters:
            self._loop.wake(task)

    def close(self) -> None:
        """Disconnect; who waits for an answer gets Silence. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._network.forget(self)
        for box in self._boxes:
            box.put(CLOSED)
        self._wake_waiters()
        self._loop.wake(self._receiver)
