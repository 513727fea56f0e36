"""Accuracy within budgets, over the problems of a task."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from hogwild.evaluation.records import Point, Record


@dataclass(frozen=True)
class Mean:
    """A mean over problems, with its standard error (None for a single problem)."""

    value: float
    error: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(fmean(values), error)


@dataclass(frozen=True)
class BudgetSummary:
    """What a method did within one budget.

    Attributes:
        budget: sequential forwards that a run might take.
        accuracy: mean score; several runs of a problem count as one, with their mean.
        gain: mean difference to the method that was compared with, on the same problems; None without one.
        given: the part of the runs that gave an answer by themselves.
        forwards, seconds: means of what runs took within the budget, over those that did not fail; None if all did.
    """

    budget: int
    accuracy: Mean
    gain: Mean | None
    given: float
    forwards: float | None
    seconds: float | None


@dataclass(frozen=True)
class MethodSummary:
    """A method on a task.

    Attributes:
        method: its name.
        budgets: ascending.
        problems, runs, failed: how many; runs that failed have no answers, and count as wrong.
        tokens: mean number of tokens that all workers of a run sampled together; of runs that failed there is none.
    """

    method: str
    budgets: tuple[BudgetSummary, ...]
    problems: int
    runs: int
    failed: int
    tokens: float | None

    @property
    def best(self) -> BudgetSummary:
        """The smallest budget with the highest accuracy."""
        return max(self.budgets, key=lambda entry: (entry.accuracy.value, -entry.budget))


def summarize(
    method: str, records: Sequence[Record], budgets: Sequence[int], baseline: Sequence[Record] | None = None
) -> MethodSummary:
    """Sum up the runs of one method.

    Args:
        method: its name.
        records: its runs; at least one.
        budgets: ascending.
        baseline: runs of the method that it is compared with; problems that only one of the two has are left
            out of the comparison.

    Raises:
        ValueError: there are no records.
    """
    if not records:
        raise ValueError(f"records: expected at least one run of {method!r}, got none")
    return MethodSummary(
        method=method,
        budgets=tuple(_within(budget, records, baseline) for budget in budgets),
        problems=len({record.problem for record in records}),
        runs=len(records),
        failed=sum(bool(record.error) for record in records),
        tokens=_mean([record.tokens for record in records if not record.error]),
    )


def _within(budget: int, records: Sequence[Record], baseline: Sequence[Record] | None) -> BudgetSummary:
    points = [point_of(record, budget) for record in records]
    done = [
        point_of(record, budget) for record in records if not record.error
    ]  # others broke off, and were quick
    scores = _scores(budget, records)
    gain = None
    if baseline is not None:
        others = _scores(budget, baseline)
        shared = [problem for problem in scores if problem in others]
        gain = Mean.of([scores[problem] - others[problem] for problem in shared]) if shared else None
    return BudgetSummary(
        budget=budget,
        accuracy=Mean.of(list(scores.values())),
        gain=gain,
        given=fmean(point.given for point in points),
        forwards=_mean([point.forwards for point in done]),
        seconds=_mean([point.seconds for point in done]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def point_of(record: Record, budget: int) -> Point:
    """The run's answer within `budget`; a run that failed has none."""
    for point in record.points:
        if point.budget == budget:
            return point
    return Point(budget, None, False, min(budget, record.forwards), record.seconds, 0.0)


def _scores(budget: int, records: Iterable[Record]) -> dict[str, float]:
    """Mean score of each problem's runs."""
    scores = defaultdict(list)
    for record in records:
        scores[record.problem].append(point_of(record, budget).score)
    return {problem: fmean(values) for problem, values in scores.items()}


@dataclass(frozen=True)
class Speedup:
    """How much earlier a method reaches an accuracy than the one it is compared with.

    Attributes:
        method: which.
        accuracy: the accuracy that is to be reached: the best of the other method.
        budget: the smallest budget within which it is reached; None if it never is.
        baseline: the budget that the other method needs for it.
    """

    method: str
    accuracy: float
    budget: int | None
    baseline: int


def speedup(summary: MethodSummary, baseline: MethodSummary) -> Speedup:
    """When `summary` reaches the best accuracy of `baseline`."""
    aim = baseline.best
    reached = (entry.budget for entry in summary.budgets if entry.accuracy.value >= aim.accuracy.value)
    return Speedup(summary.method, aim.accuracy.value, next(reached, None), aim.budget)
