"""What becomes of a turn when the next one begins, and where a turn ends."""

import pytest
from streams import LONG, Run, make

from hogwild.engine.events import AnswerEvent


@pytest.mark.parametrize("arrangement", ["roles", "shared"])
@pytest.mark.parametrize(
    ("earlier", "history"),
    [
        ("kept", "<turn><think>\n\nabcd(w)A:\n\nxyz"),
        ("folded", "<turn><think>[sum]efg.\n\n(w)A:\n\nxyz"),
        ("dropped", "<turn>A:\n\nxyz"),
    ],
)
def test_the_next_turn_moves_the_last_one_to_the_history(earlier, history, arrangement):
    run = Run(
        make(arrangement=arrangement, turns=True, earlier_thoughts=earlier), "abcdefg.\n\nhijk", "xyz|uvw|"
    )
    while not run.protocol.waiting:
        run.forwards(1)
    assert AnswerEvent(worker="writer", text="xyz") in run.events
    assert run.forward() == [] and run.protocol.feeds() == []
    run.protocol.push("Now?")
    run.forwards(1)
    first = {"roles": "", "shared": "Q"}[arrangement]
    # the summary's last token was never written: nobody has seen it
    expected = history.replace("efg.\n\n", "efg.")
    assert run.block("history") == first + expected
    assert run.block("input") == "<turn>Now?"
    assert run.view("thinker").startswith({"roles": "T:Q", "shared": "P:Q"}[arrangement] + expected)
    while not run.protocol.waiting:
        run.forwards(1)
    assert run.protocol.answer == "uvw"
    assert run.view("writer").count("xyz") == 1
    assert [e.text for e in run.events if isinstance(e, AnswerEvent)] == ["xyz", "uvw"]
    run.protocol.finish()
    run.forward()
    assert run.protocol.finish_reason == "eos"


def test_limits_count_for_each_turn_and_cut_an_answer():
    run = Run(make(turns=True, max_forwards=4), LONG, "xyz" * 9)
    for turn in range(3):
        while not run.protocol.waiting:
            run.forwards(1)
        assert len(run.protocol.answer) == 4 and run.store.length("answer") == len("A:.") + 4
        run.protocol.push(f"turn {turn}")
        run.forwards(1)
    assert run.block("history").count("A:") == 3


def test_text_for_streams_waits_for_the_next_turn():
    run = Run(make(turns=True), LONG, "xy|z|")
    while not run.protocol.waiting:
        run.forwards(1)
    run.protocol.push("(hint)", to="thinker")
    assert run.forward() == []
    run.protocol.push("Next", to="input")
    run.forwards(2)
    assert "<turn><think>\n\n(hint)" in run.view("thinker")


def test_an_interruption_between_turns_rolls_back_what_was_not_heard():
    run = Run(make(turns=True), LONG, "Hello there.|Yes.|")
    while not run.protocol.waiting:
        run.forwards(1)
    run.protocol.interrupt(5)
    run.forward()
    assert run.protocol.answer == "Hello"
    run.protocol.push("Stop")
    run.forwards(1)
    assert run.block("history").endswith("(w)A:\n\nHello") and run.block("input") == "[cut]<turn>Stop"


def test_a_sequential_answer_that_is_broken_off_ends_its_turn():
    run = Run(make("no-thinking", "shared", turns=True), "", "Hello there.|Yes.|")
    run.forwards(8)
    run.protocol.interrupt(2)
    run.forwards(2)
    assert run.protocol.waiting and run.protocol.answer == "He"
    run.protocol.push("Stop")
    run.forwards(1)
    assert run.block("history").endswith("(w)A:\n\nHe") and run.block("input") == "[cut]<turn>Stop"
