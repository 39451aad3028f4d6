"""Choosing how to search one segment: score the matches exactly, scan every code, or probe the nearest regions. Pure arithmetic.

The promise is recall; among the ways that keep it the cheapest is taken, by what a row takes on this machine where that was timed, else
by `Costs`. Filtered searches never probe: a filter can leave the neighbours of a query anywhere, and only ways that see every allowed row
hold recall at every selectivity.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from paradox.model.recall import Curve, Reading

Way: TypeAlias = Literal["nothing", "exact", "scan", "packed", "probe", "text"]
"""packed: scan every code too, by a kernel that has them in one list, where that is the faster one."""
CAUTION = 0.3
"""A curve must miss this share less than the promise allows: queries are a little harder than the stored points it was measured with."""
DOUBT = 0.1
"""The part of the misses that a question allows which may be expected before an index is asked again, deeper."""
AGAIN = 0.3
"""How often it is, where a segment's own points do not show that a depth suffices; among depths the one that avoids that is taken."""
SCAN_DEFAULT = (
    Reading(probes=0, depth=2.0, recall=0.985),
    Reading(probes=0, depth=4.0, recall=0.996),
    Reading(probes=0, depth=8.0, recall=0.999),
)
STAGED_ROWS_MIN = 32_768
SCAN_STAGED = tuple(Reading(probes=0, depth=4 * reading.depth, recall=reading.recall) for reading in SCAN_DEFAULT)
"""Larger indexes are scanned in stages by kernels that can, on one bit first, which loses more before anything is rescored."""
DEPTH_MIN = 16
NEIGHBOURS = 10  # that recall was measured for: for fewer the same candidates are needed
CODED_DIMENSIONS_MIN = 32
"""Below, four bits a dimension say too little for the default depths: what is not measured is scored exactly, which is cheap there."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds, at 256 dimensions on one typical core; other sizes in proportion."""

    call_us: float = 15.0
    scan_row_us: float = 0.0032
    masked_row_us: float = 0.0048
    exact_row_us: float = 0.13
    probe_call_us: float = 60.0
    probe_row_us: float = 0.006
    rescore_us: float = 0.4


class Terrain(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a segment before it is searched. allowed: rows that pass the filter and live, None = no filter and none dead.

    scan_row_us, list_row_us: microseconds that a row takes here, one query alone; 0 = not timed yet.
    """

    rows: int
    dimensions: int
    allowed: int | None
    filtered: bool
    scan_curve: Curve | None
    probe_curve: Curve | None
    scan_row_us: float = 0.0
    list_row_us: float = 0.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """How one segment is searched. depth: candidates rescored a query. recall and cost_us are estimates."""

    way: Way
    probes: int
    depth: int
    recall: float
    cost_us: float


def choose(terrain: Terrain, *, k: int, recall: float, exact: bool, costs: Costs) -> Choice:
    """Return the cheapest way that is expected to keep `recall`; the best one there is when none does."""
    size = terrain.dimensions / 256
    allowed = terrain.rows if terrain.allowed is None else terrain.allowed
    if not allowed:
        return Choice(way="nothing", probes=0, depth=0, recall=1.0, cost_us=0.0)
    every = Choice(way="exact", probes=0, depth=allowed, recall=1.0, cost_us=costs.call_us + allowed * costs.exact_row_us * size)
    coarse = terrain.dimensions < CODED_DIMENSIONS_MIN and terrain.scan_curve is None
    if exact or recall >= 1.0 or allowed <= 2 * k or coarse:
        return every
    masked = 1.0 if terrain.allowed is None else costs.masked_row_us / costs.scan_row_us
    scan = _by_curve(
        "scan",
        _unmeasured(terrain.rows) if terrain.scan_curve is None else terrain.scan_curve.readings,
        k=k,
        recall=recall,
        base_us=costs.call_us + terrain.rows * masked * (terrain.scan_row_us or costs.scan_row_us * size),
        probe_us=0.0,
        rescore_us=costs.rescore_us * size,
        sure=terrain.scan_curve is not None and terrain.allowed is None,
    )
    ways, lists = [every, scan], terrain.probe_curve
    packed = lists is not None and lists.listed >= terrain.rows
    if lists is not None and (packed or not terrain.filtered):
        ways.append(
            _by_curve(
                "packed" if packed else "probe",
                lists.readings,
                k=k,
                recall=recall,
                base_us=costs.probe_call_us,
                probe_us=lists.listed * masked * (terrain.list_row_us or costs.probe_row_us * size),
                rescore_us=costs.rescore_us * size,
                sure=packed and terrain.allowed is None,
            )
        )
    kept = [way for way in ways if way.recall >= cautious(recall)]
    return min(kept, key=lambda way: way.cost_us)


def cautious(recall: float) -> float:
    """Return the recall a curve must show for `recall` to be promised."""
    return min(recall + CAUTION * (1 - recall), 0.998)


def is_sure(shown: float, asked: float) -> bool:
    """Tell whether the recall that a segment's own points showed leaves no doubt that a look has found what was asked for."""
    return shown >= 1 - DOUBT * (1 - asked)


def _unmeasured(rows: int) -> tuple[Reading, ...]:
    return SCAN_DEFAULT if rows < STAGED_ROWS_MIN else SCAN_STAGED


def _by_curve(
    way: Way, readings: tuple[Reading, ...], *, k: int, recall: float, base_us: float, probe_us: float, rescore_us: float, sure: bool
) -> Choice:
    """Return the cheapest reading that keeps `recall`, else the reading with the most recall.

    sure: whether a look may be believed by its reading alone; where that says too little for it, a second one may follow.
    """
    choices = [
        Choice(
            way=way,
            probes=reading.probes,
            depth=(depth := max(DEPTH_MIN, round(reading.depth * max(k, NEIGHBOURS)))),
            recall=reading.recall,
            cost_us=base_us + reading.probes * probe_us + depth * rescore_us,
        )
        for reading in readings
    ]
    again_us = AGAIN * (base_us + probe_us) if sure else 0.0
    kept = [choice for choice in choices if choice.recall >= cautious(recall)]
    if not kept:
        return max(choices, key=lambda choice: choice.recall)
    return min(kept, key=lambda choice: choice.cost_us + (0.0 if is_sure(choice.recall, recall) else again_us))
