"""Tour: what every chapter of the demonstration works with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from paradox.cli.screen import Screen, Span, cut, seconds

if TYPE_CHECKING:
    from paradox import Collection, Database, Hit

COLLECTION = "speeches"
MARGIN = "    "


class Tour(msgspec.Struct, frozen=True, kw_only=True):
    """The database of the tour and the screen it is shown on. speeches: one point a paragraph, whose id is its number from 0."""

    screen: Screen
    folder: Path
    database: Database
    speeches: Collection

    def line(self, *spans: Span) -> None:
        """Print a line of a chapter."""
        self.screen.line(MARGIN, *spans)

    def part(self, name: str, remark: str, elapsed_s: float) -> None:
        """Print which part of the corpus a question is put to next, and the time the answer took."""
        took = seconds(elapsed_s)
        used = len(MARGIN) + len(name) + 2 + len(remark)
        self.line((name, "magenta"), "  ", (remark, "dim"), " " * max(2, self.screen.width - used - len(took)), (took, "dim"))

    def asked(self, question: str, elapsed_s: float, remark: str = "") -> None:
        """Print a question with the time its answer took."""
        spans: list[Span] = [(f"“{question}”", "bold")]
        if remark:
            spans.append(f"  {remark}")
        took = seconds(elapsed_s)
        used = len(MARGIN) + sum(len(span if isinstance(span, str) else span[0]) for span in spans)
        self.line(*spans, " " * max(2, self.screen.width - used - len(took)), (took, "dim"))

    def found(self, hit: Hit, *, lead: str = "") -> None:
        """Print a paragraph in one line: how near, when, who, and its beginning."""
        head = f"{lead}{hit.score:5.2f}  "
        who = f"{hit.payload['year']} {hit.payload['president']}"
        width = self.screen.width - len(MARGIN) - len(head) - len(who) - 2
        self.line((head, "green"), (who, "cyan"), "  ", cut(hit.payload["text"], width))


class Chapter(msgspec.Struct, frozen=True):
    """One stop of the tour. run: returns what `--json` shows of it. needs_speeches: whether the corpus must be in the folder."""

    name: str
    title: str
    run: Callable[[Tour], dict[str, Any]]
    needs_speeches: bool = True


def plain_found(hit: Hit) -> dict[str, Any]:
    """Return a paragraph as JSON shows it."""
    fields = hit.payload
    return {
        "id": hit.id,
        "score": round(float(hit.score), 4),
        "year": fields["year"],
        "president": fields["president"],
        "text": fields["text"],
    }
