"""An engine without a model, whose runs end as a script says; it serves the driver and everything above it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from hogwild.engine.events import AnswerEvent, BudgetEvent, FinishEvent, StartEvent, TokenEvent


class MadeUpProtocol:
    """What `MadeUpEngine.method` was asked for."""

    def __init__(self, method, problem, settings):
        self.method, self.problem, self.settings = method, problem, settings
        self.workers = ["Ada", "Kurt"] if method.startswith("hogwild") else ["Ada"]


class MadeUpSession:
    """A session that samples a token for each worker in each forward, until its last budget."""

    def __init__(self, engine, protocol):
        self.engine, self.protocol, self.name = engine, protocol, "session"
        self.forwards, self.finished, self.cancelled, self.error = 0, False, False, None
        kind = "collaboration" if len(protocol.workers) > 1 else "sequential"
        start = StartEvent(
            protocol=kind, problem=protocol.problem, workers=protocol.workers, layout="combined"
        )
        self.events = [start]

    def advance(self):
        self.forwards += 1
        now = {"forward": self.forwards, "time": self.forwards * 0.5}
        for worker in self.protocol.workers:
            self.events.append(TokenEvent(worker=worker, token=1, text=f"{worker}{self.forwards} ", **now))
        if error := self.engine.fails(self.protocol):
            self.fail(error)
        elif self.forwards >= self.protocol.settings["budgets"][-1]:
            self.end(now)

    def end(self, now):
        for budget in self.protocol.settings["budgets"]:
            answer = self.engine.answer(self.protocol, budget)
            given = answer is not None and budget >= 4
            self.events.append(BudgetEvent(budget=budget, answer=answer, given=given, forwards=budget, **now))
        if answer is not None:
            self.events.append(AnswerEvent(worker="Ada", text=answer, **now))
        self.events.append(FinishEvent(reason="max_forwards", forwards=self.forwards, seconds=9.0, **now))
        self.finished = True

    def fail(self, error):
        self.finished, self.error = True, error
        self.events.append(FinishEvent(reason="error", forwards=self.forwards, message=str(error)))

    # ------------------------------------------------------------------ as its handle

    def wait(self, timeout):
        self.engine.forward()

    def __iter__(self):
        assert self.finished
        yield from self.events
        if self.error is not None:
            raise self.error

    def cancel(self):
        self.cancelled = self.finished = True


class MadeUpEngine:
    """The part of `hogwild.Engine` that the evaluation uses.

    Args:
        answer: what a protocol answers within a budget, or None.
        fails: an error that ends a protocol's run in its first forward, or None.

    Attributes:
        opened: protocols in the order in which they began.
        most: the most sessions that ran at a time.
    """

    tokenizer = None

    def __init__(
        self,
        answer: Callable[[MadeUpProtocol, int], str | None] = lambda protocol, budget: "7",
        fails: Callable[[MadeUpProtocol], Exception | None] = lambda protocol: None,
    ) -> None:
        self.answer, self.fails = answer, fails
        self.model = SimpleNamespace(
            config=SimpleNamespace(name_or_path="models/made-up"), dtype="torch.float32"
        )
        self.opened: list[MadeUpProtocol] = []
        self.sessions: list[MadeUpSession] = []
        self.most = 0

    def method(self, method, problem, **settings):
        return MadeUpProtocol(method, problem, settings)

    def submit(self, protocol, buffer):
        assert buffer > 10**9  # nobody reads before the end
        self.opened.append(protocol)
        self.sessions.append(MadeUpSession(self, protocol))
        return self.sessions[-1]

    def forward(self):
        """One forward of all; in the real engine a thread of its own runs them."""
        running = [session for session in self.sessions if not session.finished]
        self.most = max(self.most, len(running))
        for session in running:
            session.advance()
