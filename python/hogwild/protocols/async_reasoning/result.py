"""What came of a run of asynchronous reasoning, read from its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hogwild.engine.events import AnswerEvent, Event, FinishEvent, RollbackEvent, StartEvent, TokenEvent
from hogwild.prompting import answer_format
from hogwild.protocols.async_reasoning.modes import THINKER, WRITER


@dataclass(frozen=True)
class ThinkResult:
    """The outcome of one run.

    Attributes:
        problem: what the user asked.
        text: all that the writer said to the user, rolled back text and questions of the protocol left out.
        answers: of every turn what the writer said.
        thoughts: all of the thinker's text, what the protocol told it included.
        finish_reason: one of `hogwild.engine.events.FINISH_REASONS`.
        first_forward, first_seconds: when the first public token came; None if none did.
        forwards: forwards of the run, those that wrote the prompt included.
        tokens: tokens sampled by both streams together.
        seconds: from the start to the end.
    """

    problem: str = ""
    text: str = ""
    answers: tuple[str, ...] = ()
    thoughts: str = ""
    finish_reason: str = "cancelled"
    first_forward: int | None = None
    first_seconds: float | None = None
    forwards: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def answer(self) -> str | None:
        r"""What stands in the last `\boxed{}` of the public text that holds an answer; None if there is none."""
        return answer_in(self.text)

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> ThinkResult:
        """Read a run's events, live or from a trace, to their end."""
        reading = _Reading()
        for event in events:
            reading.take(event)
        return cls(
            problem=reading.problem,
            text=reading.text,
            answers=tuple(reading.answers),
            thoughts="".join(event.text for event in reading.tokens[THINKER]),
            finish_reason=reading.finish.reason,
            first_forward=reading.first.forward if reading.first else None,
            first_seconds=reading.first.time if reading.first else None,
            forwards=reading.finish.forwards,
            tokens=reading.finish.tokens,
            seconds=reading.finish.seconds,
        )


def answer_in(text: str) -> str | None:
    r"""What stands in the last `\boxed{}` of a text that is complete; empty boxes and placeholders do not count."""
    return answer_format("boxed").find(f"{text}\n")


@dataclass
class _Reading:
    problem: str = ""
    answers: list[str] = field(default_factory=list)
    tokens: dict[str, list[TokenEvent]] = field(default_factory=lambda: {THINKER: [], WRITER: []})
    first: TokenEvent | None = None
    finish: FinishEvent = field(default_factory=lambda: FinishEvent(reason="cancelled"))
    _told: int = 0  # characters of the text in earlier turns

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.tokens[WRITER] if event.source != "inserted")

    def take(self, event: Event) -> None:
        if isinstance(event, StartEvent):
            self.problem = event.problem
        elif isinstance(event, TokenEvent):
            self.tokens[event.worker].append(event)
            if event.worker == WRITER and event.source != "inserted" and self.first is None:
                self.first = event
        elif isinstance(event, RollbackEvent):
            del self.tokens[event.worker][-event.tokens :]
        elif isinstance(event, AnswerEvent):
            text = self.text
            self.answers.append(text[self._told :])
            self._told = len(text)
        elif isinstance(event, FinishEvent):
            self.finish = event
