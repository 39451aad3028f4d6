"""Encoder: the way from what people write to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from paradox.model.points import Matrix


class Encoder(Protocol):
    """A map from texts to vectors. Two encoders with one fingerprint give one space."""

    @property
    def name(self) -> str:
        """The name given to `encoder=`."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of each vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the space: package, version and a digest of what it answers to a fixed text."""
        ...

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Return (n, d) float32, one row a text. Thread-safe."""
        ...
