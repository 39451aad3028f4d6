"""Virtual time: threads that wait for one another as real ones do, one at a time, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paradox.sim.env import SimEnv
from paradox.sim.loop import Loop, Stuck


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(3)
    yield loop
    loop.close()


def test_time_passes_only_while_all_wait(loop: Loop) -> None:
    loop.run(lambda: loop.sleep(3600), until=4000)
    assert loop.now == 3600


def test_going_round_in_circles_is_told(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradox.sim.loop.STEPS_AT_ONCE_MAX", 100)

    def spin() -> None:
        while True:
            loop.let_others_go()

    with pytest.raises(Stuck, match=r"100 steps were made at 0\.000 s"):
        loop.run(spin, until=1)


def order_of(seed: int) -> list[int]:
    loop, order = Loop(seed), list[int]()

    def work(number: int) -> None:
        for _ in range(3):
            order.append(number)
            loop.sleep(0)

    def main() -> None:
        for task in [loop.start(lambda number=number: work(number), "work", "one") for number in range(5)]:  # type: ignore[misc]
            task.join()

    loop.run(main, until=1)
    loop.close()
    return order


def test_a_seed_decides_the_order(loop: Loop) -> None:
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(10)}) == 10


def test_a_lock_is_held_by_one_at_a_time(loop: Loop) -> None:
    env, inside, most = SimEnv(loop, "one"), 0, 0
    lock = env.lock()

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            loop.sleep(0.1)
            inside -= 1

    def main() -> None:
        for task in [env.start(work, "work") for _ in range(8)]:
            task.join()

    loop.run(main, until=10)
    assert most == 1
    assert loop.now == pytest.approx(0.8)


def test_a_condition_wakes_who_waits_and_tells_when_the_time_was_up(loop: Loop) -> None:
    env, told = SimEnv(loop, "one"), list[bool]()
    changed = env.condition()

    def wait() -> None:
        with changed:
            told.append(changed.wait(5))

    def main() -> None:
        waiting = env.start(wait, "wait")
        loop.sleep(1)
        with changed:
            changed.notify_all()
        waiting.join()
        env.start(wait, "wait").join()

    loop.run(main, until=100)
    assert told == [True, False]
    assert loop.now == pytest.approx(6)


def test_threads_that_wait_for_one_another_are_found(loop: Loop) -> None:
    env = SimEnv(loop, "one")
    one, other = env.lock(), env.lock()

    def cross() -> None:
        with other:
            loop.sleep(1)
            one.acquire()

    def main() -> None:
        env.start(cross, "cross")
        with one:
            loop.sleep(1)
            other.acquire()

    with pytest.raises(Stuck, match=r"every thread waits for another(.|\n)*cross"):
        loop.run(main, until=100)


def test_who_is_killed_does_nothing_more_and_who_stands_still_goes_on(loop: Loop) -> None:
    ticks: dict[str, list[float]] = {"dies": [], "rests": []}

    def tick(name: str) -> None:
        while True:
            loop.sleep(1)
            ticks[name].append(loop.now)

    def main() -> None:
        for name in ticks:
            loop.start(lambda name=name: tick(name), "tick", name)  # type: ignore[misc]
        loop.sleep(2.5)
        loop.kill("dies")
        loop.pause("rests")
        loop.sleep(3)
        loop.resume("rests")
        loop.sleep(2)

    loop.run(main, until=100)
    assert ticks == {"dies": [1, 2], "rests": [1, 2, 5.5, 6.5]}
