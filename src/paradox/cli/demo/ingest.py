"""Ingest: the corpus goes into the folder, or is found there."""

from __future__ import annotations

import time
from typing import Any

from paradox.cli.demo.corpus import Paragraph, add_paragraphs, read_corpus
from paradox.cli.demo.tour import Tour
from paradox.cli.folders import bytes_of, short
from paradox.cli.screen import seconds, size

SEALING_S_MAX = 20.0
LOOK_AGAIN_S = 0.05


def fill(tour: Tour) -> tuple[list[Paragraph], int, float]:
    """Add every paragraph that is not in the folder yet. Return (all of them, how many were added, seconds it took)."""
    paragraphs = read_corpus()
    started = time.perf_counter()
    added = add_paragraphs(tour.speeches, paragraphs, tour.screen)
    return paragraphs, added, time.perf_counter() - started


def warm(tour: Tour) -> None:
    """Load the encoder, so that the time of the first question is its own."""
    started = time.perf_counter()
    tour.speeches.search("good evening", k=1)
    tour.screen.line((f"encoder loaded in {seconds(time.perf_counter() - started)}; no network, no account", "dim"))


def wait_until_sealed(tour: Tour) -> float:
    """Wait until the points stand in a sealed segment, ordered by decade and region, or nothing is left to do; return the seconds.

    Searches are right before, too; but then no partitions exist that could be skipped.
    """
    started = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started) < SEALING_S_MAX:
        if tour.database.status()["settled"] or tour.speeches.info()["segments"]:
            break
        time.sleep(LOOK_AGAIN_S)
    return elapsed_s


def ingest(tour: Tour) -> dict[str, Any]:
    """Fill the folder and tell how that went; a second run finds everything there."""
    paragraphs, added, elapsed_s = fill(tour)
    sealing_s = wait_until_sealed(tour)
    known = tour.speeches.info()
    first, last = paragraphs[0].year, paragraphs[-1].year
    stored = size(bytes_of(tour.folder))
    if added:
        tour.line((f"{added:,} paragraphs", "bold"), f" of {first}–{last} encoded and stored in ", (seconds(elapsed_s), "bold"))
        tour.line(f"{added / elapsed_s:,.0f} a second; each batch was on disk before the next was sent")
    else:
        tour.line((f"{len(paragraphs):,} paragraphs", "bold"), f" of {first}–{last} are here from an earlier run")
    if added and known["segments"]:
        tour.line(f"searchable at once, and now sealed: by decade, and in {known['regions']} regions of latent space")
    tour.line("the database is the folder ", (short(tour.folder), "cyan"), f", {stored}; delete it whenever you like")
    return {"paragraphs": len(paragraphs), "added": added, "elapsed_s": elapsed_s, "sealed_s": sealing_s, "folder": str(tour.folder)}
