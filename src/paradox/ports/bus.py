"""Bus: messages between the programs of a cluster, by subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

Headers: TypeAlias = Mapping[str, str]
Message: TypeAlias = tuple[bytes, Headers]
Answer: TypeAlias = Callable[[bytes], bytes]


class Silence(Exception):
    """Nobody answered. nobody: there is none who could; otherwise there may be one who is still at it."""

    def __init__(self, reason: str, *, nobody: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.nobody = nobody


class Bus(Protocol):
    """A connection to the servers that carry messages. For blocking callers; thread-safe.

    A message is delivered at most once, and what one sender sends to one receiver arrives in order.
    """

    def request(
        self, subject: str, body: bytes, *, headers: Headers | None = None, before: Sequence[Message] = (), timeout_s: float
    ) -> bytes:
        """Send messages to a subject, the last one as a question, and return the body of the reply. Raises Silence."""
        ...

    def collect(self, subject: str, body: bytes, *, until: Callable[[Headers], bool], timeout_s: float) -> list[Message]:
        """Ask what has many replies, and return those before the one that `until` is true of, which is told apart by its headers.

        Raises Silence, also when replies stop before the last.
        """
        ...

    def tell(self, subject: str, body: bytes) -> None:
        """Send a message to whoever hears it, without waiting. From any thread, that of `heard` included."""
        ...

    def hear(self, subject: str, heard: Callable[[bytes], None]) -> None:
        """Call `heard`, which may not block, for each message of a subject from now on."""
        ...

    def ask(
        self, subjects: Sequence[str], body: bytes, *, hedge_s: float, timeout_s: float | None, lives: Callable[[str], bool] = ...
    ) -> tuple[str, bytes]:
        """Return what one who serves any of the subjects answers, and which of them it was.

        The next subject is asked too when nobody serves the one before, or it has not answered for hedge_s. Bodies may be larger than a
        message. lives: whether who serves a subject is still heard of. Raises Silence when none answers within timeout_s, and at once when
        all whom it was asked of are gone.
        """
        ...

    def ask_all(
        self,
        questions: Sequence[tuple[Sequence[str], bytes]],
        *,
        hedge_s: float,
        timeout_s: float | None,
        lives: Callable[[str], bool] = ...,
    ) -> list[tuple[str, bytes] | Silence]:
        """Ask many things side by side, each as `ask` does, and return the answers and whose they are, or why there is none."""
        ...

    def serve(self, subject: str, answer: Answer, *, threads: int) -> None:
        """Answer what is asked of a subject from now on, in threads. `answer` raises nothing."""
        ...

    def stop_serving(self) -> None:
        """Take no more questions, and return once those that were taken are answered."""
        ...

    def move(self) -> None:
        """Connect to another server, where there is one: this one seems to be cut off from the others. Without waiting."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after a time. Raises LogUnavailable when the connection is closed, at once."""
        ...

    def close(self) -> None:
        """Disconnect; who waits for an answer gets Silence. Safe to call twice."""
        ...
