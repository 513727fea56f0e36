"""What happened, on its way from the engine to who reads it: another thread, or an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["Mailbox"]

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue with an end. Putting never waits; a full one says so, and it is for the sender to hold back.

    Args:
        limit: from so many unread items on it is full, until half of them are read; None: never.
        on_room: called when it was full and is no longer, by the thread that reads.

    Attributes:
        dropped: items that were thrown away unread: those in the way of `join`, which nobody reads.
    """

    def __init__(self, limit: int | None = None, on_room: Callable[[], None] = lambda: None) -> None:
        self._limit, self._on_room = limit, on_room
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._sleepers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._ended = self._full = self._reading = False
        self._joining = 0
        self.dropped = 0

    @property
    def full(self) -> bool:
        """Whether the sender should hold back."""
        return self._full

    @property
    def ended(self) -> bool:
        """Whether nothing more will come; unread items may be left."""
        return self._ended

    def put(self, items: Iterable[T]) -> None:
        """Add items, and wake who waits."""
        with self._changed:
            self._items.extend(items)
            self._full = self._limit is not None and len(self._items) >= self._limit
            self._drop_unread()
            self._notify()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._ended = True
            self._notify()

    def get(self) -> T | None:
        """The next item, as soon as there is one; None at the end."""
        with self._changed:
            self._reading = True
            while not self._items and not self._ended:
                self._changed.wait()
            return self._take()

    async def get_async(self) -> T | None:
        """`get` in an event loop."""
        while True:
            sleep = _sleep()
            with self._changed:
                self._reading = True
                if self._items or self._ended:
                    return self._take()
                self._sleepers.append(sleep)
            await self._until(sleep)

    def take_all(self) -> list[T]:
        """All items that are there."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            self._make_room()
            return items

    def wait(self) -> None:
        """Until there is an item, or the end."""
        with self._changed:
            while not self._items and not self._ended:
                self._changed.wait()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; whether it has come.

        Where nobody has begun to read, the oldest items are dropped instead of holding the sender back.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._joining += 1
            try:
                self._drop_unread()
                while not self._ended:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    self._changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
            finally:
                self._joining -= 1
            return self._ended

    async def join_async(self) -> None:
        """`join` in an event loop, without a limit of time."""
        with self._changed:
            self._joining += 1
            self._drop_unread()
        try:
            while True:
                sleep = _sleep()
                with self._changed:
                    if self._ended:
                        return
                    self._sleepers.append(sleep)
                await self._until(sleep)
        finally:
            with self._changed:
                self._joining -= 1

    def _take(self) -> T | None:
        if not self._items:
            return None
        item = self._items.popleft()
        self._make_room()
        return item

    def _make_room(self) -> None:
        if self._full and len(self._items) <= (self._limit or 0) // 2:
            self._full = False
            self._on_room()

    def _drop_unread(self) -> None:
        if self._full and self._joining and not self._reading:
            while len(self._items) > (self._limit or 0) // 2:
                self._items.popleft()
                self.dropped += 1
            self._make_room()

    async def _until(self, sleep: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]) -> None:
        try:
            await sleep[1]
        finally:
            with self._changed:
                if sleep in self._sleepers:
                    self._sleepers.remove(sleep)

    def _notify(self) -> None:
        self._changed.notify_all()
        for loop, future in self._sleepers:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # the loop was closed, and with it who waited
                continue
        self._sleepers.clear()


def _sleep() -> tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]:
    """Made without the lock: a generator that is collected here waits for the engine, which may want the lock."""
    loop = asyncio.get_running_loop()
    return loop, loop.create_future()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
