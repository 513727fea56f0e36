"""The few sentences that a report begins with."""

from __future__ import annotations

from hogwild.evaluation.comparison import Comparison
from hogwild.evaluation.records import Record
from hogwild.evaluation.summary import MethodSummary, Speedup
from hogwild.evaluation.table import percent

DEMO = "gemma-3-270m"


def findings(comparison: Comparison) -> list[str]:
    """What the numbers say, most important first; plain sentences."""
    summaries = comparison.summaries()
    sentences = [_at_last_budget(summaries)]
    sentences += [_sentence(entry, summaries[0].method) for entry in comparison.speedups()]
    if failed := [summary for summary in summaries if summary.failed]:
        counts = ", ".join(f"{summary.failed} of {summary.runs} with {summary.method}" for summary in failed)
        sentences.append(f"Some runs failed and count as wrong: {counts}.")
    return sentences


def cautions(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the numbers."""
    sentences = []
    if DEMO in comparison.model:
        sentences.append(
            "The demo model has 270 million parameters and was not trained to follow instructions, nor to reason. "
            "This report shows that everything works and what a report looks like; it says nothing about the methods."
        )
    if len(comparison.problems) * comparison.plan.runs < 100:
        sentences.append(
            f"There were only {len(comparison.problems)} problems, so differences of a few standard errors are noise."
        )
    for method, records in comparison.records.items():
        alike = sum(_alike(record) for record in records)
        if method.startswith("self-consistency") and 2 * alike >= len(records):
            sentences.append(
                f"In {alike} of {len(records)} runs all threads of {method} wrote the same, as they do where each "
                "takes the likeliest token every time, rounding apart; with a temperature above 0 they would differ."
            )
    return sentences


def _alike(record: Record) -> bool:
    """Whether all of several workers wrote the same."""
    return len(record.texts) > 1 and len(set(record.texts.values())) == 1


def _at_last_budget(summaries: list[MethodSummary]) -> str:
    ranked = sorted(summaries, key=lambda summary: -summary.budgets[-1].accuracy.value)
    parts = [f"{summary.method} {percent(summary.budgets[-1].accuracy)}" for summary in ranked]
    return f"Accuracy within {summaries[0].budgets[-1].budget:,} sequential forwards: {', '.join(parts)}."


def _sentence(entry: Speedup, baseline: str) -> str:
    aim = f"the best accuracy of {baseline} ({100 * entry.accuracy:.1f}%, within {entry.baseline:,} forwards)"
    if entry.budget is None:
        return f"{entry.method} does not reach {aim}."
    if entry.budget == entry.baseline:
        return f"{entry.method} reaches {aim} with the same budget."
    return f"{entry.method} reaches {aim} within {entry.budget:,}: {as_many(entry.budget / entry.baseline)}."


def as_many(ratio: float) -> str:
    """A ratio of counts in words: "half as many", "4.0 times as many"."""
    if ratio in (0.5, 2.0):
        return "half as many" if ratio < 1 else "twice as many"
    return f"{ratio:.{1 if ratio >= 1 else 2}f} times as many"
