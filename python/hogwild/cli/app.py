"""The command `hogwild`: a command line, and its exit code."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Sequence

import typer

from hogwild.cli import evaluation_commands  # noqa: F401  (registers its commands)
from hogwild.cli.commands import INTERRUPTED, app

UNREAD = 141  # what a shell says of a program that ended because nobody reads its output any more


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit code.

    0, 1 a run that failed, 2 a bad request, 130 Ctrl-C, 141 nobody reads the output any more (as behind `| head`),
    of which nothing is said.
    """
    from hogwild.cli.run import RunFailed
    from hogwild.errors import HogwildError

    try:
        return int(app(args=list(arguments), prog_name="hogwild", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:  # which typer and rich make of it
        if isinstance(error.__context__, BrokenPipeError):
            return UNREAD
        raise
    except Exception as error:
        if "--debug" in arguments:
            raise
        if hasattr(error, "format_message"):  # typer's usage errors, whose classes are not public
            message = error.format_message().replace("\n", " ")
            if not message:  # no command was given, and the help was shown
                return 2
            return _complain(message, 2)
        if isinstance(error, (HogwildError, ValueError)):
            return _complain(str(error), 2)
        if isinstance(error, RunFailed):
            return _complain(str(error), 1)
        return _complain(f"{type(error).__name__}: {error} (--debug shows the traceback)", 1)


def _complain(message: str, code: int) -> int:
    print(f"hogwild: error: {message}", file=sys.stderr)
    return code


def _speak_any_encoding() -> None:
    """Have streams that cannot write a character write its number instead, as JSON does, and read wrong bytes."""

    def escape(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end

    codecs.register_error("hogwild-escape", escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="hogwild-escape")
    if isinstance(sys.stdin, io.TextIOWrapper):  # what is no text is refused by name where text is expected
        sys.stdin.reconfigure(errors="surrogateescape")


def main() -> None:
    """The entry point of the command `hogwild`."""
    # Before torch: its threads may spin for microseconds while they wait, not for milliseconds. On an idle
    # machine that costs nothing; beside another busy process endless spinning makes every forward crawl.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed, as `>&-` does
            setattr(sys, name, open(os.devnull, mode))
    _speak_any_encoding()
    sys.exit(run(sys.argv[1:]))
