"""Mutual exclusion in the order of arrival."""

from __future__ import annotations

import threading
import weakref
from collections import deque

from hogwild.engine.interrupts import defer_interrupts

__all__ = ["Turns", "turns_of"]


class Turns:
    """A lock for `with` that its holder may take again, and that goes to who has waited longest.

    An ordinary lock mostly goes back to a thread that releases it and takes it again at once, as one that runs
    forward after forward does; the others would wait without end.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[tuple[int, threading.Lock]] = deque()
        self._owner: int | None = None
        self._depth = 0

    @property
    def held(self) -> bool:
        """Whether this thread holds it."""
        return self._owner == threading.get_ident()

    def __enter__(self) -> None:
        me = threading.get_ident()
        gate = threading.Lock()
        taken = queued = False
        try:
            with defer_interrupts(), self._mutex:
                if self._owner is None or self._owner == me:
                    self._owner = me
                    self._depth += 1
                    taken = True
                else:
                    gate.acquire()
                    self._queue.append((me, gate))
                    queued = True
            if queued:
                gate.acquire()  # opened by who hands over
        except BaseException:  # Ctrl-C: nobody calls __exit__ for what was not entered
            with defer_interrupts():
                with self._mutex:
                    waiting = (me, gate) in self._queue
                    if waiting:
                        self._queue.remove((me, gate))
                if taken or (queued and not waiting):
                    self.__exit__()
            raise

    def __exit__(self, *exc_info: object) -> None:
        with defer_interrupts(), self._mutex:
            self._depth -= 1
            if self._depth:
                return
            if not self._queue:
                self._owner = None
                return
            self._owner, gate = self._queue.popleft()
            self._depth = 1
            gate.release()


_TURNS: weakref.WeakKeyDictionary[object, Turns] = weakref.WeakKeyDictionary()


def turns_of(model: object) -> Turns:
    """The turns of all who run forwards of a model: one may run at a time, whichever engine it is of."""
    return _TURNS.setdefault(model, Turns())
