"""Runs of an evaluation as they end: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from hogwild.evaluation.records import Record
    from hogwild.evaluation.thinking import ThinkRecord

_LINES = 5  # for each method, where no terminal is


class SampleProgress:
    """A context manager: one bar a method, with the accuracy so far.

    Args:
        console: where it is shown.
        methods: all that will run.
        planned: runs of each.
        score: how right the answer of a record is; their mean is shown.
        traces: the folder for a trace of each run, if there is to be one.
    """

    def __init__(
        self,
        console: Console,
        methods: Sequence[str],
        planned: int,
        score: Callable[[Any], float],
        traces: Path | None = None,
    ) -> None:
        self._traces = traces
        self.console, self.planned, self._score = console, planned, score
        self._scores: dict[str, list[float]] = {method: [] for method in methods}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[accuracy]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks = {
            method: self._bars.add_task(method, total=planned, start=False, accuracy="") for method in methods
        }
        self._shown = contextlib.ExitStack()

    def begin(self, method: str, known: Sequence[Record | ThinkRecord]) -> None:
        """A method begins; `known` are records of earlier."""
        self._bars.start_task(self._tasks[method])
        for record in known:
            self._scores[method].append(self._score(record))
        self._update(method)
        if known and not self.console.is_terminal:
            self.say(f"{method}: {len(known)} of {self.planned} are there already")
        if missing := self._without_trace(method, known):
            self.say(
                f"{method}: {missing} runs that are there already have no trace, and are not run again for one; "
                "another --output has traces of all"
            )

    def add(self, method: str, record: Record | ThinkRecord) -> None:
        """A run has ended."""
        self._scores[method].append(self._score(record))
        if record.error:
            self.say(f"{method}: {record.problem} failed: {record.error}")
        self._update(method)
        done = len(self._scores[method])
        if not self.console.is_terminal and (
            done == self.planned or done % max(1, self.planned // _LINES) == 0
        ):
            self.say(f"{method}: {done} of {self.planned}, {self._accuracy(method)}")

    def _without_trace(self, method: str, known: Sequence[Record | ThinkRecord]) -> int:
        from hogwild.evaluation.evaluate import trace_path

        if self._traces is None:
            return 0
        return sum(not trace_path(self._traces, method, *record.key).exists() for record in known)

    def say(self, line: str) -> None:
        """A line of its own."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _accuracy(self, method: str) -> str:
        scores = self._scores[method]
        return f"accuracy {100 * fmean(scores):.1f}%" if scores else ""

    def _update(self, method: str) -> None:
        self._bars.update(
            self._tasks[method], completed=len(self._scores[method]), accuracy=self._accuracy(method)
        )

    def __enter__(self) -> SampleProgress:
        if self.console.is_terminal:
            self._shown.enter_context(self._bars)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()
