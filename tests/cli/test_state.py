"""What a run looks like, from its events alone."""

from __future__ import annotations

import pytest
from runs import make_run

from hogwild.cli.state import Pane, RunState
from hogwild.engine.events import AnswerEvent, InterventionEvent, StepEvent, TokenEvent


def state_of(events) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def test_tokens_collect_until_the_step_is_finished():
    run = make_run(2, forwards=30)
    steps = [event for event in run if isinstance(event, StepEvent)]
    state = state_of(run)
    assert [(e.worker, e.index, e.text) for e in state.history] == [
        (s.worker, s.index, s.text) for s in steps
    ]
    assert {worker: pane.steps for worker, pane in state.panes.items()} == {
        worker: sum(step.worker == worker for step in steps) for worker in ("Alice", "Bob")
    }
    assert state.tokens == 60
    for pane in state.panes.values():
        since = [e for e in run if isinstance(e, (TokenEvent, StepEvent)) and e.worker == pane.worker]
        while any(isinstance(event, StepEvent) for event in since):
            since.pop(0)
        assert pane.text == "".join(event.text for event in since if event.source == "sampled").strip()


def test_header_is_not_part_of_the_text_but_later_insertions_are():
    pane = Pane("Alice")
    for text, inserted in (
        ("\n\n**Alice", True),
        (" [1]:**", True),
        (" I think", False),
        (" Quick check:", True),
    ):
        pane.append(text, inserted)
    assert pane.runs == [("\n\n**Alice [1]:**", True), (" I think", False), (" Quick check:", True)]
    assert pane.text == "I think Quick check:"
    assert pane.tag == "Alice [1]"


def test_rate_counts_the_last_seconds_while_running_and_everything_at_the_end():
    slow_start = [TokenEvent(worker="A", token=1, text="x", time=100.0 + i, forward=i) for i in range(10)]
    assert state_of(slow_start).tokens_per_second == pytest.approx(6 / 5)  # both ends of the window count
    finished = state_of(make_run(2, forwards=50, seconds_per_forward=0.5))
    assert finished.tokens_per_second == pytest.approx(100 / 25)


def test_forwards_count_towards_the_limit_only_while_running():
    assert state_of(make_run(2, forwards=30, finish=None)).forwards == "30/30"
    assert state_of(make_run(2, forwards=30)).forwards == "30"
    assert RunState().forwards == "0"


def test_workers_and_events_that_nobody_announced():
    state = state_of(
        [
            TokenEvent(worker="ghost", token=1, text="boo"),
            InterventionEvent(worker="ghost", text="Quick check"),
            AnswerEvent(worker="ghost", text="85"),
        ]
    )
    assert state.panes["ghost"].text == "boo"
    assert state.panes["ghost"].interventions == 1
    assert state.history[-1].tag == "ghost answers"
