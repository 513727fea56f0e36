"""When a worker is asked whether its work is redundant (paper, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hogwild.engine.checks import check_integer
from hogwild.errors import UnknownNameError

TARGETS = ("next", "random")


class Questions:
    """Counts tokens, and says who is to be asked at the beginning of a step.

    Args:
        workers: their names. Nobody is asked who works alone.
        every: a question is due when so many tokens were sampled, by all workers together, since the last
            one; None: never.
        to: "next", whoever opens a step next, or "random", a worker that is drawn when the question is due.
        seed: of the draws.

    Attributes:
        count: questions so far.
    """

    def __init__(self, workers: Sequence[str], every: int | None, to: str = "next", seed: int = 0) -> None:
        if every is not None:
            check_integer("question_every", every, minimum=1)
        if to not in TARGETS:
            raise UnknownNameError("question_to", to, TARGETS)
        self.count = 0
        self._workers = list(workers)
        self._every = every if len(workers) > 1 else None
        self._random = random.Random(f"{seed}/questions") if to == "random" else None
        self._target: str | None = None  # who was drawn
        self._since = 0

    def sampled(self) -> None:
        """A token was sampled, whoever did it."""
        self._since += 1

    def stopped(self, worker: str) -> None:
        """The worker writes no more, so it cannot be asked."""
        self._workers.remove(worker)
        if self._target == worker:
            self._target = None

    def due(self, worker: str) -> bool:
        """Whether `worker`, who opens a step, is to be asked; if so, that is taken for done."""
        if self._every is None or self._since < self._every:
            return False
        if self._random is not None:
            self._target = self._target or self._random.choice(self._workers)
            if self._target != worker:
                return False
        self._target, self._since = None, 0
        self.count += 1
        return True
