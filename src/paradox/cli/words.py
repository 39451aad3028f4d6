"""Words: what people type (ids, times, payloads, vectors), turned into values."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from paradox.cli.arguments import UsageInvalid

if TYPE_CHECKING:
    from paradox import Collection, Id

ARGUMENT = re.compile(
    r"\b(dimensions|encoder|vectors|metric|shards|copies|time_bucket|text|k|like|where|between|modality|using|mode|recall|exact)="
    r"('[^']*'|\"[^\"]*\"|\[[^]]*\]|\{[^}]*\}|\([^)]*\)|[\w.…-]*\w|…)?"
)
LISTED = re.compile(r"['\"]?, *['\"]?")
PHRASES = (
    ("use scroll to read many points", "`paradox export` writes every point"),
    (", or give a function of a list of texts", ""),
    ("give key=…", "set PARADOX_KEY"),
    ("give connect(url, key=…), set PARADOX_KEY", "set PARADOX_KEY"),
    ("use import_", "use `paradox import`"),
)
CALENDAR = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?")


def read_payload(word: str) -> dict[str, Any]:
    """Return the object that `word` spells. Raises UsageInvalid."""
    value = _read_json(word, "--payload", '--payload \'{"topic": "sea"}\'')
    if not isinstance(value, dict):
        raise UsageInvalid(f"--payload is {_kind(value)}; expected an object", hint='write it as --payload \'{"topic": "sea"}\'')
    return value


def read_vector(word: str) -> list[float]:
    """Return the numbers that `word` spells. Raises UsageInvalid."""
    value = _read_json(word, "--vector", "--vector '[0.1, 0.9]'")
    if not isinstance(value, list) or not all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
        raise UsageInvalid(f"--vector is {_kind(value)}; expected a list of numbers", hint="write it as --vector '[0.1, 0.9]'")
    return [float(number) for number in value]


def _read_json(word: str, option: str, example: str) -> Any:
    try:
        return msgspec.json.decode(word)
    except (msgspec.DecodeError, ValueError) as error:
        raise UsageInvalid(f"{option} is not JSON: {error}", hint=f"write it as {example}, in single quotes") from None


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list of other things", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def read_sizes(words: Sequence[str]) -> dict[str, int]:
    """Return {name: dimensions} of words such as title=384. Raises UsageInvalid."""
    sizes = {}
    for word in words:
        name, _, dimensions = word.partition("=")
        if not name or not dimensions.isdigit():
            raise UsageInvalid(f"--vector {word!r} is not a name and its dimensions", hint="write it as --vector title=384")
        sizes[name] = int(dimensions)
    return sizes


def read_time(word: str, *, end: bool = False) -> datetime | str | None:
    """Return the time that `word` means: 1990, 1990-05 and 1990-05-17 stand for their first moment, or with `end` for their last.

    "-" is None, an open side. Anything else is left to the database, which reads ISO 8601.
    """
    if word == "-":
        return None
    match = CALENDAR.fullmatch(word)
    if match is None:
        return word
    year, month, day = (int(part) if part else 0 for part in match.groups())
    try:
        first = datetime(year, month or 1, day or 1, tzinfo=UTC)
    except ValueError as error:
        raise UsageInvalid(f"{word!r} is no day of the calendar: {error}", hint="write a time as 1990, 1990-05 or 1990-05-17") from None
    if not end:
        return first
    days = 1 if day else monthrange(year, month)[1] if month else (datetime(year, 12, 31, tzinfo=UTC) - first).days + 1
    return first + timedelta(days=days - 1, hours=23, minutes=59, seconds=59, microseconds=999_999)


def as_typed(hint: str) -> str:
    """Return a hint of the library, which speaks of arguments in Python, in the words of the command line."""
    for python, typed in PHRASES:
        hint = hint.replace(python, typed)
    return ARGUMENT.sub(_option, hint)


def _option(match: re.Match[str]) -> str:
    name, value = match.groups()
    option = "-k" if name == "k" else f"--{name.removesuffix('s') if name == 'vectors' else name.replace('_', '-')}"
    if value is None or value == "…":
        return option
    if value[0] == "(" or (value[0] in "'\"" and " " in value):
        return f"{option} {value}"
    inside = value.strip("[]{}'\"")
    pairs = re.sub(r"['\"]?\s*:\s*", "=", inside) if value.startswith("{") else inside
    return f"{option} {LISTED.sub(',', pairs)}"


def find_ids(collection: Collection, words: Sequence[str]) -> tuple[list[Id], list[str]]:
    """Return (the ids that exist, the words that name none), in the order typed.

    The rule: a word is an id of text; when no point has it, digits are tried as a number and a UUID's spelling as a UUID.
    """
    existing: set[Id] = {hit.id for hit in collection.get(list(dict.fromkeys(words)))}
    others = {word: other for word in words if word not in existing and (other := _other_form(word)) is not None}
    if others:
        existing |= {hit.id for hit in collection.get(list(dict.fromkeys(others.values())))}
    ids: list[Id] = []
    missing: list[str] = []
    for word in dict.fromkeys(words):
        id = word if word in existing else others.get(word, word)
        if id in existing:
            ids.append(id)
        else:
            missing.append(word)
    return ids, missing


def _other_form(word: str) -> int | UUID | None:
    if re.fullmatch(r"-?\d{1,19}", word) and -(2**63) <= int(word) < 2**63:
        return int(word)
    try:
        return UUID(word)
    except ValueError:
        return None
