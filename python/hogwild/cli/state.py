"""What a run looks like so far: events in, plain data out, for displays to draw."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hogwild.engine.events import (
    AnswerEvent,
    BudgetEvent,
    Event,
    FinishEvent,
    InterventionEvent,
    ModeEvent,
    StartEvent,
    StepEvent,
    TokenEvent,
)

RATE_WINDOW = 5.0  # seconds over which tokens per second are counted


@dataclass
class Pane:
    """One worker: its unfinished text, as runs of (text, inserted by the protocol)."""

    worker: str
    runs: list[tuple[str, bool]] = field(default_factory=list)
    tokens: int = 0
    steps: int = 0
    interventions: int = 0

    @property
    def body(self) -> list[tuple[str, bool]]:
        """The runs without the header that the protocol began the text with: the worker's own words on."""
        return self.runs[1:] if self.runs and self.runs[0][1] else self.runs

    @property
    def text(self) -> str:
        """The unfinished text, as one string, without its header."""
        return "".join(text for text, _ in self.body).strip()

    @property
    def tag(self) -> str:
        """The worker and the step that is unfinished, as in the headers of steps."""
        return f"{self.worker} [{self.steps + 1}]"

    def append(self, text: str, inserted: bool) -> None:
        """Adds to the last run, or starts one."""
        if self.runs and self.runs[-1][1] == inserted:
            text = self.runs.pop()[0] + text
        if text:
            self.runs.append((text, inserted))


@dataclass(frozen=True)
class Entry:
    """What is finished: a worker's reasoning step (`index` from 1), its answer (`index` 0), or, without a
    worker, the answer that was asked for within a budget of `index` forwards."""

    worker: str
    index: int
    text: str

    @property
    def tag(self) -> str:
        """Who, and which step."""
        if not self.worker:
            return f"asked after {self.index} forwards"
        return f"{self.worker} [{self.index}]" if self.index else f"{self.worker} answers"


@dataclass
class RunState:
    """A run, as the events so far tell it.

    Attributes:
        start: the first event, once seen.
        panes: one per worker, in the order of the workers.
        history: finished steps and answers, oldest first.
        mode: the protocol's mode, for protocols that have several.
        forward, time: of the last event.
        finish: the last event, once seen.
    """

    start: StartEvent | None = None
    panes: dict[str, Pane] = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)
    mode: str = ""
    forward: int = 0
    time: float = 0.0
    finish: FinishEvent | None = None
    _sampled: deque[float] = field(default_factory=deque)

    @property
    def tokens(self) -> int:
        """Tokens sampled by all workers."""
        return sum(pane.tokens for pane in self.panes.values())

    @property
    def forwards(self) -> str:
        """How many forwards; while the run goes on, of how many (those of the prompt not counted)."""
        limit = self.start.settings.get("max_forwards") if self.start is not None else None
        if self.finish is not None or limit is None:
            return str(self.forward)
        return f"{max((pane.tokens for pane in self.panes.values()), default=0)}/{limit}"

    @property
    def tokens_per_second(self) -> float:
        """Of all workers together: lately while the run goes on, over the whole run when it is finished."""
        if self.finish is not None:
            return self.finish.tokens / self.finish.seconds if self.finish.seconds > 0 else 0.0
        span = min(self.time, RATE_WINDOW)
        return len(self._sampled) / span if span > 0 else 0.0

    def apply(self, event: Event) -> None:
        """Takes one event. Workers that the start did not name get a pane when they first speak."""
        self.forward, self.time = event.forward, event.time
        if isinstance(event, StartEvent):
            self.start = event
            for worker in event.workers:
                self._pane(worker)
        elif isinstance(event, TokenEvent):
            self._token(event)
        elif isinstance(event, StepEvent):
            pane = self._pane(event.worker)
            pane.runs.clear()
            pane.steps += 1
            self.history.append(Entry(event.worker, event.index, event.text))
        elif isinstance(event, AnswerEvent):
            self.history.append(Entry(event.worker, 0, event.text))
        elif isinstance(event, BudgetEvent) and event.answer is not None and not event.given:
            self.history.append(Entry("", event.budget, event.answer))
        elif isinstance(event, InterventionEvent):
            self._pane(event.worker).interventions += 1
        elif isinstance(event, ModeEvent):
            self.mode = event.mode
        elif isinstance(event, FinishEvent):
            self.finish = event

    def _token(self, event: TokenEvent) -> None:
        pane = self._pane(event.worker)
        inserted = event.source == "inserted"
        pane.append(event.text, inserted)
        if inserted:
            return
        pane.tokens += 1
        self._sampled.append(event.time)
        while self._sampled[0] < event.time - RATE_WINDOW:
            self._sampled.popleft()

    def _pane(self, worker: str) -> Pane:
        return self.panes.setdefault(worker, Pane(worker))
