"""What a long preparation is doing, on stderr: bars on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import contextlib
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Preparation:
    """A context manager; `stage` has the signature of `hogwild.models.demo.Progress`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stage = ""
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task("starting", total=None)
        self._shown = contextlib.ExitStack()

    def stage(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Says what is being done now; a `total` of 0 means that its amount is not known."""
        if stage != self._stage:
            self._stage = stage
            if not self.console.is_terminal:
                self.console.print(f"{stage} ...", markup=False, highlight=False)
            self._bars.reset(self._task, description=stage, total=total or None)
        self._bars.update(self._task, completed=done, total=total or None)

    def __enter__(self) -> Preparation:
        if self.console.is_terminal:
            self._shown.enter_context(self._bars)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()
