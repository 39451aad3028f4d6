"""Asking: the chapters that put questions to the speeches."""

from __future__ import annotations

import time
from typing import Any

from paradox.cli.demo.tour import Tour, plain_found
from paradox.cli.screen import Span, cut
from paradox.cli.show import plan_lines, recall_spans

WORTH_READING = "words >= 12"
"""Leaves out headings such as THE CENSUS."""
QUESTIONS = (
    ("a disease is spreading through the cities", ""),
    ("we are running out of trees", ""),
    ("des hommes marchent sur la lune", "(asked in French; every speech is in English)"),
)
FREE = "who should be free?"
FILTERS = ("president = 'Lincoln'", "party in ('Whig', 'Federalist') and words >= 12", "year between 1930 and 1945 and words >= 12")
FARMERS = "how do farmers live?"
PERIODS = ((1790, 1839), (1870, 1899), (1950, 1959), (1990, 2029))
CANAL = "tolls for ships in the Panama Canal"
EXPLAINED = "a nation that helps the poor and the old"
DEPTH = 100
"""How far down each list hybrid search's own places are looked up."""


def search(tour: Tour) -> dict[str, Any]:
    """Ask three questions by meaning."""
    answers = []
    for question, remark in QUESTIONS:
        started = time.perf_counter()
        hits = tour.speeches.search(question, k=3, where=WORTH_READING)
        elapsed_s = time.perf_counter() - started
        tour.asked(question, elapsed_s, remark)
        for hit in hits:
            tour.found(hit)
        answers.append({"question": question, "elapsed_s": elapsed_s, "hits": [plain_found(hit) for hit in hits]})
    return {"answers": answers}


def filter(tour: Tour) -> dict[str, Any]:
    """Ask one question of three subsets."""
    answers = []
    total = tour.speeches.count()
    tour.line((f"“{FREE}”", "bold"))
    for where in FILTERS:
        matching = tour.speeches.count(where=where)
        started = time.perf_counter()
        hits = tour.speeches.search(FREE, k=2, where=where)
        elapsed_s = time.perf_counter() - started
        tour.part(f"where {where}", f"{matching:,} of {total:,} may answer", elapsed_s)
        for hit in hits:
            tour.found(hit)
        found = [plain_found(hit) for hit in hits]
        answers.append({"question": FREE, "where": where, "matching": matching, "elapsed_s": elapsed_s, "hits": found})
    return {"answers": answers}


def time_ranges(tour: Tour) -> dict[str, Any]:
    """Ask one question of four periods, and say what could be left out unread."""
    answers = []
    tour.line((f"“{FARMERS}”", "bold"))
    for first, last in PERIODS:
        started = time.perf_counter()
        hits = tour.speeches.search(FARMERS, k=1, between=(f"{first}-01-01", f"{last}-12-31"), where=WORTH_READING)
        elapsed_s = time.perf_counter() - started
        plan = hits.plan
        skipped, total = (plan.partitions_skipped, plan.partitions_total) if plan is not None else (0, 0)
        tour.part(f"{first}–{last}", f"{skipped:,} of {total:,} sealed partitions skipped, exactly" if total else "", elapsed_s)
        for hit in hits:
            tour.found(hit)
        answers.append(
            {
                "question": FARMERS,
                "between": [first, last],
                "partitions_skipped": skipped,
                "partitions_total": total,
                "elapsed_s": elapsed_s,
                "hits": [plain_found(hit) for hit in hits],
            }
        )
    return {"answers": answers}


def hybrid(tour: Tour) -> dict[str, Any]:
    """Ask by meaning and by words at once, and show which of the two found what."""
    places = {}
    for mode in ("vector", "text"):
        hits = tour.speeches.search(CANAL, k=DEPTH, mode=mode, where=WORTH_READING, with_payload=False)
        places[mode] = {hit.id: number for number, hit in enumerate(hits, start=1)}
    started = time.perf_counter()
    hits = tour.speeches.search(CANAL, k=4, mode="hybrid", where=WORTH_READING)
    elapsed_s = time.perf_counter() - started
    tour.asked(CANAL, elapsed_s)
    width = tour.screen.width - 52
    rows: list[list[Span]] = []
    found = []
    for hit in hits:
        ranks = [str(places[mode].get(hit.id, f"> {DEPTH}")) for mode in ("vector", "text")]
        who = f"{hit.payload['year']} {hit.payload['president']}"
        rows.append([(f"{ranks[0]:>10}", "green"), (f"{ranks[1]:>8}", "green"), (who, "cyan"), cut(hit.payload["text"], width)])
        found.append(plain_found(hit) | {"place_by_meaning": places["vector"].get(hit.id), "place_by_words": places["text"].get(hit.id)})
    tour.screen.table(["by meaning", "by words", "", ""], rows, indent=6)
    return {"question": CANAL, "elapsed_s": elapsed_s, "hits": found}


def explain(tour: Tour) -> dict[str, Any]:
    """Draw the plan of a filtered search, with the recall that was estimated and the one that came true."""
    started = time.perf_counter()
    plan = tour.speeches.explain(EXPLAINED, k=10, where="year >= 1900")
    elapsed_s = time.perf_counter() - started
    tour.asked(EXPLAINED, elapsed_s, "since 1900: once as planned, once by comparing with all")
    for line in plan_lines(plan, tour.screen.width - 6):
        tour.line("  ", line)
    tour.line(*recall_spans(plan))
    return {
        "question": EXPLAINED,
        "elapsed_s": elapsed_s,
        "expected_recall": plan.expected_recall,
        "true_recall": plan.sampled_recall,
        "plan": str(plan).splitlines(),
    }
