"""NatsBus: a Bus over NATS servers. The only file that imports nats."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from paradox.errors import LogUnavailable
from paradox.ports.bus import Answer, Headers, Message, Silence

Result = TypeVar("Result")
CONNECT_S = 5.0
AGAIN_S = 0.2
PART_BYTES = 512 << 10
"""Of a body a message: servers take 1 MB unless they are told otherwise."""
PART, CALL = "Paradox-Part", "Paradox-Call"
PROBE, PROBE_S = "probe", 0.1
"""How long an answer may take before it is asked whether somebody is there at all, and again."""
CLOSED = "the connection was closed"
STATUS, NOBODY = "Status", "503"
UNFINISHED_MAX = 256
"""Bodies whose parts are still arriving; beyond, the oldest is given up, since its sender has."""


def _always(_: str) -> bool:
    return True


class NatsBus:
    """See `ports.bus.Bus`. An event loop in a thread of its own, so that callers may block."""

    def __init__(self, servers: Sequence[str], *, timeout_s: float = CONNECT_S, **options: Any) -> None:
        """servers: such as 'nats://host:4222'. options: of `nats.connect` (credentials, TLS). Raises LogUnavailable after timeout_s."""
        self.servers = tuple(servers)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="paradox-nats", daemon=True)
        self._thread.start()
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._stopped = False
        self._running: set[Future[Any]] = set()
        self._inbox = f"_INBOX.{os.urandom(12).hex()}"
        self._calls = 0
        self._waiting: dict[str, asyncio.Queue[Msg]] = {}
        self._serving: list[tuple[Subscription, ThreadPoolExecutor]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            self._client: Client = self._run(asyncio.wait_for(self._connected(servers, options), timeout_s))
        except (NatsError, OSError, TimeoutError) as error:
            self._stop()
            raise LogUnavailable(
                f"no log server answers at {', '.join(servers)}: {_told(error)}", hint="are they running, and is the address right?"
            ) from None

    async def _connected(self, servers: Sequence[str], options: Mapping[str, Any]) -> Client:
        """Connect, and again whenever the connection breaks; the caller sets an end to the first."""
        forever: dict[str, Any] = {"max_reconnect_attempts": -1, "reconnect_time_wait": AGAIN_S, "connect_timeout": CONNECT_S}
        client = await nats.connect(list(servers), error_cb=_quiet, **forever, **options)
        await client.subscribe(f"{self._inbox}.*", cb=self._replied)
        return client

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        with self._guard:
            if self._stopped:
                work.close()
                raise Silence(CLOSED, nobody=True)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._running.add(future)
        try:
            return future.result()
        except CancelledError:
            raise Silence(CLOSED, nobody=True) from None
        finally:
            self._running.discard(future)

    # -- one message

    def tell(self, subject: str, body: bytes) -> None:
        """Send a message to whoever hears it, without waiting. From any thread, that of `heard` included."""
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(lambda: self._keep(self._loop.create_task(self._tell(subject, body))))

    async def _tell(self, subject: str, body: bytes) -> None:
        with suppress(NatsError):
            await self._client.publish(subject, body)

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done, which the loop does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hear(self, subject: str, heard: Callable[[bytes], None]) -> None:
        """Call `heard`, which may not block, for each message of a subject from now on."""

        async def deliver(message: Msg) -> None:
            heard(message.data)

        self._run(self._subscribe(subject, deliver))

    async def _subscribe(self, subject: str, deliver: Callable[[Msg], Coroutine[Any, Any, None]]) -> Subscription:
        subscription = await self._client.subscribe(subject, cb=deliver)
        await self._client.flush()
        return subscription

    # -- questions and replies

    def request(
        self, subject: str, body: bytes, *, headers: Headers | None = None, before: Sequence[Message] = (), timeout_s: float
    ) -> bytes:
        """Send messages to a subject, the last one as a question, and return the body of the reply. Raises Silence."""
        return self._run(self._request(subject, [*before, (body, headers or {})], timeout_s))

    async def _request(self, subject: str, messages: Sequence[Message], timeout_s: float) -> bytes:
        async with _Call(self) as call:
            for body, headers in messages[:-1]:
                await self._publish(subject, body, headers)
            await self._publish(subject, messages[-1][0], messages[-1][1], reply=call.address)
            return (await call.next(timeout_s)).data

    def collect(self, subject: str, body: bytes, *, until: Callable[[Headers], bool], timeout_s: float) -> list[Message]:
        """Return the replies before the one that `until` is true of. Raises Silence."""
        return self._run(self._collect(subject, body, until, timeout_s))

    async def _collect(self, subject: str, body: bytes, until: Callable[[Headers], bool], timeout_s: float) -> list[Message]:
        async with _Call(self) as call:
            await self._publish(subject, body, {}, reply=call.address)
            found: list[Message] = []
            while True:
                message = await call.next(timeout_s)
                headers = message.headers or {}
                if until(headers):
                    return found
                found.append((message.data, headers))

    def ask(
        self, subjects: Sequence[str], body: bytes, *, hedge_s: float, timeout_s: float | None, lives: Callable[[str], bool] = _always
    ) -> tuple[str, bytes]:
        """Return what one who serves any of the subjects answers, and which of them it was. Raises Silence."""
        return self._run(self._ask_any(subjects, body, hedge_s, timeout_s, lives))

    async def _ask_any(
        self, subjects: Sequence[str], body: bytes, hedge_s: float, timeout_s: float | None, lives: Callable[[str], bool]
    ) -> tuple[str, bytes]:
        until = None if timeout_s is None else self._loop.time() + timeout_s
        asked, silence = 0, Silence("there is nobody to ask", nobody=True)
        asking: dict[asyncio.Task[bytes], str] = {}
        try:
            while asked < len(subjects) or asking:
                if asked < len(subjects):
                    task = self._loop.create_task(self._ask(subjects[asked], body, until, lives))
                    asking[task] = subjects[asked]
                    asked += 1
                patience = hedge_s if asked < len(subjects) else None
                done, _ = await asyncio.wait(asking, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    subject = asking.pop(task)
                    try:
                        return subject, task.result()
                    except Silence as failure:
                        silence = failure
            raise silence
        finally:
            for task in asking:
                task.cancel()

    def ask_all(
        self,
        questions: Sequence[tuple[Sequence[str], bytes]],
        *,
        hedge_s: float,
        timeout_s: float | None,
        lives: Callable[[str], bool] = _always,
    ) -> list[tuple[str, bytes] | Silence]:
        """Ask many things side by side, and return the answers and whose they are, or why there is none."""

        async def one(subjects: Sequence[str], body: bytes) -> tuple[str, bytes] | Silence:
            try:
                return await self._ask_any(subjects, body, hedge_s, timeout_s, lives)
            except Silence as silence:
                return silence

        async def every() -> list[tuple[str, bytes] | Silence]:
            return await asyncio.gather(*(one(subjects, body) for subjects, body in questions))

        return self._run(every())

    async def _ask(self, subject: str, body: bytes, until: float | None, lives: Callable[[str], bool]) -> bytes:
        async with _Call(self) as call:
            await self._send(subject, body, call.address, call.address)
            parts = _Parts()
            while True:
                left = PROBE_S if until is None else min(PROBE_S, max(0.0, until - self._loop.time()))
                try:
                    whole = parts.add(await call.next(left))
                except Silence as silence:
                    if silence.nobody or (until is not None and self._loop.time() >= until) or not lives(subject):
                        raise
                    # who was asked may have died with the question: then the server says that nobody serves there
                    await self._publish(subject, b"", {CALL: PROBE}, reply=call.address)
                    continue
                if whole is not None:
                    return whole

    def serve(self, subject: str, answer: Answer, *, threads: int) -> None:
        """Answer what is asked of a subject from now on, in threads. `answer` raises nothing."""
        pool = ThreadPoolExecutor(threads, thread_name_prefix="paradox-node")
        unfinished: dict[str, _Parts] = {}
        answering: set[str] = set()

        async def deliver(message: Msg) -> None:
            call = (message.headers or {}).get(CALL, message.reply)
            if call == PROBE:
                if message.reply not in answering and message.reply not in unfinished:
                    await self._publish(message.reply, b"", {STATUS: NOBODY})  # it was asked of who served here before
                return
            whole = unfinished.setdefault(call, _Parts()).add(message)
            if whole is None:
                while len(unfinished) > UNFINISHED_MAX:
                    del unfinished[next(iter(unfinished))]
                return
            del unfinished[call]
            answering.add(call)
            task = self._loop.create_task(self._answer(pool, answer, whole, call))
            task.add_done_callback(lambda _: answering.discard(call))
            self._keep(task)

        self._serving.append((self._run(self._subscribe(subject, deliver)), pool))

    async def _answer(self, pool: ThreadPoolExecutor, answer: Answer, body: bytes, address: str) -> None:
        with suppress(RuntimeError, NatsError):  # closed meanwhile: who asked hears nothing, and asks another
            await self._send(address, await self._loop.run_in_executor(pool, answer, body), "", address)

    # -- messages

    async def _send(self, subject: str, body: bytes, reply: str, call: str) -> None:
        """Send a body in as many messages as it takes. Where that is not one, each names the call, and which part of how many it is."""
        if len(body) <= PART_BYTES:  # headers cost the client more than all the rest
            await self._publish(subject, body, {}, reply=reply)
            return
        view, parts = memoryview(body), -(-len(body) // PART_BYTES)
        for part in range(parts):
            piece = bytes(view[part * PART_BYTES : (part + 1) * PART_BYTES])
            await self._publish(subject, piece, {CALL: call, PART: f"{part + 1}/{parts}"}, reply=reply)

    async def _publish(self, subject: str, body: bytes, headers: Headers, *, reply: str = "") -> None:
        try:
            await self._client.publish(subject, body, reply=reply, headers=dict(headers) or None)
        except NatsError as error:
            raise Silence(_told(error), nobody=True) from None

    async def _replied(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None:
            waiting.put_nowait(message)

    def open_call(self) -> tuple[str, asyncio.Queue[Msg]]:
        """Return an address for replies and where they arrive. In the loop only."""
        self._calls += 1
        address = f"{self._inbox}.{self._calls}"
        queue = self._waiting[address] = asyncio.Queue()
        return address, queue

    def close_call(self, address: str) -> None:
        """Forget an address."""
        self._waiting.pop(address, None)

    def move(self) -> None:
        """Connect to another server, where there is one: this one seems to be cut off from the others. Without waiting."""
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(lambda: self._keep(self._loop.create_task(self._client.force_reconnect())))

    # -- time

    def wait(self, seconds: float) -> None:
        """Return after a time. Raises LogUnavailable when the connection is closed, at once."""
        if self._closed.wait(seconds):
            raise LogUnavailable(CLOSED, hint="connect again")

    def stop_serving(self) -> None:
        """Take no more questions, and return once those that were taken are answered."""
        serving, self._serving = self._serving, []
        for subscription, pool in serving:
            self._run(subscription.unsubscribe())
            pool.shutdown(wait=True)
        self._run(self._sent())

    async def _sent(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(NatsError):
            await self._client.flush(timeout=int(CONNECT_S))

    def close(self) -> None:
        """Disconnect; who waits for an answer gets Silence. Safe to call twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        for _, pool in self._serving:
            pool.shutdown(wait=False, cancel_futures=True)
        self._run(self._disconnect())
        self._stop()

    async def _disconnect(self) -> None:
        await self._client.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop(self) -> None:
        with self._guard:
            self._stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for future in list(self._running):  # what came when the loop was about to stop
            future.cancel()


class _Call:
    """An address for replies, while somebody waits for them."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self.address = ""

    async def __aenter__(self) -> _Call:
        self.address, self._queue = self._bus.open_call()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.close_call(self.address)

    async def next(self, timeout_s: float | None) -> Msg:
        """Return the next reply. Raises Silence."""
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._queue.get()
        except TimeoutError:
            raise Silence("no answer in time", nobody=False) from None
        if not message.data and (message.headers or {}).get(STATUS) == NOBODY:
            raise Silence("nobody is there to answer", nobody=True)
        return message


class _Parts:
    """The parts of one body, as they arrive in order."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, message: Msg) -> bytes | None:
        """Return the whole body once its last part is here."""
        _, _, parts = (message.headers or {}).get(PART, "1/1").partition("/")
        self._pieces.append(message.data)
        if len(self._pieces) < int(parts):
            return None
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _told(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    return str(failure).removeprefix("nats: ") or type(failure).__name__


async def _quiet(_: Exception) -> None:
    """Errors of the connection are told by the calls that meet them."""
