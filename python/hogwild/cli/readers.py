"""Which reader shows a run: a live display, plain text, or JSON lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console

from hogwild.cli.live import LiveReader
from hogwild.cli.plain import JsonReader, PlainReader
from hogwild.cli.writable import check_trace
from hogwild.engine.events import Event
from hogwild.engine.trace import TraceWriter


class Reader(Protocol):
    """Shows the events of one run; a context manager around all of them."""

    def read(self, event: Event) -> None:
        """Takes one event."""

    def __enter__(self) -> Reader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def on_terminal() -> bool:
    """Whether stdout is a terminal that can show a live display."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def make_reader(as_json: bool) -> Reader:
    """The reader for where stdout goes."""
    if as_json:
        return JsonReader(sys.stdout)
    if on_terminal():
        return LiveReader(Console())
    return PlainReader(sys.stdout, sys.stderr)


class TraceReader:
    """Records events in a file, which appears with the first event.

    A run that was recorded there before is replaced; any other file is refused.
    """

    def __init__(self, path: Path) -> None:
        check_trace("--trace", path)
        self.path = path
        self._writer: TraceWriter | None = None

    def read(self, event: Event) -> None:
        """Takes one event."""
        if self._writer is None:
            self._writer = TraceWriter(self.path)
        self._writer.write(event)

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
