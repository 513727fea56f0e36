"""An engine that follows a made-up run, for commands that would otherwise load a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from runs import make_run

from hogwild.cli import solve
from hogwild.engine.events import Event, FinishEvent
from hogwild.engine.sampling import SamplingParams


class ScriptedSession:
    """The part of `hogwild.engine.Session` that the command line uses."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.waiting = list(events)
        self.told: list[Event] = [self.waiting.pop(0)]
        self.forwards = 0
        self.finished = self.closed = False
        self.error: BaseException | None = None

    def take_events(self) -> list[Event]:
        told, self.told = self.told, []
        return told

    def advance(self) -> list[Event]:
        self.forwards += 1
        while self.waiting and self.waiting[0].forward <= self.forwards:
            event = self.waiting.pop(0)
            self.finished = isinstance(event, FinishEvent)
            self.told.append(event)
        return self.take_events()

    def next_rows(self) -> list[Event]:
        return self.waiting

    def cancel(self) -> None:
        self._end("cancelled", "")

    def fail(self, error: BaseException) -> None:
        self.error = error
        self._end("error", str(error))

    def _end(self, reason: str, message: str) -> None:
        if not self.finished:
            self.finished = True
            self.told.append(
                FinishEvent(reason=reason, message=message, forwards=self.forwards, forward=self.forwards)
            )

    def __enter__(self) -> ScriptedSession:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closed = True


class ScriptedProtocol:
    """The part of a protocol that the command line looks at."""

    workers = ("Alice", "Bob")

    def __init__(self, params: SamplingParams) -> None:
        self.params = params

    def sampling(self, worker: str) -> SamplingParams:
        return self.params


class ScriptedEngine:
    """An engine whose one session tells `events`, forward by forward.

    Attributes:
        asked: what `collaboration` was called with.
        published: the model's own sampling settings.
        before_forward: called with the number of each forward before it runs; it may raise.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.session = ScriptedSession(events)
        self.asked: dict[str, Any] = {}
        self.published: dict[str, Any] = {"temperature": 0.6}
        self.before_forward: Callable[[int], None] = lambda number: None

    def collaboration(self, problem: str, **settings: Any) -> ScriptedProtocol:
        self.asked = {"problem": problem, **settings}
        names = SamplingParams.__dataclass_fields__
        given = {name: value for name, value in settings.items() if name in names}
        return ScriptedProtocol(SamplingParams(**{**self.published, **given}))

    def method(self, method: str, problem: str, **settings: Any) -> ScriptedProtocol:
        protocol = self.collaboration(problem, **settings)
        self.asked["method"] = method
        return protocol

    def open(self, protocol: ScriptedProtocol) -> ScriptedSession:
        assert isinstance(protocol, ScriptedProtocol)
        return self.session

    def forward(self, sessions: list[ScriptedSession]) -> list[tuple[ScriptedSession, list[Event]]]:
        self.before_forward(self.session.forwards + 1)
        return [(session, events) for session in sessions if (events := session.advance())]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """What `hogwild solve` gets instead of an engine with a model."""
    scripted = ScriptedEngine(make_run(2, forwards=30))
    monkeypatch.setattr(solve, "_make_engine", lambda request, preparation: scripted)
    return scripted
