"""`paradox sim`: whole clusters in virtual time, each from a seed, with faults; a seed that breaks a promise replays."""

from __future__ import annotations

import os
import secrets
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import TYPE_CHECKING

from paradox.cli.screen import Screen

if TYPE_CHECKING:
    from paradox.sim.world import Report

OK, FAILED = 0, 1
WORLDS_A_CHILD = 50
"""After which a process is replaced: what a killed node had mapped is let go late."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `paradox sim` takes."""
    parser.add_argument(
        "--seed", type=int, metavar="N", help="the first world; a seed is one world, every time the same (default: new ones)"
    )
    parser.add_argument(
        "--worlds", type=int, metavar="K", help="how many worlds to live through (default 1; with --seconds, as many as fit)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="begin no more worlds after so many seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="worlds at a time (default: one a core)")


def simulate(arguments: Namespace, screen: Screen) -> int:
    """Live through worlds, tell of those in which a promise was broken, and return 1 when there is one."""
    first = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    worlds = arguments.worlds or (1 if arguments.seconds is None else None)
    broken = lived = points = read = 0
    virtual_s = 0.0
    for report in _reports(first, worlds, arguments.seconds, max(1, arguments.jobs)):
        lived, points, read = lived + 1, points + report.acknowledged, read + report.read
        virtual_s += report.virtual_s
        broken += bool(report.violations)
        screen.document(report)
        if report.violations or worlds == 1:
            _tell(report, screen)
    told = f"{lived:,} worlds from seed {first}" if lived != 1 else f"the world of seed {first}"
    screen.line(
        f"{told}: {virtual_s:,.0f} s of their time, {points:,} points acknowledged, {read:,} answers checked, "
        + (f"{broken} broke a promise" if broken else "every promise kept")
    )
    return FAILED if broken else OK


def _reports(first: int, worlds: int | None, seconds: float | None, jobs: int) -> Iterator[Report]:
    """Yield a report for each world as it ends."""
    from paradox.sim.world import live_through

    if worlds == 1:
        yield live_through(first)
        return
    until = None if seconds is None else time.monotonic() + seconds
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=WORLDS_A_CHILD) as pool:
        running: dict[Future[Report], int] = {}
        places = list(range(jobs))
        begun = 0
        while True:
            while places and (worlds is None or begun < worlds) and (until is None or time.monotonic() < until):
                place = places.pop()
                running[pool.submit(live_through, first + begun, place=place)] = place
                begun += 1
            if not running:
                return
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                places.append(running.pop(one))
                yield one.result()


def _tell(report: Report, screen: Screen) -> None:
    screen.line(f"seed {report.seed}: {report.entries:,} log entries, {report.failed} requests failed")
    for event in report.events:
        screen.line(f"  {event}")
    for violation in report.violations:
        screen.line("  ", ("broken: ", "bold"), violation)
    if report.violations:
        screen.line(f"  `paradox sim --seed {report.seed}` lives through it again")
