"""Folders: where large things that can be made again are kept."""

from __future__ import annotations

import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of this user for things that can be made again, by the custom of the platform. It may not exist yet."""
    home = Path.home()
    match sys.platform:
        case "darwin":
            return home / "Library" / "Caches" / "paradox"
        case "win32":
            return home / "AppData" / "Local" / "paradox" / "Cache"
        case _:
            return home / ".cache" / "paradox"


def short(path: Path) -> str:
    """Return a path as people write it, with ~ for the home folder."""
    try:
        return f"~/{path.absolute().relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(path)


def bytes_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
