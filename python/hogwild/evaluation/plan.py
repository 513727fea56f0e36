"""How a method is evaluated; the same for all methods that are compared."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hogwild.engine.checks import check_integer
from hogwild.evaluation.budgets import check_budgets
from hogwild.evaluation.tasks import Problem, Task


@dataclass(frozen=True)
class Plan:
    """Settings of an evaluation.

    Attributes:
        budgets: ascending numbers of sequential forwards; one run gives the answers within all of them.
        samples: problems of the task, drawn without regard to their order; None for all. The draw of a smaller
            number is part of that of a larger one.
        runs: of each problem, with different seeds.
        seed: of the first run of each problem.
        at_once: runs side by side on the engine. It changes their times and nothing else.
        sampling: settings of `SamplingParams`, but for the seed, that replace the model's own.
        family: prompts and conventions: the name of a model family or a file; None for the tokenizer's own.

    Raises:
        ValueError, TypeError: a setting is out of range or of the wrong type; it is named.
    """

    budgets: tuple[int, ...]
    samples: int | None = None
    runs: int = 1
    seed: int = 0
    at_once: int = 8
    sampling: dict[str, Any] = field(default_factory=dict)
    family: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", check_budgets(self.budgets))
        if self.samples is not None:
            check_integer("samples", self.samples, minimum=1)
        check_integer("runs", self.runs, minimum=1)
        check_integer("seed", self.seed)
        check_integer("at_once", self.at_once, minimum=1)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `Engine.method` that are the same for all runs, but for the budgets."""
        family = {} if self.family is None else {"family": self.family}
        return {**self.sampling, **family}

    @property
    def seeds(self) -> range:
        """Seeds of the runs of each problem."""
        return range(self.seed, self.seed + self.runs)

    def problems(self, task: Task) -> list[Problem]:
        """The problems that are asked."""
        problems: Sequence[Problem] = task.problems()
        order = list(range(len(problems)))
        random.Random(0).shuffle(order)
        chosen = order[: self.samples]
        return [problems[place] for place in sorted(chosen)]
