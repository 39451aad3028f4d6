"""Configuration: what the environment says. The only reader of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from paradox.errors import InvalidRequest

KEY = "PARADOX_KEY"


def keys_of(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the keys that PARADOX_KEY names, with commas between: a server asks for one of them, a client sends the first.

    Raises InvalidRequest for one that no header can carry.
    """
    keys = tuple(key.strip() for key in environment.get(KEY, "").split(",") if key.strip())
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise InvalidRequest(f"{KEY} holds signs that no key has", hint="keys are of printable ASCII signs, without line breaks")
    return keys
