"""The thread that runs forwards for all who have submitted something."""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress

from hogwild.engine.collector import in_collector
from hogwild.engine.scheduler import Scheduler
from hogwild.errors import HogwildError

__all__ = ["Service"]

_LOG = logging.getLogger(__name__)


class Service:
    """Runs a scheduler's forwards in a thread of its own, which starts when it is needed.

    The thread sleeps while there is nothing to do. It never keeps the interpreter from ending.

    Args:
        scheduler: whose forwards are run.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        # Not an Event, whose lock its own thread would wait for when a handle is collected while it has it.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def running(self) -> bool:
        """Whether the thread runs forwards, and will go on to."""
        return self._thread is not None and self._thread.is_alive() and not self._closing

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def start(self) -> None:
        """Start the thread, if it does not run.

        Raises:
            HogwildError: it was closed.
        """
        with self._changing:
            if self._closing:
                raise HogwildError("the engine is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hogwild-engine", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """There is something to do. From any thread, and from finalizers, which may run at any moment."""
        self._wakes.put(None)

    def close(self) -> None:
        """End all jobs and the thread, after the forward that is running. May be called again.

        Where this thread runs a forward of the model, of whichever engine, nobody waits: the other thread waits for
        its turn. Nor where the garbage collector has found the engine: blocks that it has found free their pages.
        """
        with self._changing:
            self._closing = True
            thread = self._thread
        self.wake()
        if in_collector():
            return
        if thread is None:
            self._scheduler.drop_all()
        elif thread is not threading.current_thread() and not self._scheduler.running_here:
            thread.join()

    def _work(self) -> None:
        while not self._closing:
            self._forget_wakes()
            happened = True
            try:
                happened = self._scheduler.forward()
            except BaseException as error:  # of no session: all end with it, and the next ones are served
                _LOG.exception("a forward failed")
                self._scheduler.drop_all(error)
            if not happened and not self._closing:
                self._wakes.get()
        self._scheduler.drop_all()

    def _forget_wakes(self) -> None:
        """What was asked for before now is seen by the forward that follows."""
        with suppress(queue.Empty):
            while True:
                self._wakes.get_nowait()
