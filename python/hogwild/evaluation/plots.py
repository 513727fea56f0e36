"""Plots: accuracy against sequential forwards and against seconds, one line a method (paper, Figures 3, 4, 9, 19)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hogwild.evaluation.extras import need
from hogwild.evaluation.summary import BudgetSummary, MethodSummary

# Told apart also by people who see few colours (after Okabe and Ito), and in print by the markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_MARKERS = "osD^vPX*<"  # one more, so that 72 methods differ in one of the two
_MOST_INSIDE = 4  # methods that a legend among the lines names; one of more would cover them


def accuracy_against_forwards(summaries: Sequence[MethodSummary], title: str) -> Any:
    """A matplotlib figure: accuracy within each budget of sequential forwards.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    figure, axes = _accuracy(summaries, title, lambda entry: entry.budget)
    budgets = sorted({entry.budget for summary in summaries for entry in summary.budgets})
    axes.set_xlabel("budget: sequential forwards")
    if len(budgets) > 1 and budgets[-1] / budgets[0] > 8:
        axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
    axes.minorticks_off()
    return figure


def accuracy_against_seconds(summaries: Sequence[MethodSummary], title: str, at_once: int) -> Any:
    """The same against the mean time of a run within the budget, with `at_once` runs side by side."""
    # Where all runs failed there is no time, and no point.
    figure, axes = _accuracy(
        summaries, title, lambda entry: math.nan if entry.seconds is None else entry.seconds
    )
    beside = "" if at_once == 1 else f", {at_once} problems at once"
    axes.set_xlabel(f"seconds of a run (mean{beside})")
    axes.set_xlim(left=0)
    return figure


def _accuracy(
    summaries: Sequence[MethodSummary], title: str, place: Callable[[BudgetSummary], float]
) -> tuple[Any, Any]:
    figure, axes = _empty(title)
    highest = 0.0
    for number, summary in enumerate(summaries):
        x = [place(entry) for entry in summary.budgets]
        y = [100 * entry.accuracy.value for entry in summary.budgets]
        errors = [100 * (entry.accuracy.error or 0.0) for entry in summary.budgets]
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(
            x,
            y,
            color=colour,
            marker=_MARKERS[number % len(_MARKERS)],
            clip_on=False,  # markers at 0% stay whole
            zorder=3,
            linestyle="--" if summary.method.startswith("sequential") else "-",
            label=summary.method,
        )
        low, high = zip(*((a - b, a + b) for a, b in zip(y, errors, strict=True)), strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        highest = max(highest, *high)
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, min(102, max(5.0, highest * 1.15)))
    if len(summaries) > _MOST_INSIDE:
        _legend_below(figure, [summary.method for summary in summaries])
    else:
        axes.legend(frameon=False, fontsize=9)
    return figure, axes


def accuracy_against_delay(points: Mapping[str, tuple[float | None, float]], title: str) -> Any:
    """A matplotlib figure: of each method the mean silence of a run, in seconds, and the accuracy, from 0 to 1.

    A method without a silence, whose runs all failed, has a name and no point.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    figure, axes = _empty(title)
    axes.margins(x=0.15)
    for number, (method, (delay, accuracy)) in enumerate(points.items()):
        axes.plot(
            math.nan if delay is None else delay,
            100 * accuracy,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="none",
            clip_on=False,
            zorder=3,
            label=method,
        )
    axes.set_xlabel("silence that a listener waits through (mean seconds of a run)")
    axes.set_xlim(left=0)
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, min(102, max(5.0, 115 * max(accuracy for _, accuracy in points.values()))))
    # names of policies are long, and beside points that are close to each other they would overlap
    _legend_below(figure, list(points))
    return figure


def _legend_below(figure: Any, methods: Sequence[str]) -> None:
    columns = 1 if max(map(len, methods)) > 30 else 2
    rows = math.ceil(len(methods) / columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, rows - 2))  # the axes keep their size
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _empty(title: str) -> tuple[Any, Any]:
    # Figures are made without pyplot, which would keep them all and look for a screen.
    need("matplotlib", "plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def scores_of_modes(means: dict[str, tuple[float, float | None]], title: str) -> Any:
    """A matplotlib figure: the judge's mean score of each mode, with standard errors (paper, Figure 7)."""
    figure, axes = _empty(title)
    names = list(means)
    values = [means[name][0] for name in names]
    bars = axes.bar(
        names,
        values,
        yerr=[means[name][1] or 0.0 for name in names],
        color=_COLOURS[: len(names)],
        width=0.55,
        capsize=4,
    )
    axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=4)
    axes.set_ylabel("collaboration, 1 to 6")
    axes.set_ylim(0, 6)
    return figure


def as_svg(figure: Any) -> str:
    """The figure as an `<svg>` element."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hogwild"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save(figure: Any, path: Path) -> None:
    """Write the figure as a PNG."""
    figure.savefig(path, dpi=160)
