"""What several nodes say, put together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paradox.shard.contents import MODULUS

OF_A_NODE = ("shards", "rows", "points", "reads_per_s", "writes_per_s")
"""What is told of each node: what it holds (rows count copies, points those it answers for), and what it does."""


def described(told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return how a cluster is, from what each node that answered said of itself: as for a folder, with `nodes` beside."""
    known: list[str] = sorted({name for one in told.values() for name in one.get("nodes", ())} | set(told))
    silent = [name for name in known if name not in told]
    ill = {name: one["sentence"] for name, one in told.items() if not one["healthy"]}
    collections = _collections(told)
    points = sum(one["points"] for one in collections)
    sentence = f"healthy: {_many(points, 'point')} in {_many(len(collections), 'collection')} on {_many(len(told), 'node')}"
    alarms = _alarms(told)
    if alarms:
        sentence = f"in danger: {alarms[0]['what']}"
    elif silent:
        sentence = f"working on {len(told)} of {len(known)} nodes: {' and '.join(silent)} {'do' if len(silent) > 1 else 'does'} not answer"
    elif ill:
        name = min(ill)
        sentence = f"{name} is {ill[name]}"
    return {
        "healthy": not silent and not ill and not alarms,
        "sentence": sentence,
        "path": "",
        "read_only": False,
        "writer": None,
        "points": points,
        "rows": sum(one["rows"] for one in told.values()),
        "shards": sum(one["shards"] for one in told.values()),
        "reads_per_s": sum(one["reads_per_s"] for one in told.values()),
        "writes_per_s": sum(one["writes_per_s"] for one in told.values()),
        "collections": collections,
        "nodes": [_node(name, told.get(name)) for name in known],
        "alarms": alarms,
        "quarantined": _joined(told, "quarantined"),
        "found_damaged": _joined(told, "found_damaged"),
        "working": ", ".join(f"{name}: {one['working']}" for name, one in told.items() if one["working"]),
        "settled": all(one["settled"] for one in told.values()),
        "events": sorted((event for one in told.values() for event in one["events"]), key=str),
    }


def _collections(told: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the collections, each with the points of all nodes and the position that all of them have reached."""
    names = sorted({one["name"] for node in told.values() for one in node["collections"]})
    joined = []
    for name in names:
        parts = [one for node in told.values() for one in node["collections"] if one["name"] == name]
        shards = {shard: points for part in parts for shard, points in part["held"].items()}  # of each once, wherever its replicas are
        joined.append(
            {
                "name": name,
                "points": sum(shards.values()),
                "position": min(part["position"] for part in parts),
                "waiting_to_be_sealed": sum(part["waiting_to_be_sealed"] for part in parts),
            }
        )
    return joined


def collection(told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what a collection is and how it stands, from what each node that answered said of its part."""
    parts = list(told.values())
    shards = [shard | {"node": name} for name, part in sorted(told.items()) for shard in part["shards"] if shard["held"]]
    points = {shard["name"]: shard["points"] for shard in shards}
    return {
        "name": parts[0]["name"],
        "spec": parts[0]["spec"],
        "points": sum(points.values()),
        "position": min(part["position"] for part in parts),
        "map_epoch": max(part["map_epoch"] for part in parts),
        "regions": max(part["regions"] for part in parts),
        "shards": sorted(shards, key=lambda shard: int(shard["name"][1:])),
        "segments": sum(part["segments"] for part in parts),
        "bytes": max(part["bytes"] for part in parts),
        "log": parts[0]["log"],
        "fields": {field: kinds for part in parts for field, kinds in sorted(part["fields"].items())},
        "quarantined": {f"{name}/{file}": reason for name, part in told.items() for file, reason in part["quarantined"].items()},
    }


def _node(name: str, told: dict[str, Any] | None) -> dict[str, Any]:
    if told is None:
        state, sentence, zone, positions = "silent", "it does not answer", "", {}
    else:
        state, sentence, zone = "up" if told["healthy"] else "ill", told["sentence"], told.get("zone", "")
        positions = {one["name"]: one["position"] for one in told["collections"]}
    shown = {field: None if told is None else told[field] for field in OF_A_NODE}
    return {"name": name, "zone": zone, "state": state, "sentence": sentence} | shown | {"positions": positions}


def _joined(told: Mapping[str, dict[str, Any]], field: str) -> dict[str, str]:
    return {f"{name}/{file}": reason for name, one in told.items() for file, reason in one[field].items()}


def _alarms(told: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what endangers the cluster as a whole, each thing once, whoever saw it."""
    alarms = {alarm["what"]: alarm for _, one in sorted(told.items()) for alarm in one.get("alarms", ())}
    return list(alarms.values())


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def verified(told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the nodes found when each read what it stores."""
    damaged = [{**one, "file": f"{name}/{one['file']}"} for name, found in told.items() for one in found["damaged"]]
    contents = {}
    for collection in sorted({name for found in told.values() for name in found.get("contents", ())}):
        parts = {node: found["contents"][collection] for node, found in told.items() if collection in found.get("contents", ())}
        equal, contents[collection] = compared(parts)
        damaged += [] if equal else [{"file": collection, "reason": contents[collection]}]
    return {
        "healthy": not damaged,
        "checked": sum(found["checked"] for found in told.values()),
        "bytes": sum(found["bytes"] for found in told.values()),
        "damaged": damaged,
        "contents": contents,
    }


def compared(parts: Mapping[str, Mapping[str, Any]]) -> tuple[bool, str]:
    """Return whether what nodes hold of a collection agrees, and a sentence; what cannot be compared counts as agreeing."""
    positions = {part["position"] for part in parts.values()}
    if len(positions) > 1:
        return True, "not compared: it was written to meanwhile"
    position = positions.pop()
    chains = {part["chain"] for part in parts.values() if part["chain"] is not None}
    if len(chains) > 1:
        return False, f"nodes {' and '.join(sorted(parts))} applied different entries up to position {position:,}"
    shards = {shard: part["shards"][shard] for part in parts.values() for shard in part["shards"]}
    if any(len(shards) != part["of"] for part in parts.values()):
        return True, "not compared: shards are moving, or are on nodes that do not answer"
    if not all(part["whole"] for part in parts.values()):
        return True, "not compared: damaged parts are set aside"
    for shard, known in sorted(shards.items()):
        differing = [node for node, part in sorted(parts.items()) if part["shards"].get(shard, known) != known]
        if differing:
            holders = [node for node, part in sorted(parts.items()) if shard in part["shards"]]
            return False, f"the replicas of {shard} on {' and '.join(holders)} differ at position {position:,}"
    sums = list(shards.values())
    if (sum(one["copies"] for one in sums) - sum(one["expected"] for one in sums)) % MODULUS:
        return False, f"the copies of some points differ at position {position:,}"
    return True, f"equal at position {position:,}: {_many(sum(one['points'] for one in sums), 'point')}, each copy compared"
