"""The encoders that have a name, for those who may not name an encoder themselves."""

from __future__ import annotations

from paradox.encode.catalogue import EncoderCard, encoders, resolve

__all__ = ["EncoderCard", "encoders", "resolve"]
