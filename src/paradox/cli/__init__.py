"""THE COMMAND: `paradox VERB …` over the public Python API, and nothing below it.

In: words typed by a person or a program. Out: an answer on standard output, remarks and progress on standard error, and an exit code:
0 ok, 1 failed, 2 usage, 3 auth, 4 missing, 5 conflict, 6 partial. Nobody imports this package.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper

from paradox.cli.screen import Screen
from paradox.errors import InternalError, ParadoxError

OK, FAILED, INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. argv: the words after `paradox`; None = those of this process. Never raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = words[: words.index("--")] if "--" in words else words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter shall not end the command
    screen = Screen(json="--json" in options, out=sys.stdout, err=sys.stderr)
    try:
        code = _run(words, screen)
        sys.stdout.flush()
    except ParadoxError as error:
        if "--debug" in options:
            traceback.print_exc()
        screen.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_quietly()
        return OK
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else OK
    except Exception as error:
        if "--debug" in options:
            traceback.print_exc()
        screen.error(_our_bug(error))
        return FAILED
    return code


def _run(words: Sequence[str], screen: Screen) -> int:
    from paradox.cli.arguments import overview, read_arguments

    arguments = read_arguments(words)
    if arguments.version_wanted:
        from paradox import __version__

        screen.line(f"paradox {__version__}")
        screen.document({"version": __version__})
        return OK
    if arguments.verb is None or arguments.help_wanted:
        print(overview())
        return OK
    from paradox.cli.verbs import run

    return run(arguments, screen)


def _our_bug(error: Exception) -> InternalError:
    """Return an error that neither blames the user nor shows them a traceback."""
    return InternalError(
        f"something unexpected happened ({type(error).__name__}: {error}); this is our bug, not a mistake of yours",
        hint="the same command with --debug shows where; please report that",
    )


def _close_quietly() -> None:
    """Point standard output at nothing: its reader (`| head`) left, and the interpreter's last flush must not complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, sys.stdout.fileno())
    finally:
        os.close(nothing)
