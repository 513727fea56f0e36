"""A run as plain text, for pipes and files: every line says who wrote it."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from hogwild.cli.display import figures, finished_because
from hogwild.cli.state import RunState
from hogwild.cli.text import printable
from hogwild.engine.events import Event, FinishEvent


class PlainReader:
    """Writes a step when it is finished, and at the end what was left unfinished.

    Text goes to `out`; the figures go to `log`, so that `out` holds nothing but the run's text.
    """

    def __init__(self, out: TextIO, log: TextIO) -> None:
        self.out, self.log = out, log
        self.state = RunState()

    def read(self, event: Event) -> None:
        """Takes one event."""
        known = len(self.state.history)
        self.state.apply(event)
        for entry in self.state.history[known:]:
            self._lines(entry.tag, entry.text)
        if isinstance(event, FinishEvent):
            self._unfinished()
            self.log.write(f"{figures(self.state)} · {finished_because(self.state)}\n")
            self.log.flush()

    def _unfinished(self) -> None:
        for pane in self.state.panes.values():
            if pane.text:
                self._lines(f"{pane.tag}, unfinished", pane.text)

    def _lines(self, tag: str, text: str) -> None:
        for line in printable(text.strip()).split("\n"):
            self.out.write(f"{printable(tag)}: {line}".rstrip() + "\n")
        self.out.flush()

    def __enter__(self) -> PlainReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.state.finish is None:  # a trace of a run that was killed
            self._unfinished()
        self.out.flush()


class JsonReader:
    """Writes each event as one line of JSON, at once."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def read(self, event: Event) -> None:
        """Takes one event."""
        self.out.write(event.to_json() + "\n")
        self.out.flush()

    def __enter__(self) -> JsonReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.out.flush()
