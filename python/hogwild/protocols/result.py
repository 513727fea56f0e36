"""What came of a collaboration, read from its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hogwild.engine.events import (
    AnswerEvent,
    BudgetEvent,
    Event,
    FinishEvent,
    InterventionEvent,
    StartEvent,
    StepEvent,
    TokenEvent,
)


@dataclass(frozen=True)
class CollaborationResult:
    """The outcome of one run, of whatever method.

    Attributes:
        problem: what was to be solved.
        history: finished steps with their headers, in the order in which they were finished.
        unfinished: per worker what it was writing at the end; all it wrote, where steps do not move.
        texts: per worker all it wrote, headers included.
        answer: the first answer that was given; else what was answered within the last budget, or None.
        budgets: budget -> the answer within it, or None.
        interventions: how often something was put into a worker's text, such as the redundancy question.
        finish_reason: one of `hogwild.engine.events.FINISH_REASONS`.
        forwards: forwards of the run, those that wrote the prompt included.
        tokens: tokens sampled by all workers together.
        seconds: from the start to the end.
    """

    problem: str = ""
    history: str = ""
    unfinished: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    answer: str | None = None
    budgets: dict[int, str | None] = field(default_factory=dict)
    interventions: int = 0
    finish_reason: str = "cancelled"
    forwards: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The history, then what was unfinished."""
        parts = [self.history, *(text.strip() for text in self.unfinished.values())]
        return "\n\n".join(part for part in parts if part)

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> CollaborationResult:
        """Read a run's events, live or from a trace, to their end."""
        problem, answer, interventions = "", None, 0
        budgets: dict[int, str | None] = {}
        steps: list[str] = []
        texts: dict[str, list[str]] = {}
        unfinished: dict[str, list[str]] = {}
        finish = FinishEvent(reason="cancelled")
        for event in events:
            if isinstance(event, StartEvent):
                problem = event.problem
                texts = {worker: [] for worker in event.workers}
                unfinished = {worker: [] for worker in event.workers}
            elif isinstance(event, TokenEvent):
                texts.setdefault(event.worker, []).append(event.text)
                unfinished.setdefault(event.worker, []).append(event.text)
            elif isinstance(event, StepEvent):
                steps.append("".join(unfinished.get(event.worker, ())).strip())
                unfinished[event.worker] = []
            elif isinstance(event, AnswerEvent):
                answer = event.text if answer is None else answer
            elif isinstance(event, BudgetEvent):
                budgets[event.budget] = event.answer
            elif isinstance(event, InterventionEvent):
                interventions += 1
            elif isinstance(event, FinishEvent):
                finish = event
        return cls(
            problem=problem,
            history="\n\n".join(steps),
            unfinished={worker: "".join(parts) for worker, parts in unfinished.items()},
            texts={worker: "".join(parts) for worker, parts in texts.items()},
            answer=next(reversed(budgets.values()), None) if answer is None else answer,
            budgets=budgets,
            interventions=interventions,
            finish_reason=finish.reason,
            forwards=finish.forwards,
            tokens=finish.tokens,
            seconds=finish.seconds,
        )
