"""Map: the whole latent space as one self-contained web page."""

from __future__ import annotations

import time
from base64 import b64encode
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.cli.demo.layout import arrange, densest, gather, principal
from paradox.cli.demo.terms import count_terms, distinctive, terms_of
from paradox.cli.demo.tour import Tour
from paradox.cli.folders import short
from paradox.cli.screen import cut, seconds, size
from paradox.model.points import Id, Matrix, Rows

DIMENSIONS_KEPT = 50
NEIGHBOURS = 12
QUERIES_A_CALL = 2_048
THEMES = (26, 80)
"""How many labels the map has from afar and from near."""
LABEL_COMMON_SHARE = 0.07
SNIPPET_CHARACTERS = 120
PLACE_STEPS = 65_535
"""A coordinate is one of so many steps: 16 bits."""
PAGE = "map.html"
SLOT = "/*POINTS*/"


class Speeches(msgspec.Struct, frozen=True, kw_only=True):
    """The corpus in columns of n rows, in the order of the points' ids. vectors: (n, d) float32, unit length."""

    ids: list[int]
    years: NDArray[np.int64]
    presidents: list[str]
    parties: list[str]
    texts: list[str]
    vectors: Matrix


class Theme(msgspec.Struct, frozen=True, kw_only=True):
    """A label of the map: its terms, where it stands and how many points it speaks for."""

    terms: list[str]
    place: tuple[int, int]
    points: int


def draw(tour: Tour) -> dict[str, Any]:
    """Lay out every paragraph by its neighbours and write the page beside the database."""
    started = time.perf_counter()
    speeches = read_speeches(tour)
    neighbours = find_neighbours(tour, speeches)
    searched_s = time.perf_counter() - started
    page, themes = make_page(speeches, neighbours)
    file = tour.folder / PAGE
    file.write_text(page, encoding="utf-8")
    elapsed_s = time.perf_counter() - started
    tour.line(
        f"{len(speeches.ids):,} searches found every paragraph's {NEIGHBOURS} nearest in {seconds(searched_s)}; "
        f"laid out and labelled in {seconds(elapsed_s - searched_s)}"
    )
    tour.line("open ", (short(file), "bold cyan"), f" in a browser: {size(len(page.encode()))}, no network needed")
    return {"file": str(file), "bytes": len(page.encode()), "points": len(speeches.ids), "themes": themes, "elapsed_s": elapsed_s}


def read_speeches(tour: Tour) -> Speeches:
    """Return the whole corpus with its vectors, out of the database."""
    hits = sorted(tour.speeches.scroll(batch=4_096, with_vectors=True), key=lambda hit: int(hit.id))
    payloads = [hit.payload for hit in hits]
    return Speeches(
        ids=[int(hit.id) for hit in hits],
        years=np.array([payload["year"] for payload in payloads], dtype=np.int64),
        presidents=[payload["president"] for payload in payloads],
        parties=[payload["party"] for payload in payloads],
        texts=[payload["text"] for payload in payloads],
        vectors=np.stack([hit.vector for hit in hits if hit.vector is not None]).astype(np.float32, copy=False),
    )


def find_neighbours(tour: Tour, speeches: Speeches) -> Rows:
    """Return (n, NEIGHBOURS) rows of the points nearest to each point, itself left out; -1 marks an empty place."""
    neighbours = np.full((len(speeches.ids), NEIGHBOURS), -1, dtype=np.int64)
    row_of: dict[Id, int] = {id: row for row, id in enumerate(speeches.ids)}
    with tour.screen.progress("finding neighbours", len(speeches.ids)) as advance:
        for start in range(0, len(speeches.ids), QUERIES_A_CALL):
            queries = speeches.vectors[start : start + QUERIES_A_CALL]
            for row, hits in enumerate(tour.speeches.search_many(queries, k=NEIGHBOURS + 1, with_payload=False), start=start):
                near = [other for hit in hits if (other := row_of[hit.id]) != row][:NEIGHBOURS]
                neighbours[row, : len(near)] = near
            advance(len(queries))
    return neighbours


def make_page(speeches: Speeches, neighbours: Rows) -> tuple[str, list[str]]:
    """Return (the page, its labels from afar). The same corpus gives the same page."""
    start = principal(speeches.vectors, min(DIMENSIONS_KEPT, speeches.vectors.shape[1]))
    places = quantise(arrange(start, neighbours))
    terms = [terms_of(text) for text in speeches.texts]
    themes = [find_themes(places, terms, min(groups, max(1, len(terms) // 40))) for groups in THEMES]
    presidents, president_of = np.unique(np.array(speeches.presidents), return_inverse=True)
    parties, party_of = np.unique(np.array(speeches.parties), return_inverse=True)
    first_year = int(speeches.years.min())
    content = {
        "points": len(terms),
        "first_year": first_year,
        "places": packed(places.astype("<u2")),
        "years": packed((speeches.years - first_year).astype(np.uint8)),
        "president_of": packed(president_of.astype(np.uint8)),
        "party_of": packed(party_of.astype(np.uint8)),
        "presidents": presidents.tolist(),
        "parties": parties.tolist(),
        "snippets": [cut(text, SNIPPET_CHARACTERS) for text in speeches.texts],
        "themes": themes,
    }
    template = files("paradox.cli.demo").joinpath(PAGE).read_text(encoding="utf-8")
    spelled = msgspec.json.encode(content).decode().replace("<", "\\u003c")  # no text of a speech may end the script
    return template.replace(SLOT, spelled), [" ".join(theme.terms) for theme in themes[0]]


def quantise(places: Matrix) -> Rows:
    """Return (n, 2) whole numbers from 0 to PLACE_STEPS that keep the shape of the drawing; the farthest 0.1 % stand at its edge."""
    low, high = np.percentile(places, (0.1, 99.9), axis=0)
    middle, reach = (low + high) / 2, float(max((high - low).max(), 1e-9)) * 0.52
    steps: Rows = np.rint((np.clip((places - middle) / reach, -1.0, 1.0) + 1.0) / 2 * PLACE_STEPS).astype(np.int64)
    return steps


def packed(column: NDArray[Any]) -> str:
    """Return an array's bytes as base64, as the page unpacks them."""
    return b64encode(np.ascontiguousarray(column).tobytes()).decode()


def find_themes(places: Rows, terms: list[set[str]], groups: int) -> list[Theme]:
    """Return one label for each of `groups` neighbourhoods of the drawing, the biggest first; none where no term stands out."""
    members, _ = gather(places.astype(np.float32), groups)
    everywhere = count_terms(terms)
    themes = []
    for group in range(groups):
        rows = np.flatnonzero(members == group)
        if not len(rows):
            continue
        found = distinctive([terms[row] for row in rows], everywhere, len(terms), count=3, common_share=LABEL_COMMON_SHARE)
        if found:
            speaking = [row for row in rows if not terms[row].isdisjoint(found)]
            x, y = densest(places[speaking].astype(np.float32)).tolist()
            themes.append(Theme(terms=found, place=(round(x), round(y)), points=len(rows)))
    return sorted(themes, key=lambda theme: -theme.points)
