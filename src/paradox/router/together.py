"""What several nodes say, put together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def described(told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return how a cluster is, from what each node that answered said of itself: as for a folder, with `nodes` beside."""
    some = next(iter(told.values()))
    known: list[str] = sorted({name for one in told.values() for name in one.get("nodes", ())} | set(told))
    silent = [name for name in known if name not in told]
    ill = {name: one["sentence"] for name, one in told.items() if not one["healthy"]}
    points, collections = some["points"], some["collections"]
    sentence = f"healthy: {_many(points, 'point')} in {_many(len(collections), 'collection')} on {_many(len(told), 'node')}"
    if silent:
        sentence = f"working on {len(told)} of {len(known)} nodes: {' and '.join(silent)} {'do' if len(silent) > 1 else 'does'} not answer"
    elif ill:
        name = min(ill)
        sentence = f"{name} is {ill[name]}"
    return {
        "healthy": not silent and not ill,
        "sentence": sentence,
        "path": "",
        "read_only": False,
        "writer": None,
        "points": points,
        "collections": collections,
        "nodes": [_node(name, told.get(name)) for name in known],
        "quarantined": _joined(told, "quarantined"),
        "found_damaged": _joined(told, "found_damaged"),
        "working": ", ".join(f"{name}: {one['working']}" for name, one in told.items() if one["working"]),
        "settled": all(one["settled"] for one in told.values()),
        "events": sorted((event for one in told.values() for event in one["events"]), key=str),
    }


def _node(name: str, told: dict[str, Any] | None) -> dict[str, Any]:
    if told is None:
        return {"name": name, "state": "silent", "sentence": "it does not answer", "positions": {}}
    positions = {one["name"]: one["position"] for one in told["collections"]}
    return {"name": name, "state": "up" if told["healthy"] else "ill", "sentence": told["sentence"], "positions": positions}


def _joined(told: Mapping[str, dict[str, Any]], field: str) -> dict[str, str]:
    return {f"{name}/{file}": reason for name, one in told.items() for file, reason in one[field].items()}


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def verified(told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the nodes found when each read what it stores."""
    damaged = [{**one, "file": f"{name}/{one['file']}"} for name, found in told.items() for one in found["damaged"]]
    return {
        "healthy": not damaged,
        "checked": sum(found["checked"] for found in told.values()),
        "bytes": sum(found["bytes"] for found in told.values()),
        "damaged": damaged,
    }
