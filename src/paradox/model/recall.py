"""Recall curves: what a segment's own points say about effort and recall."""

from __future__ import annotations

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measured point: visiting `probes` regions and rescoring `depth` × k candidates found this share of the true k nearest."""

    probes: int
    depth: float
    recall: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Readings over a sample of stored points, each asked for its neighbours but itself. Cheapest first.

    listed: mean rows that a list holds. sample: how many points were asked.
    """

    readings: tuple[Reading, ...]
    listed: float
    sample: int


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """One measured point of the way over shards: stopping after `patience` regions in a row that changed nothing found this share of
    the `k` truly nearest, visiting so many shards on average. doubt: the standard error of that share, for some stored points are asked.
    """

    k: int = 10
    patience: int
    recall: float
    doubt: float = 0.0
    shards: float
