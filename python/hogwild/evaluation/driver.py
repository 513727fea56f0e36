"""Many runs on one engine, a fixed number at a time: when one ends, the next begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hogwild.engine import EngineCore, Event, Protocol, Session
from hogwild.errors import HogwildError, PoolExhausted

_J = TypeVar("_J")


@dataclass
class Outcome(Generic[_J]):
    """A run that has ended: what it was for, its protocol, and all its events."""

    job: _J
    protocol: Protocol
    events: list[Event] = field(default_factory=list)


def run_jobs(
    engine: EngineCore, jobs: Iterable[_J], make: Callable[[_J], Protocol], at_once: int
) -> Iterator[Outcome[_J]]:
    """Run the protocol of each job, `at_once` of them in shared forwards, and yield them as they end.

    A run that fails says so in its last event. Where the pool has no room for all that run, the one that began
    last is stopped and begins again later. Closing the generator, or an exception, ends those that run.

    Args:
        engine: where they run.
        jobs: what to run; each is taken when there is room for it.
        make: the protocol of a job; called again when the job begins again.
        at_once: how many run side by side.
    """
    waiting, again = iter(jobs), deque[_J]()
    running: dict[Session, Outcome[_J]] = {}
    try:
        while True:
            while len(running) < at_once:
                job = again.popleft() if again else next(waiting, None)
                if job is None:
                    break
                protocol = make(job)
                running[engine.open(protocol)] = Outcome(job, protocol)
            if not running:
                return
            lack = _forward(engine, running)
            if lack is not None and len(running) == 1:
                next(iter(running)).fail(lack)
            elif lack is not None:  # from now on with fewer
                session, outcome = running.popitem()
                session.close()
                again.append(outcome.job)
                at_once = len(running)
            yield from _take_finished(running)
    finally:
        for session in running:
            session.close()


def _forward(engine: EngineCore, running: dict[Session, Outcome[_J]]) -> PoolExhausted | None:
    """One forward of all; the error where the pool has no room for it."""
    before = sum(session.forwards for session in running)
    try:
        told = engine.forward(list(running))
    except PoolExhausted as error:
        return error
    for session, events in told:
        running[session].events.extend(events)
    if not told and before == sum(session.forwards for session in running):
        for session in running:
            if not session.finished and not session.next_rows():
                session.fail(
                    HogwildError(f"{session.name}: the protocol has nothing to feed and has not finished")
                )
    return None


def _take_finished(running: dict[Session, Outcome[_J]]) -> Iterator[Outcome[_J]]:
    for session in [session for session in running if session.finished]:
        outcome = running.pop(session)
        outcome.events.extend(session.take_events())
        session.close()
        yield outcome
