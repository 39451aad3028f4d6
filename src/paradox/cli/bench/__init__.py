"""BENCH: what Paradox does on this machine, beside what other embedded vector databases do, on real vectors.

    sources.py     short real texts from Debian and PyPI
    corpus.py      texts → vectors, questions that are never inserted, true answers; kept in a cache folder
    workload.py    payloads, and filters that agree with a question, do not care, or go against it
    timing.py      latencies, callers, memory; children that start clean
    peers.py       the other databases behind one Protocol; contest.py takes each through the same work
    subject.py     Paradox through its public API; bars.py the figures asked of it
    growth.py      how the cost of a question grows with the data; maps.py what a million regions cost
    served.py      a server and a cluster, asked and written to by callers.py; running.py starts them, server_peers.py those of others
    routing.py     how few shards a question visits for its recall; vast.py: what twenty million points cost
    opening.py, installing.py, children.py   what must be measured in fresh processes

In: `paradox bench …`. Out: a table, or one line of JSON a bar. `cli` imports this package, and nobody else.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paradox.cli.screen import Row, Screen, Span

if TYPE_CHECKING:
    from paradox.cli.bench.bars import Reading
    from paradox.cli.bench.contest import PeerResult
    from paradox.client.sync import Database

OK, PARTIAL = 0, 6
DURATION_S = 2.0
SMALL_POINTS = 100_000
BUSY_SHARE = 0.25
"""Load, a core, above which other work is told to disturb the figures."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `paradox bench` takes."""
    parser.add_argument("--prepare", choices=("small", "large"), help="build a set of real vectors in the cache, and stop")
    parser.add_argument("--peers", action="store_true", help="measure zvec, qdrant-edge, lancedb and chroma first, and compare")
    parser.add_argument("--large", action="store_true", help="measure the large set too (prepare it first)")
    parser.add_argument("--growth", action="store_true", help="show how the cost of a question grows with the data, and nothing else")
    parser.add_argument("--map", action="store_true", help="show what a map of a million regions costs, and nothing else (takes 4 GB)")
    parser.add_argument(
        "--served", action="store_true", help="measure `paradox serve` and `paradox up`, and nothing else; with --peers other servers too"
    )
    parser.add_argument("--shards", action="store_true", help="show how few of several shards a question visits, and nothing else")
    parser.add_argument("--vast", action="store_true", help="fill a folder with 20 million points, ask it, and nothing else (takes 40 GB)")
    parser.add_argument("--only", metavar="NAME", help="only bars whose name begins so, such as one, many.rate, filter or large")
    parser.add_argument("--points", type=int, metavar="N", help="only the first N points of a set (default: 100,000; all of the large one)")
    parser.add_argument(
        "--seconds", type=float, default=DURATION_S, metavar="S", help=f"how long a speed is measured (default {DURATION_S:g})"
    )
    parser.add_argument("--cache", metavar="DIR", help="where sets are kept (default: this user's cache folder)")


def run(arguments: Namespace) -> int:
    """Measure as asked, print, and return the exit code: 6 when something could not be measured. Raises ParadoxError."""
    from paradox.cli.bench.corpus import default_cache, prepare_large, prepare_small
    from paradox.errors import NumberRange

    screen = Screen(json=arguments.json, out=sys.stdout, err=sys.stderr)
    cache = Path(arguments.cache).expanduser() if arguments.cache else default_cache()
    if arguments.points is not None and arguments.points < 100:
        raise NumberRange(f"--points {arguments.points}; expected 100 or more", hint="a filter that keeps 1 % must keep a point")
    if arguments.prepare:
        manifest = (prepare_large if arguments.prepare == "large" else prepare_small)(cache, screen.note)
        screen.document(manifest)
        return OK
    if arguments.map:
        from paradox.cli.bench.maps import REGIONS, map_readings

        return _show(map_readings(screen.note, regions=arguments.points or REGIONS), screen)
    prepare_small(cache, screen.note)
    if arguments.growth:
        from paradox.cli.bench.growth import show_growth

        return show_growth(cache, screen, points_max=arguments.points)
    _tell_if_busy(screen)
    if arguments.served:
        from paradox.cli.bench.corpus import load
        from paradox.cli.bench.served import served_readings

        corpus = load(cache, "small", points=arguments.points)
        return _show(served_readings(corpus, cache, screen.note, duration_s=arguments.seconds, peers=arguments.peers), screen)
    if arguments.shards:
        from paradox.cli.bench.routing import show_routing

        return show_routing(cache, screen, points_max=arguments.points, large=arguments.large, only=arguments.only)
    if arguments.vast:
        from paradox.cli.bench.vast import POINTS, vast_readings

        points = arguments.points or POINTS
        return _show(vast_readings(cache, screen.note, points=points, duration_s=arguments.seconds), screen)
    return _measure(arguments, cache, screen)


def _tell_if_busy(screen: Screen) -> None:
    load_now, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load_now > cores * BUSY_SHARE:
        screen.note(f"the machine is busy (load {load_now:.1f} on {cores} cores): speeds are lower bounds")


def _measure(arguments: Namespace, cache: Path, screen: Screen) -> int:
    from paradox.cli.bench.bars import Stage, measure_suite, suites_of
    from paradox.cli.bench.corpus import load
    from paradox.errors import Missing

    suites = suites_of(arguments.only)
    if arguments.large and "large" not in suites:
        suites.append("large")
    if not suites:
        raise Missing(f"no bar's name begins with {arguments.only!r}", hint="the names are printed by: paradox bench")
    peers = list(_measure_peers(arguments, cache, screen)) if arguments.peers else []
    stage = Stage(
        lambda name: load(cache, name, points=arguments.points),
        _connect,
        cache,
        duration_s=arguments.seconds,
        peers=peers,
        tell=screen.note,
    )
    try:
        return _show(
            (
                reading
                for suite in suites
                for reading in measure_suite(stage, suite)
                if arguments.only is None or suite == "large" or reading.name.startswith(arguments.only)
            ),
            screen,
        )
    finally:
        stage.close()


def _show(measured: Iterable[Reading], screen: Screen) -> int:
    """Print readings as they come, then all of them as a table, and return the exit code."""
    from paradox.cli.bench.bars import PEERS_ABSENT

    readings: list[Reading] = []
    for reading in measured:
        readings.append(reading)
        screen.document(reading)
    screen.table(("what", "value", "unit", "bar", "", ""), [_row(reading) for reading in readings])
    failed = [reading for reading in readings if reading.value is None and not reading.note.startswith(PEERS_ABSENT)]
    return PARTIAL if failed else OK


def _connect(folder: Path) -> Database:
    import paradox

    return paradox.connect(folder)


def _measure_peers(arguments: Namespace, cache: Path, screen: Screen) -> Iterator[PeerResult]:
    """Measure every installed peer and print what it reached."""
    from paradox.cli.bench.bars import peer_readings
    from paradox.cli.bench.contest import compete

    results, absent = compete(cache, arguments.points or SMALL_POINTS, arguments.seconds, screen.note)
    for result in results:
        for reading in peer_readings(result):
            screen.document(reading)
    heads = ("peer", "insert/s", "searchable/s", "recall", "p50 ms", "p99 ms", "1 caller/s", "8 callers/s", "batch/s", "1 %/s", "writing/s")
    rows = [_peer_row(result) for result in results]
    rows += [(f"{name}: {reason}", *("–",) * 10) for name, reason in absent.items()]
    screen.table(heads, rows)
    screen.line("")
    yield from results


def _peer_row(result: PeerResult) -> Sequence[Span]:
    batch = "–" if result.batch_per_s is None else f"{result.batch_per_s:,.0f}"
    return (
        f"{result.name} {result.release}",
        f"{result.insert_per_s:,.0f}",
        f"{result.searchable_per_s:,.0f}",
        f"{result.recall:.3f}",
        f"{result.p50_ms:.2f}",
        f"{result.p99_ms:.2f}",
        f"{result.one_per_s:,.0f}",
        f"{result.eight_per_s:,.0f}",
        batch,
        f"{result.filtered_per_s:,.0f}",
        f"{result.beside_writer_per_s:,.0f}",
    )


def _row(reading: Reading) -> Row:
    bar = "" if reading.bar is None else f"{'≥' if reading.sense == 'at least' else '≤'} {_number(reading.bar)}"
    verdict: Span = "" if reading.met is None else ("met", "green") if reading.met else ("MISSED", "bold red")
    return (reading.name, "–" if reading.value is None else _number(reading.value), reading.unit, bar, verdict, reading.note)


def _number(value: float) -> str:
    """Return a figure with as many places as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
