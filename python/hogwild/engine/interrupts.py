"""Keeping Ctrl-C out of the few moments in which several objects must change together."""

from __future__ import annotations

import _signal
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["defer_interrupts", "is_interrupt"]

# The signal module's own functions look handlers up in an enumeration, which takes several times as long as all the
# rest here; a forward comes by several times.
_get_handler, _set_handler = _signal.getsignal, _signal.signal
_SIGINT = int(signal.SIGINT)
_get_ident = threading.get_ident
_main_ident = threading.main_thread().ident


def _note_main_thread() -> None:
    global _main_ident
    _main_ident = threading.main_thread().ident


if hasattr(os, "register_at_fork"):  # a child's main thread is the one that forked
    os.register_at_fork(after_in_child=_note_main_thread)


def is_interrupt(error: BaseException) -> bool:
    """Whether it may be a Ctrl-C, which the main thread alone gets, and not only what a protocol raises."""
    return not isinstance(error, Exception) and threading.current_thread() is threading.main_thread()


class defer_interrupts:
    """Hold back a Ctrl-C (SIGINT) that arrives inside of a `with` until its end, or that of a `with` around it.

    Python runs signal handlers in the main thread between any two instructions; only there, and only where
    SIGINT is handled in Python, is there anything to hold back. Costs a microsecond, and less inside of another.
    """

    __slots__ = ("_caught", "_handler")

    def __enter__(self) -> None:
        self._handler: Any = None
        if _get_ident() != _main_ident:
            return
        handler = _get_handler(_SIGINT)
        if callable(handler) and type(getattr(handler, "__self__", None)) is not defer_interrupts:
            self._caught: list[tuple[int, FrameType | None]] = []
            self._handler = handler
            _set_handler(_SIGINT, self._catch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._handler is not None:
            _set_handler(_SIGINT, self._handler)
            if self._caught:
                self._handler(*self._caught[-1])

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught.append((number, frame))
