"""One problem with what each method wrote, so that readers see what the numbers are about."""

from __future__ import annotations

from dataclasses import dataclass

from hogwild.evaluation.comparison import Comparison
from hogwild.evaluation.records import Record
from hogwild.evaluation.summary import point_of
from hogwild.evaluation.tasks import Problem

_LONGEST = 2500  # characters of a worker's text that are shown


@dataclass(frozen=True)
class Shown:
    """What a method did on the example: its answer within the last budget, if any, and its workers' texts."""

    method: str
    answer: str | None
    score: float
    given: bool
    texts: dict[str, str]


@dataclass(frozen=True)
class Example:
    """A problem, its reference answer, what the methods did, and whether some did better than others."""

    problem: str
    reference: str
    shown: list[Shown]
    differs: bool


def choose_example(comparison: Comparison) -> Example:
    """The problem on which the methods differ most within the last budget, the first of several."""
    problem = max(comparison.problems, key=lambda candidate: _spread(comparison, candidate))
    shown = [
        _show(method, record, comparison)
        for method in comparison.methods
        if (record := _run(comparison, method, problem))
    ]
    return Example(problem.text, problem.reference, shown, _spread(comparison, problem) > 0)


def _spread(comparison: Comparison, problem: Problem) -> float:
    """From the worst score of a method to the best."""
    scores = [
        point_of(record, comparison.plan.budgets[-1]).score
        for method in comparison.methods
        if (record := _run(comparison, method, problem))
    ]
    return max(scores) - min(scores)


def _run(comparison: Comparison, method: str, problem: Problem) -> Record | None:
    """The first run of the method on the problem."""
    return next((record for record in comparison.records[method] if record.problem == problem.id), None)


def _show(method: str, record: Record, comparison: Comparison) -> Shown:
    point = point_of(record, comparison.plan.budgets[-1])
    texts = {worker: _cut(text.strip()) for worker, text in record.texts.items() if text.strip()}
    return Shown(method, point.answer, point.score, point.given, texts)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} [...]"
