"""Many runs on one engine, a fixed number at a time: when one ends, the next begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from hogwild.engine import EngineCore, Event, Handle, Protocol

_J = TypeVar("_J")
_LOOK = 0.05  # seconds between two looks at who has ended; the engine's thread works meanwhile


@dataclass(frozen=True)
class Outcome(Generic[_J]):
    """A run that has ended: what it was for, its protocol, and all its events."""

    job: _J
    protocol: Protocol
    events: list[Event]


def run_jobs(
    engine: EngineCore, jobs: Iterable[_J], make: Callable[[_J], Protocol], at_once: int
) -> Iterator[Outcome[_J]]:
    """Run the protocol of each job, `at_once` of them in shared forwards, and yield them as they end.

    A run that fails says so in its last event. Closing the generator, or an exception, ends those that run.

    Args:
        engine: where they run.
        jobs: what to run; each is taken when its turn comes.
        make: the protocol of a job.
        at_once: how many run side by side, where the pool has room for them.
    """
    waiting, running = iter(jobs), dict[Handle, _J]()
    try:
        while True:
            for job in islice(waiting, at_once - len(running)):
                # Nobody reads before the end, and no run pauses for that: waking a reader takes part of each forward.
                running[engine.submit(make(job), buffer=sys.maxsize)] = job
            if not running:
                return
            next(iter(running)).wait(_LOOK)
            for handle in [handle for handle in running if handle.finished]:
                yield Outcome(running.pop(handle), handle.protocol, _events(handle))
    finally:
        for handle in running:
            handle.cancel()


def _events(handle: Handle) -> list[Event]:
    events: list[Event] = []
    try:
        for event in handle:
            events.append(event)
    except Exception as error:
        if error is not handle.error:  # that one the last event tells
            raise
    return events
