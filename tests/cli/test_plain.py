"""Text for pipes, and JSON lines."""

from __future__ import annotations

import io

from runs import make_run

from hogwild.cli.plain import JsonReader, PlainReader
from hogwild.engine.events import AnswerEvent, BudgetEvent, Event, FinishEvent, StepEvent, TokenEvent


def test_every_line_says_who_wrote_it_and_figures_go_elsewhere():
    out, log = io.StringIO(), io.StringIO()
    with PlainReader(out, log) as reader:
        for event in [
            TokenEvent(worker="Alice", token=1, text="\n\n**Alice [1]:**", source="inserted"),
            StepEvent(worker="Alice", index=1, text="first line\n\nsecond\x1b line"),
            AnswerEvent(worker="Bob", text="85"),
            BudgetEvent(budget=2, answer="84", text="84}"),
            BudgetEvent(budget=4, answer=None),
            BudgetEvent(budget=8, answer="85", given=True),
            TokenEvent(worker="Alice", token=1, text="\n\n**Alice [2]:**", source="inserted"),
            TokenEvent(worker="Alice", token=1, text=" and so", forward=3, time=1.0),
            FinishEvent(reason="answer", forwards=3, tokens=1, seconds=2.0, forward=3),
        ]:
            reader.read(event)
    assert out.getvalue().splitlines() == [
        "Alice [1]: first line",
        "Alice [1]:",
        "Alice [1]: second␛ line",
        "Bob answers: 85",
        "asked after 2 forwards: 84",
        "Alice [2], unfinished: and so",
    ]
    assert log.getvalue() == "3 forwards · 1 token · 0.5 tokens/s · 2.0 s · answered\n"


def test_json_lines_are_the_events():
    out = io.StringIO()
    run = make_run(3, forwards=12)
    with JsonReader(out) as reader:
        for event in run:
            reader.read(event)
    assert [Event.from_json(line) for line in out.getvalue().splitlines()] == run
