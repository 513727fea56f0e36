"""What a conversation looks like so far: events in, plain data out, for displays to draw."""

from __future__ import annotations

from dataclasses import dataclass, field

from hogwild.engine.events import (
    AnswerEvent,
    Event,
    FinishEvent,
    InputEvent,
    ModeEvent,
    ProbeEvent,
    RollbackEvent,
    StartEvent,
    TokenEvent,
)
from hogwild.evaluation.delays import Delays, measure_delays


@dataclass
class ConversationState:
    """A run of asynchronous reasoning, as the events so far tell it.

    Attributes:
        start: the first event, once seen.
        mode: the protocol's mode.
        thoughts: the thinker's tokens.
        said: the turns that are over, as (who, text), oldest first; then what comes of the current one.
        answer: the writer's tokens of the current turn.
        tokens: sampled so far, by both.
        forward, time: of the last event.
        finish: the last event, once seen.
    """

    start: StartEvent | None = None
    mode: str = ""
    thoughts: list[TokenEvent] = field(default_factory=list)
    answer: list[TokenEvent] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    tokens: int = 0
    probes: int = 0
    forward: int = 0
    time: float = 0.0
    finish: FinishEvent | None = None
    _spoken: list[Event] = field(default_factory=list)
    _delays: tuple[int, Delays] | None = None

    @property
    def text(self) -> str:
        """The public answer of the current turn.

        What the protocol put there is not shown. It ends a paragraph: what stood before was complete, or broken off.
        """
        text, behind = "", False
        for event in self.answer:
            if event.source == "inserted":
                behind = bool(text.strip())
                continue
            piece = event.text
            if behind:
                piece = piece.lstrip()
                if piece:
                    text, behind = text.rstrip() + "\n\n", False
            text += piece
        return text

    @property
    def delays(self) -> Delays:
        """What a listener has waited for."""
        if self._delays is None or self._delays[0] != len(self._spoken):
            self._delays = len(self._spoken), measure_delays(self._spoken)
        return self._delays[1]

    def apply(self, event: Event) -> None:
        """Takes one event."""
        self.forward, self.time = max(self.forward, event.forward), event.time
        if isinstance(event, (RollbackEvent, AnswerEvent, InputEvent)):
            self._spoken.append(event)
        if isinstance(event, StartEvent):
            self.start = event
            self.said.append(("user", event.problem))
        elif isinstance(event, ModeEvent):
            self.mode = event.mode
        elif isinstance(event, TokenEvent):
            self._token(event)
        elif isinstance(event, RollbackEvent):
            del self._of(event.worker)[-event.tokens :]
        elif isinstance(event, InputEvent):
            self._input(event)
        elif isinstance(event, ProbeEvent):
            self.probes += 1
        elif isinstance(event, AnswerEvent):
            self.said.append(("answer", self.text))
            self.answer = []
        elif isinstance(event, FinishEvent):
            self.finish = event

    def _of(self, worker: str) -> list[TokenEvent]:
        return self.answer if worker == "writer" else self.thoughts

    def _token(self, event: TokenEvent) -> None:
        self._of(event.worker).append(event)
        self.tokens += event.source == "sampled"
        if event.worker == "writer":
            self._spoken.append(event)

    def _input(self, event: InputEvent) -> None:
        if event.to == "input":
            self.said.append(("user", event.text))
