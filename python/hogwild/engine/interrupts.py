"""Keeping Ctrl-C out of the few moments in which several objects must change together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Hold back a Ctrl-C (SIGINT) that arrives inside until the end of the block.

    Python runs signal handlers in the main thread between any two instructions; only there, and only where
    SIGINT is handled in Python, is there anything to hold back. Costs microseconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        yield
        return

    caught: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[-1])
