"""What an object may be called: what is the same name on every file system and in every object store."""

from __future__ import annotations

from paradox.errors import NameInvalid, ObjectConflict

NAME_BYTES_MAX = 1024
"""As in S3."""
PART_BYTES_MAX = 255
"""As in ext4, XFS, APFS and NTFS."""


def check_object_name(name: str) -> str:
    """Return `name` if it is a relative path with '/' that means the same everywhere. Raises NameInvalid.

    A part may not begin with '.': that leaves '.', '..' and the names of unfinished files out.
    """
    parts = name.split("/")
    if (
        not name.isprintable()
        or "\\" in name
        or any(not part or part.startswith(".") for part in parts)
        or len(_encoded(name)) > NAME_BYTES_MAX
        or any(len(_encoded(part)) > PART_BYTES_MAX for part in parts)
    ):
        raise NameInvalid(
            f"{name!r:.80} cannot be an object's name",
            hint=f"use parts of 1 to {PART_BYTES_MAX} printable characters, joined by '/', none of which begins with '.'",
        )
    return name


def taken(name: str) -> ObjectConflict:
    """Return the error that says a name is taken."""
    return ObjectConflict(
        f"the object {name!r} exists already, and objects never change", hint="store it under another name, or delete the old one first"
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
