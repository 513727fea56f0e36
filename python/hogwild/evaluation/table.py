"""The summary as a table, in Markdown and on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from hogwild.evaluation.summary import BudgetSummary, Mean, MethodSummary

HEADER = ("method", "budget", "accuracy", "difference", "own", "forwards", "seconds")
EXPLANATION = (
    "Budget: sequential forwards that a run may take. Accuracy: mean over the problems and its standard error. "
    "Difference: to the first method on the same problems. Own: runs that gave an answer by themselves, "
    "without being asked for one. Forwards, seconds: means of what runs took that did not fail."
)


def rows(summaries: Sequence[MethodSummary]) -> list[tuple[str, ...]]:
    """The cells of the table, one row for each method and budget, without a header."""
    return [_row(summary.method, entry) for summary in summaries for entry in summary.budgets]


def _row(method: str, entry: BudgetSummary) -> tuple[str, ...]:
    return (
        method,
        f"{entry.budget:,}",
        percent(entry.accuracy),
        percent(entry.gain, signed=True) if entry.gain is not None else "",
        f"{100 * entry.given:.0f}%",
        "-" if entry.forwards is None else f"{entry.forwards:,.0f}",
        "-" if entry.seconds is None else f"{entry.seconds:.1f}",
    )


def percent(mean: Mean, signed: bool = False) -> str:
    """Such as "41.2% ± 2.0"."""
    value = f"{100 * mean.value:+.1f}%" if signed else f"{100 * mean.value:.1f}%"
    return value if mean.error is None else f"{value} ± {100 * mean.error:.1f}"


def markdown(summaries: Sequence[MethodSummary]) -> str:
    """The table in Markdown."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *rows(summaries)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
