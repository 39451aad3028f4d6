"""The encoder "words": static word vectors of `wordllama`, averaged over the text. Several times as fast as "text", English.

It knows which words stand in a text, not what they do there. 256 dimensions, 16 MB of weights inside the package.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xxhash

from paradox.encode.texts import check_texts
from paradox.errors import ExtraMissing, PayloadInvalid
from paradox.model.points import Matrix

DIMENSIONS = 256
TEXT_CHARACTERS_MAX = 4096
"""What comes after is not encoded."""
BATCH_TEXTS = 64
_FILES = ("tokenizers/l2_supercat_tokenizer_config.json", "weights/l2_supercat_256.safetensors")


class WordsEncoder:
    """encoder="words". The weights are read by the first `encode`; later calls, of any encoder of this kind, share them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._embed: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """The name given to `encoder=`."""
        return "words"

    @property
    def dimensions(self) -> int:
        """256."""
        return DIMENSIONS

    @property
    def fingerprint(self) -> str:
        """Package, its version up to the minor number, dimensions, and a digest of weights and vocabulary. Raises ExtraMissing."""
        return _fingerprint(_folder())

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return (n, 256) float32 unit vectors, one a text. Thread-safe.

        The first 4096 characters of each text count. Raises PayloadInvalid for what is not a text, is blank, or has no known sign;
        ExtraMissing when the package is not installed.
        """
        batch = check_texts(texts)
        if not batch:
            return np.empty((0, DIMENSIONS), np.float32)
        cut = [text[:TEXT_CHARACTERS_MAX] for text in batch]
        order = sorted(range(len(cut)), key=lambda place: len(cut[place]))  # the package pads each batch to its longest text
        vectors = np.empty((len(cut), DIMENSIONS), np.float32)
        with np.errstate(invalid="ignore"):
            vectors[order] = self._loaded()([cut[place] for place in order], norm=True, batch_size=BATCH_TEXTS)
        unknown = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(unknown):
            raise PayloadInvalid(
                f"text {unknown[0]} of {len(batch)} holds nothing that encoder 'words' knows",
                hint="leave it out, or use encoder='text'",
            )
        return vectors

    def _loaded(self) -> Callable[..., Any]:
        with self._lock:
            if self._embed is None:
                self._embed = _load(_folder())
            return self._embed


@functools.cache
def _load(folder: Path) -> Callable[..., Any]:
    """Read the weights. Remembered, since they never change and every database of the process can share them."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # the package configures the application's logging when it finds it unconfigured
    try:
        from wordllama import WordLlama
    finally:
        root.removeHandler(silent)
    embed: Callable[..., Any] = WordLlama.load(cache_dir=folder, disable_download=True).embed
    return embed


def _folder() -> Path:
    """Return the package's folder, without importing it. Raises ExtraMissing."""
    package = find_spec("wordllama")
    if package is None or package.origin is None:
        raise ExtraMissing("encoder 'words' needs the extra 'words', which is not installed", hint="pip install 'paradox-memory[words]'")
    return Path(package.origin).parent


@functools.cache
def _fingerprint(folder: Path) -> str:
    """Return the name of the space that the files in `folder` make."""
    digest = xxhash.xxh3_64()
    for name in _FILES:
        digest.update((folder / name).read_bytes())
    try:
        number = ".".join(version("wordllama").split(".")[:2])
    except PackageNotFoundError:
        number = "0"
    return f"wordllama/{number}/{DIMENSIONS}/{digest.hexdigest()[:8]}"
