"""A session that the scheduler looks after."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from hogwild.cache import Parked
from hogwild.engine.events import Event, FinishEvent
from hogwild.engine.mailbox import Mailbox
from hogwild.engine.session import Session
from hogwild.errors import HogwildError

__all__ = ["Job"]


class Job:
    """A session with its place in the queue, its reader, and what others want of it.

    Args:
        session: just opened.
        rank: its place in the queue; lower ones come first.
        mailbox: where its events go; several jobs may share one.
        reachable: whether somebody can call, so that it may have nothing to feed for as long as it likes.

    Attributes:
        orders: calls to be made between its feeds, by the thread that runs forwards; see `order`.
        cancelled: whether it is to end; set from any thread.
        parked: its blocks while they are in host memory.
        admitted: whether it has a right to its pages: it has begun, and was not parked since.
        waited: forwards since it lacks pages.
        stayed: forwards since it was admitted.
        finish: its last event, once it is told.
    """

    def __init__(
        self, session: Session, rank: int, mailbox: Mailbox[tuple[Job, Event]], reachable: bool
    ) -> None:
        self.session, self.rank, self.mailbox, self.reachable = session, rank, mailbox, reachable
        self.orders: deque[tuple[Callable[[Session], Any], Future[Any]]] = deque()
        self.cancelled = False
        self.parked: Parked | None = None
        self.admitted = False
        self.waited = self.stayed = 0
        self.finish: FinishEvent | None = None
        self._refuses = False

    @property
    def done(self) -> bool:
        """Whether it has ended and all of its events are told."""
        return self.finish is not None

    @property
    def paused(self) -> bool:
        """Whether it waits for its reader. Not half way through feeds where calls wait: those are made behind them."""
        return self.mailbox.full and (self.session.between_feeds or not self.orders)

    @property
    def holds_pages(self) -> bool:
        """Whether pages on the device would be free without it."""
        return self.parked is None and any(self.session.blocks[name].pages for name in self.session.blocks)

    def order(self, function: Callable[[Session], Any]) -> Future[Any]:
        """Have `function` called between two feeds. From any thread."""
        future: Future[Any] = Future()
        self.orders.append((function, future))
        if self._refuses:
            self.refuse_orders()
        return future

    def refuse_orders(self) -> None:
        """Answer all orders, those to come too, by the error that the session has ended."""
        self._refuses = True
        while True:
            try:
                _, future = self.orders.popleft()
            except IndexError:
                return
            if future.set_running_or_notify_cancel():
                future.set_exception(HogwildError(f"{self.session.name}: it has ended"))
