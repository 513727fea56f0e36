"""The thread that runs forwards for all who have submitted something."""

from __future__ import annotations

import logging
import threading

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
        self._wake = threading.Event()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def running(self) -> bool:
        """Whether the thread runs forwards."""
        return self._thread is not None and self._thread.is_alive()

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
        """There is something to do. From any thread."""
        self._wake.set()

    def close(self) -> None:
        """End all jobs and the thread, after the forward that is running. May be called again."""
        with self._changing:
            self._closing = True
            thread = self._thread
        self._wake.set()
        if thread is None:
            self._scheduler.drop_all()
        elif thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while not self._closing:
            self._wake.clear()
            happened = True
            try:
                happened = self._scheduler.forward()
            except BaseException as error:  # of no session: all end with it, and the next ones are served
                _LOG.exception("a forward failed")
                self._scheduler.drop_all(error)
            if not happened and not self._closing:
                self._wake.wait()
        self._scheduler.drop_all()
