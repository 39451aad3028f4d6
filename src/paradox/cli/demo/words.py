"""Words: what a word stood near to in two ages."""

from __future__ import annotations

import time
from typing import Any

from paradox.cli.demo.terms import count_terms, distinctive, terms_of
from paradox.cli.demo.tour import Tour

WORDS = ("freedom", "security", "power", "health")
AGES = ((1845, 1875, "around 1860"), (1985, 2015, "around 2000"))
NEIGHBOURS = 80
NEIGHBOURHOODS_MIN = 5
"""A neighbourhood is at most such a part of its age, else there is nothing to set it apart from."""
TERMS_SHOWN = 7


def words(tour: Tour) -> dict[str, Any]:
    """Show, for some words and two ages, the terms that set the nearest paragraphs of the age apart from its others.

    The word itself and its inflections are left out of both, so that what is shown is company, not echo.
    """
    started = time.perf_counter()
    ages: dict[str, dict[Any, set[str]]] = {}
    for first, last, name in AGES:
        ages[name] = {hit.id: terms_of(hit.payload["text"]) for hit in tour.speeches.scroll(where=f"year between {first} and {last}")}
    everywhere = {name: count_terms(held.values()) for name, held in ages.items()}
    found = []
    for word in WORDS:
        company = {}
        for first, last, name in AGES:
            near = tour.speeches.search(
                word,
                k=min(NEIGHBOURS, max(1, len(ages[name]) // NEIGHBOURHOODS_MIN)),
                between=(f"{first}-01-01", f"{last}-12-31"),
                where="words >= 12",
                with_payload=False,
            )
            chosen = [ages[name][hit.id] for hit in near]
            company[name] = distinctive(chosen, everywhere[name], len(ages[name]), count=TERMS_SHOWN, without=word)
        found.append({"word": word, **company})
        tour.line((word, "bold"))
        for _, _, name in AGES:
            tour.line("  ", (f"{name}  ", "cyan"), ", ".join(company[name]))
    elapsed_s = time.perf_counter() - started
    counts = " and ".join(f"{len(ages[name]):,}" for _, _, name in AGES)
    tour.line((f"what sets the {NEIGHBOURS} nearest paragraphs apart from all {counts} of their 31 years", "dim"))
    return {"words": found, "elapsed_s": elapsed_s}
