"""A lock that lets threads through in the order in which they came."""

from __future__ import annotations

import threading


class Turnstile:
    """A context manager for one thread at a time.

    A thread that takes a plain lock again right after it has released it can keep the others out for ever;
    here it stands behind them.
    """

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._last = self._serving = 0
        self._gone: set[int] = set()  # tickets of threads that were interrupted while they waited

    def __enter__(self) -> Turnstile:
        with self._moved:
            ticket = self._last
            self._last += 1
            try:
                self._moved.wait_for(lambda: self._serving == ticket)
            except BaseException:
                self._gone.add(ticket)
                if self._serving == ticket:
                    self._advance()
                raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._moved:
            self._serving += 1
            self._advance()

    def _advance(self) -> None:
        while self._serving in self._gone:
            self._gone.remove(self._serving)
            self._serving += 1
        self._moved.notify_all()
