"""What every Bus must do. Subclass `BusConformance` in a test module and give it the fixtures `bus` and `other`, of one network."""

from __future__ import annotations

import pytest

from paradox.errors import LogUnavailable
from paradox.ports.bus import Bus, Silence

LONG_S = 20.0


class BusConformance:
    @pytest.mark.parametrize("size", [0, 1, 512 << 10, (512 << 10) + 1, 5 << 20])
    def test_bodies_of_any_size_go_and_come(self, bus: Bus, other: Bus, size: int) -> None:
        other.serve("echo", lambda body: body[::-1], threads=2)
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert bus.ask(["echo"], body, hedge_s=1, timeout_s=10) == ("echo", body[::-1])

    def test_many_ask_at_once(self, bus: Bus, other: Bus) -> None:
        other.serve("echo", lambda body: body, threads=4)
        bodies = [bytes([number]) * (number * 30_000) for number in range(50)]
        assert bus.ask_all([(["echo"], body) for body in bodies], hedge_s=1, timeout_s=LONG_S) == [("echo", body) for body in bodies]

    def test_replies_stand_in_the_order_of_the_questions(self, bus: Bus, other: Bus) -> None:
        def answer(body: bytes) -> bytes:
            other.wait(0.2 if body == b"a" else 0.0)
            return body

        other.serve("echo", answer, threads=4)
        for last in (b"a", b"c"):
            replies = bus.ask_all([(["echo"], b"a"), (["nobody"], b"b"), (["echo"], last)], hedge_s=1, timeout_s=LONG_S)
            assert replies[::2] == [("echo", b"a"), ("echo", last)]
            assert isinstance(replies[1], Silence)
            assert replies[1].nobody

    def test_each_of_many_is_helped_by_another(self, bus: Bus, other: Bus) -> None:
        asked: list[bytes] = []

        def slow(body: bytes) -> bytes:
            asked.append(body)
            other.wait(2)
            return b"slow"

        other.serve("slow", slow, threads=4)
        other.serve("quick", lambda body: body, threads=2)
        questions = [(["slow", "quick"], b"a"), (["nobody", "quick"], b"b"), (["quick", "slow"], b"c"), (["nobody"], b"d"), ([], b"e")]
        *found, gone, none = bus.ask_all(questions, hedge_s=0.5, timeout_s=LONG_S)
        assert found == [("quick", b"a"), ("quick", b"b"), ("quick", b"c")]
        assert asked == [b"a"], "who answers in time is not helped"
        assert isinstance(gone, Silence)
        assert isinstance(none, Silence)
        assert gone.nobody
        assert none.nobody

    def test_nobody_is_there(self, bus: Bus) -> None:
        with pytest.raises(Silence) as caught:
            bus.ask(["nobody"], b"x", hedge_s=5, timeout_s=5)
        assert caught.value.nobody

    def test_who_does_not_answer_is_helped_by_another(self, bus: Bus, other: Bus) -> None:
        def slow(_: bytes) -> bytes:
            other.wait(2)
            return b"slow"

        other.serve("slow", slow, threads=1)
        other.serve("quick", lambda _: b"quick", threads=1)
        assert bus.ask(["slow", "quick"], b"", hedge_s=0.05, timeout_s=10) == ("quick", b"quick")
        assert bus.ask(["nobody", "quick"], b"", hedge_s=10, timeout_s=10) == ("quick", b"quick")

    def test_who_is_late_is_silent_and_may_still_be_at_it(self, bus: Bus, other: Bus) -> None:
        def slow(_: bytes) -> bytes:
            other.wait(1)
            return b"slow"

        other.serve("slow", slow, threads=1)
        with pytest.raises(Silence) as caught:
            bus.ask(["slow"], b"", hedge_s=1, timeout_s=0.3)
        assert not caught.value.nobody

    def test_who_counts_as_dead_is_not_waited_for(self, bus: Bus, other: Bus) -> None:
        def slow(_: bytes) -> bytes:
            other.wait(2)
            return b"slow"

        other.serve("slow", slow, threads=1)
        with pytest.raises(Silence):
            bus.ask(["slow"], b"", hedge_s=1, timeout_s=None, lives=lambda _: False)

    def test_a_closed_bus_ends_every_wait(self, bus: Bus) -> None:
        bus.close()
        bus.close()
        with pytest.raises(Silence) as caught:
            bus.ask(["nobody"], b"", hedge_s=1, timeout_s=1)
        assert caught.value.nobody
        with pytest.raises(LogUnavailable):
            bus.wait(100)
