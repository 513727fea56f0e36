"""A submitted session, from outside: its events as they come, and ways to reach it while it runs."""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from hogwild.engine.events import Event, FinishEvent
from hogwild.engine.job import Job
from hogwild.engine.mailbox import Mailbox
from hogwild.engine.protocol import Protocol
from hogwild.engine.service import Service
from hogwild.engine.session import Session

__all__ = ["Handle"]

T = TypeVar("T")


class Handle:
    """What `EngineCore.submit` gives. Every method may be called from any thread, and none waits but those that say so.

    Iterating, `for` or `async for`, gives the events as they come; the last one is a `FinishEvent`, and what
    ended a session that failed is raised after it. Each event is given once, to whoever asks first.

    At most `buffer` events (and those of one forward) wait to be read. Then the session pauses, and others go on,
    until half of them are read: nothing is lost, and a slow reader costs no more memory. Only where somebody
    waits for the end without ever having read an event are the oldest dropped instead.

    A handle that is collected cancels its session, as one does whose client is gone; so does leaving a `with`.
    """

    def __init__(
        self, job: Job, mailbox: Mailbox[tuple[Job, Event]], service: Service, owner: object
    ) -> None:
        self._job, self._mailbox, self._service = job, mailbox, service
        self._owner = owner  # the engine lives as long as somebody holds one of its handles
        # Weak: finalizers are kept by the interpreter, and an error that ended the session knows the frames of who
        # read it, this handle among them. A job that runs is kept by the scheduler.
        self._finalizer = weakref.finalize(self, _cancel_if_left, weakref.ref(job), service)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return f"Handle({self.name!r}, {self.state})"

    @property
    def name(self) -> str:
        """The session's name."""
        return self._job.session.name

    @property
    def protocol(self) -> Protocol:
        """The protocol; while it runs it belongs to the engine's thread, see `call`."""
        return self._job.session.protocol

    @property
    def state(self) -> str:
        """ "waiting" (for room in the pool), "running" (also where it has nothing to feed), "parked" or "finished"."""
        if self._job.done:
            return "finished"
        if self._job.parked is not None:
            return "parked"
        return "running" if self._job.admitted else "waiting"

    @property
    def finished(self) -> bool:
        """Whether it has ended; events may be left to read."""
        return self._job.done

    @property
    def error(self) -> BaseException | None:
        """What ended it, if an error did."""
        return self._job.session.error

    @property
    def dropped(self) -> int:
        """Events that nobody has read and nobody can read any more."""
        return self._mailbox.dropped

    def cancel(self) -> None:
        """End it after the forward that runs, and free its pages; nothing happens if it has ended."""
        _cancel(self._job, self._service)

    def call(self, function: Callable[[Session], T]) -> Future[T]:
        """Have `function(session)` called by the engine's thread, between two feeds of the protocol.

        This is how other threads reach a running protocol: there, and only there, the protocol has all results of
        what was written, its blocks are on the device, and it may be changed; see `Session.call`. Calls are made in
        the order in which they were asked for. A function that takes long holds up all sessions, and one that waits
        for the engine waits for ever.

        Returns:
            A future of what the function returns or raises (the session goes on then); HogwildError if the
            session has ended before. In an event loop: `await asyncio.wrap_future(handle.call(...))`.
        """
        if not callable(function):
            raise TypeError(f"function: expected what can be called with a Session, got {function!r}")
        future = self._job.order(function)
        self._service.wake()
        return future

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds (None: for as long as it takes); whether it has ended."""
        if timeout is not None and (not isinstance(timeout, (int, float)) or math.isnan(timeout)):
            raise TypeError(f"timeout: expected seconds or None, got {timeout!r}")
        return self._mailbox.join(timeout)

    def result(self, timeout: float | None = None) -> FinishEvent:
        """Wait for the end; the last event.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds; it goes on.
            HogwildError, or what the protocol raised: what ended it.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"{self.name}: it has not ended after {timeout} seconds")
        return self._outcome()

    def __await__(self) -> Generator[Any, None, FinishEvent]:
        """`await handle`: `result` in an event loop."""
        yield from self._mailbox.join_async().__await__()
        return self._outcome()

    def __iter__(self) -> Iterator[Event]:
        while (item := self._mailbox.get()) is not None:
            yield item[1]
        self._outcome()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (item := await self._mailbox.get_async()) is not None:
            yield item[1]
        self._outcome()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    async def __aenter__(self) -> Handle:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.cancel()

    def _outcome(self) -> FinishEvent:
        if self.error is not None:
            raise self.error
        assert self._job.finish is not None
        return self._job.finish


def _cancel(job: Job, service: Service) -> None:
    job.cancelled = True
    service.wake()


def _cancel_if_left(job: weakref.ref[Job], service: Service) -> None:
    if (left := job()) is not None:
        _cancel(left, service)
