"""Ingest: the corpus goes into the folder, or is found there."""

from __future__ import annotations

import time
from typing import Any

from paradox.cli.demo.corpus import Paragraph, add_paragraphs, read_corpus
from paradox.cli.demo.tour import Tour
from paradox.cli.folders import bytes_of, short
from paradox.cli.screen import seconds, size


def fill(tour: Tour) -> tuple[list[Paragraph], int, float]:
    """Add every paragraph that is not in the folder yet. Return (all of them, how many were added, seconds it took)."""
    paragraphs = read_corpus()
    started = time.perf_counter()
    added = add_paragraphs(tour.speeches, paragraphs, tour.screen)
    return paragraphs, added, time.perf_counter() - started


def ingest(tour: Tour) -> dict[str, Any]:
    """Fill the folder and tell how that went; a second run finds everything there."""
    paragraphs, added, elapsed_s = fill(tour)
    first, last = paragraphs[0].year, paragraphs[-1].year
    stored = size(bytes_of(tour.folder))
    if added:
        tour.line(
            (f"{added:,} paragraphs", "bold"),
            f" of {first}–{last} encoded and stored in ",
            (seconds(elapsed_s), "bold"),
            f" ({added / elapsed_s:,.0f}/s): each batch was on disk before the next",
        )
    else:
        tour.line((f"{len(paragraphs):,} paragraphs", "bold"), f" of {first}–{last} are here from an earlier run")
    tour.line("the database is the folder ", (short(tour.folder), "cyan"), f" ({stored}); delete it whenever you like")
    return {"paragraphs": len(paragraphs), "added": added, "elapsed_s": elapsed_s, "folder": str(tour.folder)}
