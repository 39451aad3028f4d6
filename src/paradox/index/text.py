"""TantivyText: full text over the rows of one segment, BM25 by tantivy.

**Words.** A text is normalised (NFKC), cut at whatever is neither letter, mark nor digit, lower-cased, freed of accents (café = cafe) and
stemmed by the English rules (tides = tide), which leave most words of other languages alone. Chinese, Japanese and Thai are written
without blanks, so there every character is a word. No word is too common to be searched: BM25 weighs it down. Words of more than 60
bytes are not indexed. Positions are not kept: a query is a bag of words, any of which may match.

**Freshness.** A tantivy commit takes 2 to 7 ms, as much as a durable write, so a write does not commit: it hands its texts over, and the
first search that follows commits for all of them. Until an index in memory is searched, or added to a second time, its texts only
wait: whoever fills it once and saves it pays for one index, in the folder, instead of two.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
import tantivy
from numpy.typing import NDArray

from paradox.errors import InternalError, ParadoxError, QueryInvalid, SegmentCorrupt, StoreFull
from paradox.index import text_files
from paradox.model.invariants import Invariant, ensure
from paradox.model.points import Mask, Rows
from paradox.ports.text import TextStatistics

ANALYSIS = "words-1"
"""Names the rules by which texts are cut into words. To change them, change it: saved indexes are then built anew."""
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
WORD = rf"[{UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}&&[^{UNSPACED}]]+"
WORD_BYTES_MAX = 60
QUERY_CHARACTERS_MAX = 8_192
QUERY_WORDS_MAX = 256
MEMORY_HEAP_BYTES = 15_000_000
FOLDER_HEAP_BYTES = 100_000_000
"""A full heap becomes one internal segment; fewer of them are searched faster."""
ALLOWED_ROWS_LISTED_MAX = 1_024
"""Up to so many allowed rows can be named to tantivy (3 to 14 ms)."""
FETCHED_FIRST_MAX = 4_096
"""So many rows are fetched and filtered in about 2 ms; only when they do not do are allowed rows named."""
FETCH_GROWTH = 4
_ROW = "row"


class _Reader(NamedTuple):
    """An unchanging view of what was committed."""

    schema: tantivy.Schema
    searcher: tantivy.Searcher


class TantivyText:
    """See `ports.text.TextIndex`. One writer, any number of readers."""

    def __init__(self, fields: tuple[str, ...], *, folder: Path | None) -> None:
        """Use `create` or `open`."""
        self._fields = fields
        self._names = {field: f"field{number}" for number, field in enumerate(fields)}  # any text may be a field, not any a tantivy name
        self._folder = folder
        self._analyzer = _analyzer()
        self._lock = RLock()
        self._rows = 0
        self._waiting: list[Mapping[str, str]] | None = None if folder else []
        self._saved = False
        self._closed = False
        self._dirty = False
        self._index: tantivy.Index | None = None
        self._writer: tantivy.IndexWriter | None = None
        self._reader: _Reader | None = None

    @classmethod
    def create(cls, folder: Path | None, fields: tuple[str, ...]) -> TantivyText:
        """Return an empty index over payload `fields`, in memory, or in an empty or missing `folder` that `save` will complete."""
        created = cls(fields, folder=folder)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return created

    @classmethod
    def open(cls, folder: Path, fields: tuple[str, ...]) -> TantivyText:
        """Open a saved index, for searching only. Raises OSError or ValueError when it is not whole; build it anew then.

        Costs a reading of its files, and one thread while it is open (tantivy watches the folder).
        """
        noted = text_files.check(folder, analysis=ANALYSIS, fields=fields)
        opened = cls(fields, folder=folder)
        opened._rows = noted.rows
        opened._saved = True
        try:
            with _native():
                opened._use(tantivy.Index.open(str(folder)))
        except ParadoxError:
            raise ValueError("a full-text index cannot be opened") from None
        return opened

    def __len__(self) -> int:
        return self._rows

    def add(self, first_row: int, texts: Sequence[Mapping[str, str]]) -> None:
        """See `TextIndex.add`. Cost: about 20 µs a short text, most of it beside the caller."""
        with self._lock:
            ensure(Invariant.ROWS_ALIGNED, not self._saved, "a saved full-text index takes no more rows")
            ensure(Invariant.ROWS_ALIGNED, first_row == self._rows, f"row {first_row} added to {self._rows} rows")
            if self._waiting == []:
                self._waiting = list(texts)
            else:
                self._absorb()
                self._write(first_row, texts)
            self._rows += len(texts)

    def commit(self) -> None:
        """See `TextIndex.commit`. Texts that still wait go on waiting, for `save` or for the first search."""
        with self._lock:
            if self._dirty and self._writer is not None:
                with _native():
                    self._writer.commit()
                    self._read_anew()
                self._dirty = False

    def search(
        self,
        query: str,
        depth: int,
        *,
        fields: Sequence[str] | None = None,
        allow: Mask | None = None,
        statistics: TextStatistics | None = None,
    ) -> tuple[NDArray[np.float32], Rows]:
        """See `TextIndex.search`.

        Measured over 300k short texts: 0.1 to 3 ms; under a mask 1 to 40 ms, and up to 200 ms, on a busy machine, when 1,000 are wanted
        of 3,000 scattered allowed rows.
        """
        words = self._words(query, fields)
        if depth <= 0 or not words or (allow is not None and not allow.any()):
            return _none()
        reader = self._current()
        with _native(reading=True):
            return _ranked(reader, _any_of(reader, words, self._weights(reader, words, statistics)), depth, allow)

    def statistics(self, query: str, *, fields: Sequence[str] | None = None) -> TextStatistics:
        """See `TextIndex.statistics`. Cost: microseconds a word."""
        words = self._words(query, fields)
        reader = self._current()
        with _native(reading=True):
            counts = {word: _rows_with(reader, self._names[word[0]], word[1]) for word in words}
            return TextStatistics(reader.searcher.num_docs, counts)

    def save(self, folder: Path) -> None:
        """See `TextIndex.save`. An index made in a folder is completed there; one in memory is written out if its texts still wait.

        Raises InternalError when it was made elsewhere or its texts no longer wait, StoreFull.
        """
        with self._lock:
            if self._folder is None:
                ensure(Invariant.ROWS_ALIGNED, self._index is None, "a full-text index in memory was searched, so it cannot be saved")
                written = TantivyText.create(folder, self._fields)
                written.add(0, self._waiting or [])
                written.save(folder)
                return
            ensure(Invariant.ROWS_ALIGNED, folder == self._folder and not self._saved, "a full-text index is saved once, where it was made")
            with _native():
                self._open_writer()
                assert self._writer is not None
                self._writer.commit()
                self._writer.wait_merging_threads()
                self._writer = None
                self._read_anew()
            self._saved, self._dirty = True, False
            text_files.note(folder, analysis=ANALYSIS, fields=self._fields, rows=self._rows)

    def close(self) -> None:
        """Let go of threads and files; texts that were not saved are lost. Safe to call twice."""
        with self._lock:
            self._closed = self._saved = True
            self._waiting = self._writer = self._reader = self._index = None

    def _words(self, query: str, fields: Sequence[str] | None) -> list[tuple[str, str]]:
        """Return every (field, word) to look for, each once."""
        chosen = self._fields if fields is None else tuple(dict.fromkeys(fields))
        unknown = [field for field in chosen if field not in self._names]
        if unknown:
            raise QueryInvalid(
                f"field {unknown[0]!r} is not under full-text search; there are: {', '.join(map(repr, self._fields)) or 'none'}",
                hint="declare it when the collection is created: text=[…]",
            )
        words = list(dict.fromkeys(self._analyzer.analyze(_plain(query[:QUERY_CHARACTERS_MAX]))))[:QUERY_WORDS_MAX]
        return [(field, word) for field in chosen for word in words]

    def _current(self) -> _Reader:
        """Return a view of everything that was added before the call."""
        reader = self._reader
        if reader is None or self._dirty:  # texts wait only while nothing was read yet
            with self._lock:
                ensure(Invariant.ROWS_ALIGNED, not self._closed, "a closed full-text index was searched")
                self._absorb()
                with _native():
                    self._open_writer()
                self.commit()
                reader = self._reader
                assert reader is not None
        return reader

    def _absorb(self) -> None:
        """Index the texts that waited."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._write(0, waiting)

    def _write(self, first_row: int, texts: Sequence[Mapping[str, str]]) -> None:
        """Hand texts to tantivy's writer. A row without text is not written: it would only make texts seem shorter."""
        names = self._names
        with _native():
            self._open_writer()
            assert self._writer is not None
            add = self._writer.add_document
            for row, fields in enumerate(texts, start=first_row):
                values: dict[str, int | str] = {names[field]: _plain(text) for field, text in fields.items() if field in names and text}
                if values:
                    values[_ROW] = row
                    add(tantivy.Document(**values))
        self._dirty = self._dirty or bool(texts)

    def _open_writer(self) -> None:
        """Make the native index and its writer, once. One thread: rows then stand in order."""
        if self._index is None:
            path = None if self._folder is None else str(self._folder)
            self._use(tantivy.Index(_schema(len(self._fields)), path=path, sort_by_field=_ROW))
        if self._writer is None and not self._saved:
            assert self._index is not None
            heap = MEMORY_HEAP_BYTES if self._folder is None else FOLDER_HEAP_BYTES
            self._writer = self._index.writer(heap_size=heap, num_threads=1)

    def _use(self, index: tantivy.Index) -> None:
        index.register_tokenizer(ANALYSIS, self._analyzer)
        index.config_reader(reload_policy="manual")
        self._index = index
        self._reader = _Reader(index.schema, index.searcher())

    def _read_anew(self) -> None:
        assert self._index is not None
        self._index.reload()
        self._reader = _Reader(self._index.schema, self._index.searcher())

    def _weights(self, reader: _Reader, words: list[tuple[str, str]], total: TextStatistics | None) -> list[tuple[str, str, float]]:
        """Return (native field, word, factor): how much rarer a word is by `total` than by the index's own statistics."""
        if total is None:
            return [(self._names[field], word, 1.0) for field, word in words]
        weighted = []
        for field, word in words:
            name = self._names[field]
            here, everywhere = _rows_with(reader, name, word), total.counts.get((field, word), 0)
            if here:
                factor = rarity(max(total.rows, everywhere), max(everywhere, 1)) / rarity(reader.searcher.num_docs, here)
                weighted.append((name, word, factor))
        return weighted


def rarity(rows: int, rows_with: int) -> float:
    """Return the weight of a word that `rows_with` of `rows` rows hold. Source: Robertson and Zaragoza, FnTIR 2009, as Lucene has it."""
    return math.log1p((rows - rows_with + 0.5) / (rows_with + 0.5))


def _analyzer() -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(WORD))
    builder = builder.filter(tantivy.Filter.remove_long(WORD_BYTES_MAX)).filter(tantivy.Filter.lowercase())
    return builder.filter(tantivy.Filter.ascii_fold()).filter(tantivy.Filter.stemmer("english")).build()


def _schema(fields: int) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder().add_integer_field(_ROW, indexed=True, fast=True)
    for number in range(fields):
        builder = builder.add_text_field(f"field{number}", tokenizer_name=ANALYSIS, index_option="freq")
    return builder.build()


def _plain(text: str) -> str:
    """Return a text with one spelling for what looks alike, and without lone surrogates."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()


def _rows_with(reader: _Reader, name: str, word: str) -> int:
    return reader.searcher.doc_freq(name, word)


def _any_of(reader: _Reader, words: list[tuple[str, str]], weights: list[tuple[str, str, float]]) -> tantivy.Query:
    """Return the query for rows with any of the words, each scored with its weight."""
    clauses = []
    for name, word, factor in weights:
        query = tantivy.Query.term_query(reader.schema, name, word, "freq")
        clauses.append((tantivy.Occur.Should, query if factor == 1.0 else tantivy.Query.boost_query(query, factor)))
    return tantivy.Query.boolean_query(clauses) if clauses else tantivy.Query.empty_query()


def _ranked(reader: _Reader, query: tantivy.Query, depth: int, allow: Mask | None) -> tuple[NDArray[np.float32], Rows]:
    """Return the best `depth` allowed rows, exactly.

    tantivy knows nothing of the mask, so the best are fetched and filtered, and more are fetched until `depth` are left or none remain;
    when few rows are allowed and those first fetched did not do, they are named in the query instead. tantivy returns equal scores in
    its own order, which is that of rows only within one internal segment: with several, what was fetched is final only above the lowest
    score that was fetched.
    """
    stored = reader.searcher.num_docs
    in_order = reader.searcher.num_segments <= 1
    allowed = None if allow is None else np.flatnonzero(allow)
    limit = depth if in_order else depth + 1
    if allowed is not None:
        limit = math.ceil(1.2 * limit * max(1.0, stored / len(allowed)))
        if len(allowed) <= ALLOWED_ROWS_LISTED_MAX:
            limit = min(limit, FETCHED_FIRST_MAX)
    while True:
        limit = max(1, min(limit, stored))
        scores, rows = _fetch(reader, query, limit)
        lowest = scores[-1] if len(scores) else 0.0
        complete = len(rows) < limit or limit == stored
        if allow is not None:
            kept = _allowed(rows, allow)
            scores, rows = scores[kept], rows[kept]
        if complete or (len(rows) if in_order else np.count_nonzero(scores > lowest)) >= depth:
            best = np.lexsort((rows, -scores))[:depth]
            return scores[best], rows[best]
        if allowed is not None and len(allowed) <= ALLOWED_ROWS_LISTED_MAX:
            query, limit = _only(reader, query, allowed), stored
        else:
            limit *= FETCH_GROWTH


def _only(reader: _Reader, query: tantivy.Query, rows: Rows) -> tantivy.Query:
    """Return a query for what `query` finds among `rows`, scored alike."""
    listed = tantivy.Query.const_score_query(tantivy.Query.term_set_query(reader.schema, _ROW, rows.tolist()), 0.0)
    return tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, listed)])


def _allowed(rows: Rows, allow: Mask) -> Mask:
    """Return which of `rows` are allowed; rows that are newer than the mask are not."""
    known = rows < len(allow)
    known[known] = allow[rows[known]]
    return known


def _fetch(reader: _Reader, query: tantivy.Query, limit: int) -> tuple[NDArray[np.float32], Rows]:
    """Return the best `limit` rows in tantivy's order."""
    hits = reader.searcher.search(query, limit, count=False).hits
    scores = np.fromiter((score for score, _ in hits), np.float32, len(hits))
    rows = reader.searcher.fast_field_values(_ROW, [address for _, address in hits])
    return scores, np.array(rows, dtype=np.int64)


def _none() -> tuple[NDArray[np.float32], Rows]:
    return np.empty(0, np.float32), np.empty(0, np.int64)


@contextmanager
def _native(*, reading: bool = False) -> Iterator[None]:
    """Turn what tantivy raises, panics included, into errors of ours."""
    try:
        yield
    except ParadoxError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "No space left" in str(error) or "StorageFull" in str(error):
            raise StoreFull("the disk is full; a full-text index could not be written", hint="free some space and try again") from None
        if reading:
            raise SegmentCorrupt("a full-text index cannot be read", hint="it can be built anew from the payloads") from None
        raise InternalError("a full-text index could not be written: " + str(error).partition("\n")[0][:200]) from None
