"""Screen: where a command's answer, its side notes and its progress go.

The answer goes to standard output, everything else to standard error. With `--json` the answer is JSON and nothing else. Colours and
moving bars appear only on a terminal; a pipe gets plain lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import msgspec

from paradox.errors import ParadoxError

if TYPE_CHECKING:
    from rich.console import Console

Span: TypeAlias = str | tuple[str, str]
"""A piece of a line: plain text, or (text, style) with a style such as "bold", "dim" or "green"."""
Row: TypeAlias = Sequence[Span]
Advance: TypeAlias = Callable[[int], None]
"""Tells a progress bar that so many more are done."""

Gauge: TypeAlias = Callable[[int, int | None], None]
"""Tells how many are done, and of how many if that is known."""

PIPE_WIDTH = 100
PLAIN_STEPS = 4
"""Lines of progress that a pipe gets."""
UNKNOWN_STEP = 100_000
"""Or one after so many, when the end is not known."""


def plain(span: Span) -> str:
    """Return a span's text without its style."""
    return span if isinstance(span, str) else span[0]


def cut(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` characters, cut between words where that costs little."""
    flat = " ".join(text.split())
    if len(flat) <= width:
        return flat
    head = flat[: max(width - 1, 0)]
    space = head.rfind(" ")
    return (head[:space] if space > max(len(head) - 16, 0) else head).rstrip(" ,;:.-") + "…"


def ordinary(value: object) -> object:
    """Return a value that JSON does not know (a number of NumPy, bytes) as one that it does."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


class Screen:
    """One command's way to its user."""

    def __init__(self, *, json: bool, out: TextIO, err: TextIO) -> None:
        self.json = json
        self.out = out
        self.err = err

    @cached_property
    def terminal(self) -> bool:
        """Whether the answer is read by a person."""
        return not self.json and self.out.isatty()

    @cached_property
    def width(self) -> int:
        """Columns of a line."""
        return min(self._answers.width, 140) if self.terminal else PIPE_WIDTH

    @cached_property
    def _answers(self) -> Console:
        from rich.console import Console

        return Console(file=self.out, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @cached_property
    def _remarks(self) -> Console:
        from rich.console import Console

        return Console(file=self.err, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def line(self, *spans: Span) -> None:
        """Print one line of the answer. Nothing with `--json`."""
        if self.json:
            return
        if self.terminal:
            from rich.text import Text

            self._answers.print(Text.assemble(*spans))
        else:
            print("".join(plain(span) for span in spans).rstrip(), file=self.out)

    def note(self, *spans: Span) -> None:
        """Print one line beside the answer, to standard error. Nothing with `--json`."""
        if self.json:
            return
        if self.err.isatty():
            from rich.text import Text

            self._remarks.print(Text.assemble(*spans))
        else:
            print("".join(plain(span) for span in spans).rstrip(), file=self.err)

    def document(self, value: object) -> None:
        """Print one line of JSON. Nothing without `--json`."""
        if self.json:
            print(msgspec.json.encode(value, enc_hook=ordinary).decode(), file=self.out)

    def table(self, heads: Sequence[str], rows: Sequence[Row], *, indent: int = 0) -> None:
        """Print rows in columns as wide as their widest cell; numbers stand to the right. Nothing with `--json`."""
        cells = [[plain(cell) for cell in row] for row in rows]
        columns = list(zip(heads, *cells, strict=True))
        widths = [max(map(len, column)) for column in columns]
        right = [len(column) > 1 and all(cell.replace(",", "").replace(".", "").isdigit() for cell in column[1:]) for column in columns]
        margin = " " * indent

        def set_row(row: Row, style: str = "") -> None:
            spans: list[Span] = [margin]
            for cell, width, is_right in zip(row, widths, right, strict=True):
                text = plain(cell)
                padded = text.rjust(width) if is_right else text.ljust(width)
                spans += [(padded, style or (cell[1] if isinstance(cell, tuple) else "")), "  "]
            self.line(*spans[:-1])

        if any(heads):
            set_row(heads, "dim")
        for row in rows:
            set_row(row)

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Advance]:
        """Show how far a long work is, on standard error: a bar on a terminal, a few lines in a pipe, nothing with `--json`.

        total: None when it is not known; 0 = not worth showing.
        """
        if self.json or total == 0:
            yield _ignore
        elif self.err.isatty():
            with self._bar(what, total) as advance:
                yield advance
        else:
            yield self._lines(what, total)

    @contextmanager
    def _bar(self, what: str, total: int | None) -> Iterator[Advance]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=36), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._remarks, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)

    @contextmanager
    def gauge(self, what: str) -> Iterator[Gauge]:
        """The same for a work that tells (done, total or None when unknown) itself."""
        with ExitStack() as stack:
            advance: Advance | None = None
            told = 0

            def tell(done: int, total: int | None) -> None:
                nonlocal advance, told
                if advance is None:
                    advance = stack.enter_context(self.progress(what, total))
                advance(done - told)
                told = done

            yield tell

    def _lines(self, what: str, total: int | None) -> Advance:
        done = 0
        step = total / PLAIN_STEPS if total is not None else UNKNOWN_STEP
        end = f" of {total:,}" if total is not None else ""

        def advance(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            if before // step != done // step:
                print(f"  {what}: {done:,}{end}", file=self.err, flush=True)

        return advance

    def error(self, error: ParadoxError) -> None:
        """Print what went wrong and what to do: as JSON on standard output with `--json`, else on standard error."""
        from paradox.cli.words import as_typed

        hint = as_typed(error.hint)
        if self.json:
            self.document({"error": {"code": error.code, "message": error.message, "hint": hint}})
            return
        self.note(("error: ", "bold red"), error.message)
        if hint:
            self.note(("hint:  ", "bold"), hint)


def _ignore(count: int) -> None:
    """Take note of nothing."""


def figure(value: Any, name: str = "") -> str:
    """Return a value as people read it; a name that ends in bytes, or in a unit of time, says how."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if name.endswith("bytes"):
            return size(value)
        if name.endswith("_s") and not name.endswith("_per_s"):
            return seconds(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    if value is None or value == "":
        return "–"
    return str(value)


def size(bytes_count: float) -> str:
    """Return a number of bytes in a unit that keeps it short."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if bytes_count < 1024:
            return f"{bytes_count:.0f} {unit}" if unit == "B" else f"{bytes_count:.1f} {unit}"
        bytes_count /= 1024
    return f"{bytes_count:.1f} TiB"


def counted(count: int, what: str) -> str:
    """Return how many of something there are: 1 point, 2 points."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def seconds(duration_s: float) -> str:
    """Return a duration in a unit that keeps it short."""
    if duration_s < 0.001:
        return f"{duration_s * 1e6:.0f} µs"
    if duration_s < 1:
        return f"{duration_s * 1e3:.1f} ms" if duration_s < 0.1 else f"{duration_s * 1e3:.0f} ms"
    return f"{duration_s:.1f} s" if duration_s < 120 else f"{duration_s / 60:.1f} min"
