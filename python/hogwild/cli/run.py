"""Running a protocol under the eyes of readers, until it ends or the user stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hogwild.cli.interrupt import InterruptRequest
from hogwild.engine.events import Event
from hogwild.errors import HogwildError

if TYPE_CHECKING:
    from hogwild.engine import EngineCore, Protocol, Session


class RunFailed(Exception):
    """A run ended before its time; its last event says the same."""


def run_protocol(
    engine: EngineCore, protocol: Protocol, show: Callable[[Event], None], record: Callable[[Event], None]
) -> None:
    """Runs `protocol` to its end; each event is recorded, then shown.

    A Ctrl-C cancels the session after the forward that runs. However the run ends, the last event recorded
    says so, also where `show` fails because nobody reads its output any more.

    Raises:
        RunFailed: from what ended the session, after its last event.
    """
    with InterruptRequest() as interrupt, engine.open(protocol) as session:
        try:
            events = session.take_events()
            while True:
                for event in events:
                    record(event)
                    show(event)
                if session.finished:
                    break
                events = _advance(engine, session, interrupt)
        finally:
            session.cancel()  # nothing happens if it has ended
            for event in session.take_events():
                record(event)
        if session.error is not None:
            raise RunFailed(f"after {session.forwards} forwards: {_say(session.error)}") from session.error


def _advance(engine: EngineCore, session: Session, interrupt: InterruptRequest) -> list[Event]:
    """One forward, or the end of the session; the events of either."""
    events: list[Event] = []
    if interrupt.requested:
        session.cancel()
        return session.take_events()
    try:
        told = engine.forward([session])
        events = [event for _, of_session in told for event in of_session]
        if not events and not session.next_rows():
            raise HogwildError("the protocol has not finished and has nothing to feed")
    except KeyboardInterrupt:
        session.cancel()
    except Exception as error:
        session.fail(error)
    return events + session.take_events()


def _say(error: BaseException) -> str:
    return str(error) if isinstance(error, HogwildError) else f"{type(error).__name__}: {error}"
