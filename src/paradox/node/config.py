"""Configuration: what the environment says. The only reader of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

KEY = "PARADOX_KEY"


def keys_of(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the keys that PARADOX_KEY names, with commas between: a server asks for one of them, a client sends the first."""
    return tuple(key.strip() for key in environment.get(KEY, "").split(",") if key.strip())
