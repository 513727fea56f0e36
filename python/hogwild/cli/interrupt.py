"""Ctrl-C as a request: the forward that runs is finished, then the run stops in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the second so that `kill` leaves a usable terminal behind


class InterruptRequest:
    """While the context is open the first signal only sets `requested`; a second one interrupts at once.

    Python handles signals in the main thread only; in any other this does nothing.
    """

    def __init__(self) -> None:
        self.requested = self._at_once = False
        self._previous: dict[signal.Signals, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._at_once:
            raise KeyboardInterrupt
        self.requested = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Where nothing is to be finished, as while the user is waited for: one signal, also an earlier one, raises.

        Raises:
            KeyboardInterrupt: there was a signal.
        """
        self._at_once = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False

    def __enter__(self) -> InterruptRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
