"""Show: points, plans and descriptions, set for people or as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from paradox.cli.screen import Screen, Span, cut, figure

if TYPE_CHECKING:
    from paradox import Hit, Hits, Plan

FIELDS_SHOWN_MAX = 8
LIST_SHOWN_MAX = 12


def plain_hit(hit: Hit, *, scored: bool = True) -> dict[str, Any]:
    """Return a point as JSON shows it; without its score where nothing was asked."""
    values: dict[str, Any] = {"id": hit.id}
    if scored:
        values |= {"score": round(float(hit.score), 6), "distance": round(float(hit.distance), 6)}
    values |= {"payload": hit.payload, "modality": hit.modality, "at": hit.at, "origin": hit.origin}
    if hit.vector is not None:
        values["vector"] = hit.vector
    return values


def plain_plan(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON shows it."""
    values: dict[str, Any] = msgspec.to_builtins(plan)
    return values


def plain_answer(hits: Hits) -> dict[str, Any]:
    """Return an answer as JSON shows it, always with what was missing from it."""
    coverage = {"share": hits.coverage.share, "holders": hits.coverage.holders}
    return {"hits": [plain_hit(hit) for hit in hits], "coverage": coverage, "position": hits.position}


def show_hits(screen: Screen, hits: Iterable[Hit], *, scored: bool = True, full: bool = False) -> None:
    """Print one point after the other: its score, its id and its text, and below them the rest of its payload."""
    for hit in hits:
        fields = dict(hit.payload or {})
        text = str(fields.pop("text", "") or "")
        head: list[Span] = [(f"{hit.score:6.3f}  ", "bold green")] if scored else []
        used = sum(len(span[0]) for span in head) + len(str(hit.id)) + 2
        shown = text if full else cut(text, max(screen.width - used, 40))
        screen.line(*head, (f"{hit.id}  ", "cyan"), shown)
        rest = [f"{name}={_short(value)}" for name, value in list(fields.items())[:FIELDS_SHOWN_MAX]]
        margin = " " * (8 if scored else 2)
        screen.line(margin, (cut(" · ".join([*rest, day(hit.at)]), screen.width - len(margin)), "dim"))


def day(at: datetime) -> str:
    """Return an event time as people write it, without a midnight."""
    midnight = at.hour == at.minute == at.second == at.microsecond == 0
    return f"{at:%Y-%m-%d}" if midnight else f"{at:%Y-%m-%d %H:%M:%S}"


def show_plan(screen: Screen, plan: Plan) -> None:
    """Print the tree of a plan, and what it promises beside what was measured."""
    for line in plan_lines(plan, screen.width - 2):
        screen.line("  ", line)
    screen.line(*recall_spans(plan))


def plan_lines(plan: Plan, width: int) -> list[str]:
    """Return the drawing of a plan; the figures of a step that is too long stand below it, within the tree."""
    lines = []
    for line in str(plan).splitlines():
        if len(line) <= width:
            lines.append(line)
            continue
        what, *figures = line.split("  [")
        stem = len(what) - len(what.lstrip(" │├└─"))
        below = what[:stem].replace("├", "│").replace("└", " ").replace("─", " ") + "  "
        lines += [what, *(f"{below}[{each}" for each in figures)]
    return lines


def recall_spans(plan: Plan) -> list[Span]:
    """Return a sentence on a plan's recall and on what it left out."""
    spans: list[Span] = ["expected recall ", (f"{plan.expected_recall:.3f}", "bold")]
    if plan.sampled_recall is not None:
        spans += [", true recall of this question ", (f"{plan.sampled_recall:.3f}", "bold green")]
    if plan.partitions_skipped:
        spans.append(f"; {plan.partitions_skipped:,} of {plan.partitions_total:,} partitions skipped, exactly")
    return spans


def show_details(screen: Screen, values: Mapping[str, Any], *, indent: int = 2) -> None:
    """Print names and values below each other; a list of mappings becomes a table, a mapping is set further in."""
    flat = {name: value for name, value in values.items() if not isinstance(value, Mapping | list | tuple) or not value}
    margin = " " * indent
    widest = max((len(name) for name in flat), default=0)
    for name, value in flat.items():
        shown = "none" if isinstance(value, Mapping | list | tuple) else figure(value, name)
        screen.line(margin, (f"{name.replace('_', ' '):<{widest}}", "dim"), "  ", shown)
    for name, value in values.items():
        if name in flat:
            continue
        if isinstance(value, Mapping):
            screen.line(margin, (name.replace("_", " "), "dim"))
            show_details(screen, value, indent=indent + 2)
        elif all(isinstance(row, Mapping) for row in value):
            screen.line(margin, (name.replace("_", " "), "dim"))
            show_rows(screen, value, indent=indent + 2)
        else:
            more = f", … ({len(value)} in all)" if len(value) > LIST_SHOWN_MAX else ""
            screen.line(margin, (name.replace("_", " "), "dim"), "  ", ", ".join(str(each) for each in value[:LIST_SHOWN_MAX]), more)


def show_rows(screen: Screen, rows: Sequence[Mapping[str, Any]], *, indent: int = 0) -> None:
    """Print mappings as a table; their plain values only."""
    heads = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, Mapping | list | tuple)))
    cells = [[figure(row.get(name), name) for name in heads] for row in rows]
    screen.table([head.replace("_", " ") for head in heads], cells, indent=indent)


def _short(value: object) -> str:
    return cut(value if isinstance(value, str) else msgspec.json.encode(value).decode(), 40)
