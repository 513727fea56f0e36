"""Means, differences, and when one method reaches another."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from test_eval_records import make_record

from hogwild.engine.events import StartEvent, TokenEvent
from hogwild.evaluation import plots
from hogwild.evaluation.clock import Clock
from hogwild.evaluation.summary import point_of, speedup, summarize
from hogwild.evaluation.table import markdown

BUDGETS = (8, 16)


def test_runs_of_a_problem_count_as_one():
    records = [make_record("a", 0, (0, 1)), make_record("a", 1, (0, 0)), make_record("b", 0, (1, 1))]
    summary = summarize("m", records, BUDGETS)
    assert (summary.problems, summary.runs, summary.failed) == (2, 3, 0)
    assert [entry.accuracy.value for entry in summary.budgets] == [0.5, 0.75]
    assert summary.budgets[1].accuracy.error == pytest.approx(math.sqrt(0.125 / 2))
    assert summary.budgets[0].seconds == pytest.approx(0.8)


def test_differences_are_of_the_same_problems():
    ours = [make_record("a", 0, (0, 1)), make_record("b", 0, (0, 1)), make_record("only ours", 0, (0, 0))]
    theirs = [make_record("b", 0, (0, 0)), make_record("a", 0, (0, 1))]
    gain = summarize("m", ours, BUDGETS, theirs).budgets[1].gain
    assert gain.value == 0.5 and gain.error == pytest.approx(0.5)


def test_a_run_that_failed_is_wrong_where_it_gave_no_answer():
    failed = make_record("a", 0, (1,), (8,), error="the view is too long")
    summary = summarize("m", [failed, make_record("b", 0, (1, 1))], BUDGETS)
    assert [entry.accuracy.value for entry in summary.budgets] == [1.0, 0.5]
    assert summary.failed == 1 and point_of(failed, 16).answer is None


def test_means_of_what_runs_took_are_of_those_that_did_not_fail():
    """A run that breaks off has taken hardly anything, and would make its method look quick."""
    failed = replace(make_record("b", 0, (), (), error="no room"), forwards=0, tokens=0, seconds=0.1)
    done = make_record("a", 0, (0, 1))
    (with_failed, without) = (summarize("m", records, BUDGETS) for records in ([done, failed], [done]))
    assert [(b.forwards, b.seconds) for b in with_failed.budgets] == [(8, 0.8), (16, 1.6)]
    assert with_failed.tokens == without.tokens == 32
    assert with_failed.budgets[1].accuracy.value == 0.5 and with_failed.failed == 1
    nothing = summarize("m", [failed], BUDGETS)
    assert nothing.tokens is None and nothing.budgets[0].seconds is None
    assert markdown([nothing]).splitlines()[-1] == "| m | 16 | 0.0% |  | 0% | - | - |"


def test_speedup_is_the_smallest_budget_with_the_same_accuracy():
    slow = summarize("slow", [make_record("a", 0, (0.2, 0.6))], BUDGETS)
    fast = summarize("fast", [make_record("a", 0, (0.6, 0.9))], BUDGETS)
    assert speedup(fast, slow).budget == 8 and speedup(fast, slow).baseline == 16
    assert speedup(slow, fast).budget is None


def test_no_records_no_summary():
    with pytest.raises(ValueError, match="at least one run of 'm'"):
        summarize("m", [], BUDGETS)


def test_the_table_has_a_row_for_each_budget():
    records = [make_record("a", 0, (0, 1)), make_record("b", 0, (0, 1))]
    lines = markdown(
        [summarize("m", records, BUDGETS), summarize("n", records, BUDGETS, records)]
    ).splitlines()
    assert len(lines) == 6
    assert lines[3].startswith("| m | 16 | 100.0% ± 0.0 |  | 100% | 16 | 1.6 |")
    assert "+0.0% ± 0.0" in lines[5]


def test_the_clock_counts_forwards_that_sample():
    def token(forward, time, source="sampled"):
        return TokenEvent(worker="Ada", token=1, forward=forward, time=time, source=source)

    events = [
        StartEvent(protocol="p"),
        token(0, 0.0, "inserted"),
        token(3, 1.5),  # two forwards that write the prompt come before
        token(3, 1.5),
        token(4, 2.0),
        token(4, 2.0, "inserted"),
        token(6, 3.0),
    ]
    clock = Clock(events)
    assert [clock.seconds(n) for n in (0, 1, 2, 3, 9)] == [0.0, 1.5, 2.0, 3.0, 3.0]
    assert clock.tokens == 4
    assert Clock([]).seconds(5) == 0.0


def test_a_plot_of_many_methods_tells_them_apart_and_covers_none():
    summaries = [
        summarize(f"hogwild:{count}", [make_record("a", 0, (0, 1))], BUDGETS) for count in range(1, 17)
    ]
    figure = plots.accuracy_against_forwards(summaries, "title")
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == len(summaries)
    assert [text.get_text() for text in legend.get_texts()] == [summary.method for summary in summaries]
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert plots.accuracy_against_forwards(summaries[:2], "title").axes[0].get_legend() is not None
