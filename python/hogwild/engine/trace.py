"""Recorded runs: JSON lines, one event a line, after a first line that names the format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from types import TracebackType

from hogwild.engine.events import Event
from hogwild.errors import HogwildError

FORMAT = "hogwild-trace"
VERSION = 1


class TraceError(HogwildError, ValueError):
    """A trace cannot be read; the message names the file, the line and what is wrong with it.

    Attributes:
        breaks_off: it is the last line, and has no end: the run was killed while it was written.
    """

    breaks_off = False


class TraceWriter:
    """Writes events to a file as they happen, for `read_trace`.

    Each event is flushed, so a run that is killed leaves everything up to that moment. An existing file is
    replaced. Use it as a context manager::

        with TraceWriter("run.jsonl") as trace:
            for event in engine.stream(protocol):
                trace.write(event)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._file = open(self.path, "w", encoding="utf-8")
        self._line(json.dumps({"format": FORMAT, "version": VERSION}))

    def write(self, event: Event) -> None:
        """Append one event."""
        self._line(event.to_json())

    def close(self) -> None:
        """Close the file; writing afterwards is a ValueError."""
        self._file.close()

    def _line(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_trace(path: str | os.PathLike[str]) -> Iterator[Event]:
    """Yield the events of a recorded run in order.

    Raises (while iterating):
        TraceError: the file is not a trace, was written by another version of the format, or has a broken
            line. The events before that line have been yielded by then.
        OSError: the file cannot be opened.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:  # a run that was killed may end within a character
        _check_header(path, file.readline())
        for number, line in enumerate(file, start=2):
            try:
                event = Event.from_json(line.decode())
            except (ValueError, TypeError, RecursionError) as error:
                wrong = TraceError(f"{path}, line {number}: not an event: {error}")
                wrong.breaks_off = not line.endswith(b"\n")
                raise wrong from error
            yield event


def is_trace(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a trace of this program, of whatever version.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return _format(file.readline(1000)) == FORMAT


def _format(line: bytes) -> object:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return header.get("format") if isinstance(header, dict) else None


def _check_header(path: str, line: bytes) -> None:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TraceError(f"{path}, line 1: not a trace of this program (expected a header of {FORMAT!r})")
    if header.get("version") != VERSION:
        raise TraceError(
            f"{path}, line 1: written in version {header.get('version')!r} of the trace format; "
            f"this program reads version {VERSION}"
        )
