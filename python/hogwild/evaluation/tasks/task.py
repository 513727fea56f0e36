"""What an evaluation asks, and how an answer is scored."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hogwild.evaluation.tasks.source import TaskError
from hogwild.prompting import answer_format


@dataclass(frozen=True)
class Problem:
    """One problem of a task.

    Attributes:
        id: its name within the task; the same in every run.
        text: what the model is asked.
        expected: what the task compares answers with; the task alone knows its form.
        reference: the expected answer for readers.
    """

    id: str
    text: str
    expected: Any
    reference: str = ""


class Task(ABC):
    """A set of problems with known answers.

    Attributes:
        name: what the command line calls it.
        title: what reports call it, with a capital and without a full stop.
        about: one sentence about it for readers of reports.
        answer_tokens: the most tokens of an early answer (paper, Appendix C: 16, 64 or 1,024).
        answer_form: "boxed" for an answer in `\\boxed{}`, "code" for a fenced block of code.
        usual_budgets, usual_samples: what is sensible for it where nothing else is said; None for all problems.
        runs_code: whether scoring runs code that a model wrote. Such a task can be scored in any thread, others
            only in the main thread, since they set alarms.
    """

    name: str
    title: str
    about: str
    answer_tokens: int = 16
    answer_form: str = "boxed"
    usual_budgets: tuple[int, ...] = (512, 1024, 2048, 4096)
    usual_samples: int | None = None
    runs_code: bool = False

    @abstractmethod
    def problems(self) -> Sequence[Problem]:
        """All problems, in an order that never changes; loaded by the first call.

        Raises:
            TaskError: the data cannot be loaded, or is not what the task needs.
        """

    def find(self, text: str) -> str | None:
        """The answer to a problem in what a run has written so far, which ends the run; None if there is none yet."""
        return answer_format(self.answer_form).find(text)

    def read(self, problem: Problem, text: str) -> str:
        """The answer in a whole text that has no box, such as "So it is 18."; `score` is asked about it.

        By default the text as it stands.
        """
        return text.strip()

    @cached_property
    def digest(self) -> str:
        """A hash of all problems and their answers, by which records of others are told."""
        problems = [(p.id, p.text, p.expected) for p in self.problems()]
        return hashlib.sha256(json.dumps(problems, default=str).encode()).hexdigest()[:16]

    @abstractmethod
    def score(self, problem: Problem, answer: str) -> float:
        """How right an answer to `problem` is, from 0 to 1."""


def check_text(problem: Problem, where: str) -> Problem:
    """The problem, if it can be encoded and written down.

    Raises:
        TaskError: it has half of a character, which JSON can spell; with `where`.
    """
    for name, text in (("id", problem.id), ("text", problem.text), ("answer", problem.reference)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TaskError(
                f"{where}: {name} of the problem: expected text in Unicode, got {text[error.start]!r} at {error.start}"
            ) from None
    return problem


def check_ids(problems: Sequence[Problem]) -> list[Problem]:
    """The problems, if no two have the same id, by which their records are kept.

    Raises:
        TaskError: the first one that has another's.
    """
    seen: dict[str, int] = {}
    for number, problem in enumerate(problems, start=1):
        if problem.id in seen:
            raise TaskError(f"problem {number}: id {problem.id!r} of problem {seen[problem.id]} again")
        seen[problem.id] = number
    return list(problems)
