"""The safety mode: a check before the writer may speak, and questions while it does."""

import pytest
from streams import LONG, Run, make

from hogwild.engine.events import ProbeEvent
from hogwild.protocols.async_reasoning import Safety


def test_the_request_is_checked_before_the_writer_may_speak():
    run = Run(make(safety=Safety(hold=20)), "Looks fine.\n\nabc", "xyz|", yes=[True])
    run.forwards(11)
    assert run.protocol.answer == "" and run.modes == ["thinker_only"]
    run.finish()
    assert run.asked == ["T:QA:(t)<turn><think>\n\nLooks fine.\n\n[safe?]"]
    assert run.modes == ["thinker_only", "thinker_and_writer"]
    assert [(e.question, e.verdict) for e in run.events if isinstance(e, ProbeEvent)] == [("request", "yes")]


def test_a_harmful_request_is_declined():
    run = Run(make("probe", safety=Safety(hold=3)), LONG, "No.|", yes=[False])
    run.finish()
    assert run.view("writer").startswith("W:Q<turn><think>\n\nabc[decline]")
    assert run.protocol.answer == "No."


@pytest.mark.parametrize(("undecided", "declined"), [("answer", False), ("decline", True)])
def test_an_undecided_check_holds_the_writer_for_so_long_only(undecided, declined):
    safety = Safety(hold=12, doubt=1.0, undecided=undecided)
    run = Run(make(safety=safety), "a.\n\nb.\n\n" + LONG, "xyz|", yes=[0.5, -0.5, 0.2])
    run.forwards(1 + 12)
    assert run.protocol.answer == ""
    run.finish()
    assert len(run.asked) == 3 and ("[decline]" in run.view("writer")) is declined


@pytest.mark.parametrize("thoughts", ["ab</think>", "abc"])
def test_the_check_comes_also_when_the_thoughts_end(thoughts):
    run = Run(make("think-first", safety=Safety(hold=50), max_thoughts=3), thoughts, "No|", yes=[False])
    run.finish()
    assert len(run.asked) == 1 and run.protocol.answer == "No"
    run = Run(make("no-thinking", "shared", safety=Safety()), "", "No|", yes=[False])
    run.finish()
    assert len(run.asked) == 1 and run.protocol.answer == "No" and "[decline]" in run.view("writer")


def test_a_safety_interrupt_rolls_the_paragraph_back():
    run = Run(make(safety=Safety(hold=2, every=12)), LONG * 4, "Fine.\n\nThen mix it all.", yes=[True, False])
    run.forwards(30)
    assert run.protocol.answer.startswith("Fine.\n\n") and "Then mix" not in run.protocol.answer
    assert "A:\n\nFine.\n\n[cut]" in run.view("writer") and "[decline]" in run.view("thinker")
    assert len(run.asked) == 2 and run.asked[1].endswith("[fine?]")
