"""Make `client/sync.py` from `client/aio.py`: `async` and `await` go, names change, nothing else does.

Without arguments it writes the file; with `--check` it fails when the file is stale.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CLIENT = Path(__file__).parents[1] / "src" / "paradox" / "client"
WRITTEN, MADE = CLIENT / "aio.py", CLIENT / "sync.py"
OPENING = '''"""The face for callers that block. Made from `aio` by `tools/generate_sync.py`: change that file, then run the tool."""'''
NAMES: Final[Mapping[str, str]] = {
    "AsyncCollection": "Collection",
    "AsyncDatabase": "Database",
    "AsyncIterator": "Iterator",
    "AsyncTransport": "Transport",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aside": "inline",
}


def blocking(source: str) -> str:
    """Return the source of the blocking face, given that of the awaiting one."""
    lines = source.splitlines(keepends=True)
    keywords = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.string in ("async", "await")]
    for token in reversed([token for token in keywords if token.type == tokenize.NAME]):
        row, start = token.start[0] - 1, token.start[1]
        lines[row] = lines[row][:start] + lines[row][token.end[1] :].removeprefix(" ")
    text = re.sub(r"\b(?:" + "|".join(NAMES) + r")\b", lambda match: NAMES[match[0]], "".join(lines))
    text = re.sub(r"(?m)(?<=^from collections\.abc import ).+$", lambda match: ", ".join(sorted(match[0].split(", "))), text)
    return re.sub(r'\A""".*?"""', lambda _: OPENING, text, count=1, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    """Write the file, or with --check compare it. Return the exit code."""
    made = blocking(WRITTEN.read_text(encoding="utf-8"))
    if "--check" not in arguments:
        MADE.write_text(made, encoding="utf-8")
        return 0
    if MADE.exists() and MADE.read_text(encoding="utf-8") == made:
        return 0
    sys.stderr.write(f"{MADE.name} is stale: run python tools/generate_sync.py\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
