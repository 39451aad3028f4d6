"""Texts that can be encoded."""

from __future__ import annotations

from collections.abc import Sequence

from paradox.errors import PayloadInvalid

SHOWN_CHARACTERS_MAX = 40


def check_texts(texts: Sequence[str]) -> list[str]:
    """Return `texts` as a list if each can be encoded.

    An empty or blank text has no meaning, and the vector a network gives for it would be near to unrelated short texts; so it is
    refused by its place in the batch rather than stored. Raises PayloadInvalid. Cost: one pass over the characters.
    """
    if isinstance(texts, (str, bytes)):
        raise PayloadInvalid("one text was given where a list of texts was expected", hint="write [text]")
    batch = list(texts)
    for place, text in enumerate(batch):
        if not isinstance(text, str):
            raise PayloadInvalid(
                f"text {place} of {len(batch)} is of type {type(text).__name__}; expected str",
                hint="encode takes texts; give other points their vectors",
            )
        if not text or text.isspace():
            raise PayloadInvalid(
                f"text {place} of {len(batch)} is {'blank' if text else 'empty'}; expected at least one word",
                hint="leave it out, or give the point its vector",
            )
    _check_unicode(batch)
    return batch


def _check_unicode(batch: list[str]) -> None:
    """Raise PayloadInvalid for a lone surrogate, which no file or network can carry."""
    try:
        "".join(batch).encode()
    except UnicodeEncodeError:
        broken = [place for place, text in enumerate(batch) if not _is_unicode(text)]
        place = broken[0] if broken else 0
        raise PayloadInvalid(
            f"text {place} of {len(batch)} is not valid Unicode: {batch[place][:SHOWN_CHARACTERS_MAX]!r}",
            hint="decode its bytes with errors='replace'",
        ) from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
