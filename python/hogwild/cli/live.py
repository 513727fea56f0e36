"""The display on a screen: drawn ten times a second, and the whole text printed once the run is over."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live

from hogwild.cli.display import draw
from hogwild.cli.state import RunState
from hogwild.cli.transcript import transcript
from hogwild.engine.events import Event

FRAMES_PER_SECOND = 10


class LiveReader:
    """Shows events on the terminal's alternate screen; use it as a context manager.

    The screen is drawn by a thread of its own, so it follows the terminal's size during a long forward. What
    is written to stderr meanwhile would tear the screen: it is kept and shown at the end.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.state = RunState()
        self._lock = threading.Lock()
        self._stderr = io.StringIO()
        self._live = Live(
            get_renderable=self._frame,
            console=console,
            screen=True,
            refresh_per_second=FRAMES_PER_SECOND,
            redirect_stderr=False,
        )
        self._stack = contextlib.ExitStack()

    def read(self, event: Event) -> None:
        """Takes one event."""
        with self._lock:
            self.state.apply(event)

    def __enter__(self) -> LiveReader:
        self._stack.enter_context(contextlib.redirect_stderr(self._stderr))
        self._stack.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if self.state.start is not None:
            self.console.print(transcript(self.state))
        sys.stderr.write(self._stderr.getvalue())

    def _frame(self) -> RenderableType:
        with self._lock:
            return draw(self.state, *self.console.size)
