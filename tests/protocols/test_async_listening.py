"""What is said to a run while it goes on: pushes and interruptions."""

import threading

import pytest
from streams import LONG, TOKENIZER, Run, make, running

from hogwild.engine.events import InputEvent, RollbackEvent, TokenEvent
from hogwild.errors import SessionFinishedError, UnknownNameError
from hogwild.protocols.async_reasoning import make_policy

# ------------------------------------------------------------------ push


@pytest.mark.parametrize(
    ("arrangement", "writer", "thinker"),
    [
        (
            "roles",
            "W:Q\n\nmore<turn><think>\n\nabc[new](w)A:\n\nxyz",
            "T:Q\n\nmoreA:\n\nxyz(t)<turn><think>\n\nabc[new]",
        ),
        (
            "shared",
            "P:Q\n\nmore<turn><think>\n\nabc[new](w)A:\n\nxyz",
            "P:Q\n\nmore<turn><think>\n\nabc[new]",
        ),
    ],
)
def test_input_is_seen_by_both_in_the_next_forward_and_the_thinker_is_told(arrangement, writer, thinker):
    run = running(arrangement=arrangement)
    run.protocol.push("more")
    seen = {}
    run._next, sample = (
        (lambda feed, view: seen.setdefault(feed.worker, view) and sample(feed, view)),
        run._next,
    )
    run.forwards(1)
    # each stream's pending token is written first, once, and what is told behind it
    assert TOKENIZER.decode(seen["writer"]) == writer
    assert TOKENIZER.decode(seen["thinker"]) == thinker
    assert InputEvent(text="more") in run.events
    assert run.protocol.answer == "xyzx" and run.protocol.thoughts == "abcd"  # nothing lost, nothing twice


@pytest.mark.parametrize("to", ["input", "thinker", "writer"])
@pytest.mark.parametrize(("arrangement", "prompt"), [("roles", "T:Q"), ("shared", "P:")])
def test_text_that_can_never_fit_is_refused_before_anything_changes(arrangement, prompt, to):
    run = running(arrangement=arrangement, max_length=100)
    room = 100 - len(prompt)
    with pytest.raises(
        ValueError, match=rf"text: expected at most {room} tokens, .* for 100 .*, got {room + 1}"
    ):
        run.protocol.push("x" * (room + 1), to=to)
    assert not run.protocol.has_messages
    run.protocol.push("x" * room, to=to)
    running(arrangement=arrangement).protocol.push("x" * 1000, to=to)  # without a limit there is none


def test_text_for_a_stream_goes_on_where_it_stands():
    run = running()
    run.protocol.push("<so>", to="thinker")
    run.protocol.push(", well,", to="writer")
    run.forwards(2)
    assert run.protocol.thoughts == "abc<so>de"
    assert run.protocol.answer == "xyz, well,xy"  # it counts as said
    sources = {e.source for e in run.events if isinstance(e, TokenEvent) and e.text == ","}
    assert sources == {"pushed"}


def test_text_for_a_silent_writer_is_seen_by_the_thinker_at_once():
    run = running(make_policy("fixed-ratio", think=9), forwards=3)
    run.protocol.push("Well:", to="writer")
    run.forwards(1)
    assert run.view("thinker").startswith("T:QA:\n\nWell:(t)")
    run.forwards(8)
    assert run.protocol.answer == "Well:xy"  # the writer went on from the last token, which stands there once
    assert run.view("writer").endswith("(w)A:\n\nWell:xy")


def test_a_silent_writer_that_was_given_text_is_measured_from_its_last_token():
    run = Run(make(make_policy("entropy", every=4)), LONG, "xyz", entropies=lambda n: 9.0 if n < 3 else 0.0)
    run.forwards(2)
    run.protocol.push("W", to="writer")
    run.forwards(18)
    sides = [feeds[-1] for feeds in run.feeds if feeds[-1].view.write_to == "side"]
    assert [TOKENIZER.decode(feed.tokens) for feed in sides] == ["W"] * 3
    assert run.protocol.answer.startswith("Wxyz") and run.view("writer").count("W") == 2  # the prompt has one


@pytest.mark.parametrize(
    ("at", "expected"),
    [("now", "Firs NO Wt. Second.\n\nThird"), ("sentence", "First. NO W Second.\n\nThird")],
)
def test_pushes_wait_for_the_end_of_a_sentence(at, expected):
    run = running(answer="First. Second.\n\nThird", forwards=5)
    run.protocol.push(" NO W", to="writer", at=at)
    run.forwards(22)
    assert run.protocol.answer.rstrip("~") == expected


def test_pushes_wait_for_the_end_of_a_paragraph_of_their_stream():
    run = running(thoughts="One. Two.\n\nThree. Four", answer="x" * 60, forwards=3)
    run.protocol.push("later", at="paragraph")
    run.protocol.push("{note}", to="thinker", at="paragraph")
    run.forwards(6)
    assert not any(isinstance(event, InputEvent) for event in run.events)
    run.forwards(12)
    assert run.protocol.thoughts.startswith("One. Two.\n\n{note}Three.")
    assert run.view("thinker").startswith("T:Q\n\nlaterA:")


def test_a_later_push_to_the_same_place_takes_earlier_ones_along_in_order():
    run = running(answer="First second third.", forwards=4)
    for text, at in (("[1]", "paragraph"), ("[2]", "sentence"), ("[3]", "now"), ("[4]", "sentence")):
        run.protocol.push(text, to="writer", at=at)
    run.forwards(1)
    assert run.protocol.answer == "Fir[1][2][3]s"
    run.forwards(20)
    assert run.protocol.answer.startswith("Fir[1][2][3]st second third.[4]")


def test_input_opens_thoughts_that_had_ended():
    run = running(thoughts="ab</think>cd</think>", forwards=6)
    assert run.modes[-1] == "writer_only"
    run.protocol.push("more")
    run.forwards(1)
    assert run.modes[-1] == "thinker_and_writer"
    assert run.view("thinker").endswith("ab[new]c")
    run.forwards(2)
    assert run.modes[-1] == "writer_only"
    run = Run(make("think-first"), "ab</think>cd</think>", "xyzxyz|")
    run.forwards(6)
    run.protocol.push("more")
    run.finish()
    assert run.modes == ["thinker_only", "writer_only", "thinker_and_writer", "thinker_only", "writer_only"]
    assert run.protocol.thoughts == "abcd"


def test_text_that_came_while_the_last_token_was_drawn_is_not_lost():
    for at in ("now", "paragraph"):
        run = running(answer="xy|z|", forwards=3)
        push, run._next = run._next, None

        def sample(feed, view, push=push, run=run, at=at):
            if (
                feed.worker == "writer"
                and run.scripts["writer"][:1] == [0]
                and len(run.scripts["writer"]) > 1
            ):
                run.protocol.push("late", at=at)
            return push(feed, view)

        run._next = sample
        run.forwards(1)
        assert run.modes[-1] == "thinker_only" and "[new]" in run.view("thinker")
        run.finish()
        assert run.protocol.answer == "xy\n\nz" and run.protocol.undelivered == ()
        assert run.view("writer").startswith("W:Q\n\nlate<turn>")


def test_text_that_comes_between_the_last_look_and_the_end_is_not_lost(monkeypatch):
    run = running(answer="xy|z|", forwards=3)
    inbox = run.protocol.inbox
    close, late = inbox.close_if_empty, ["late"]

    def close_if_empty():  # another thread is faster
        if late:
            run.protocol.push(late.pop())
        return close()

    monkeypatch.setattr(inbox, "close_if_empty", close_if_empty)
    run.finish()
    assert [event.text for event in run.events if event.type == "input"] == ["late"]
    assert run.protocol.answer == "xy\n\nz" and run.protocol.undelivered == ()


def test_bad_pushes_change_nothing():
    run = running()
    for arguments, error, message in (
        ((3,), TypeError, "text: expected text, got 3"),
        (("  ",), ValueError, "text: expected some text, got none"),
        (("a\udcff",), ValueError, r"text: expected text in Unicode, got '\\udcff' at 1"),
        (("x", "moon"), UnknownNameError, "unknown target of a push 'moon'; expected one of: input, thinker"),
        (("x", "input", "soon"), UnknownNameError, "unknown moment of a push 'soon'"),
    ):
        with pytest.raises(error, match=message):
            run.protocol.push(*arguments)
    assert run.protocol.inbox.take() is None


@pytest.mark.parametrize("text", ["</think>", "a<turn>b", "<think><think></think>", "<eos>"])
def test_control_tokens_in_pushed_text_are_spelled_out(text):
    run = running()
    run.protocol.push(text)
    run.protocol.push(text, to="writer")
    run.forwards(1)
    control = set(TOKENIZER.all_special_ids)
    assert not control & set(run.store.tokens("input"))
    assert not control & set(run.store.tokens("answer"))
    assert run.block("input").endswith(text) and text in run.view("writer")


def test_texts_that_the_end_came_before_are_named():
    run = running()
    run.protocol.push("a", at="paragraph")
    run.forwards(1)
    run.protocol.cancel()
    run.protocol.push("b")
    run.forward()
    assert run.protocol.finish_reason == "cancelled" and run.protocol.undelivered == ("a", "b")
    assert run.block("input") == ""


# ------------------------------------------------------------------ interrupt


@pytest.mark.parametrize("character", [0, 1, 5, 8])
@pytest.mark.parametrize("arrangement", ["roles", "shared"])
def test_an_interruption_rolls_back_what_was_not_heard(character, arrangement):
    run = running(answer="abcdefgh" + "!" * 99, forwards=9, arrangement=arrangement)
    assert run.protocol.answer == "abcdefgh"
    thoughts = run.protocol.thoughts
    run.protocol.interrupt(character)
    run.forwards(1)
    heard = "abcdefgh"[:character]
    assert run.protocol.answer == heard
    assert run.view("writer").endswith(f"(w)A:\n\n{heard}[cut]")
    assert run.modes[-1] == "thinker_only"
    assert run.protocol.thoughts.startswith(thoughts) and "[stop]" in run.view("thinker")
    back = [event for event in run.events if isinstance(event, RollbackEvent)]
    assert [event.text for event in back] == ([] if character == 8 else ["abcdefgh"[character:]])


def test_an_interruption_by_time():
    run = running(forwards=1)
    clock = run.protocol._streams._clock
    for second in range(6):
        clock.now = float(second)
        run.forwards(1)
    run.protocol.interrupt(seconds=2.0)
    run.forwards(1)
    assert run.protocol.answer == "xyz"


def test_the_writer_is_held_until_there_is_input_or_for_so_many_forwards():
    run = running(hold_after_interrupt=6)
    run.protocol.interrupt(2)
    run.forwards(5)
    assert run.protocol.answer == "xy"
    run.forwards(2)
    assert run.modes[-1] == "thinker_and_writer"
    run.forwards(1)
    run.protocol.interrupt()
    run.forwards(2)
    said = run.protocol.answer
    run.protocol.push("and now?")
    run.forwards(3)
    assert len(run.protocol.answer) > len(said)


def test_a_second_interruption_of_the_same_words_only_renews_the_silence():
    run = running(hold_after_interrupt=6)
    for _ in range(3):
        run.protocol.interrupt()
        run.forwards(5)
    assert run.view("writer").endswith("(w)A:\n\nxyz[cut]") and run.view("thinker").count("[stop]") == 1
    assert sum(event.type == "rollback" for event in run.events) == 0
    run.protocol.interrupt(2)  # less was heard than it seemed
    run.forwards(1)
    assert run.view("writer").endswith("(w)A:\n\nxy[cut]") and run.view("thinker").count("[stop]") == 2
    run.forwards(7)
    assert run.protocol.answer.startswith("xy") and len(run.protocol.answer) > 2


def test_an_interruption_before_the_first_word_does_nothing():
    run = running(make_policy("fixed-ratio", think=9), forwards=3)
    before = list(run.events)
    run.protocol.interrupt(3)
    run.forwards(1)
    assert [e for e in run.events[len(before) :] if e.type != "token"] == []
    for arguments in ({"character": -1}, {"seconds": -2.0}):
        with pytest.raises(ValueError, match="expected"):
            run.protocol.interrupt(**arguments)
    with pytest.raises(TypeError, match="seconds: expected a number"):
        run.protocol.interrupt(seconds="soon")


def test_an_interruption_withdraws_a_question_that_was_to_be_asked():
    run = Run(make("in-stream"), "a.\n\n" + LONG, "Hi.\n\nyou", yes=[True, True])
    while run.protocol._switch.ask is None or run.protocol._switch.ask.worker != "writer":
        run.forwards(1)
    run.protocol.interrupt(2)
    run.forwards(2)
    assert run.block("answer").startswith("A:\n\nHi[cut") and "[go on?]" not in run.block("answer")


def test_an_interruption_rolls_back_questions_behind_what_was_heard():
    run = Run(make("in-stream"), "a.\n\n" + LONG, "Hi.\n\nyou", yes=[True, True])
    while not run.protocol.answer.endswith("yo"):
        run.forwards(1)
    assert "[go on?] yes" in run.block("answer")
    run.protocol.interrupt(1)
    run.forwards(1)
    assert run.view("writer").endswith("A:\n\nH[cut]")


# ------------------------------------------------------------------ finish, cancel


def test_finish_ends_the_thoughts_and_lets_the_writer_end():
    run = running(make_policy("fixed-ratio", think=50), answer="xyz|", forwards=5)
    run.protocol.finish()
    with pytest.raises(SessionFinishedError, match="takes no more input"):
        run.protocol.push("more")
    run.finish()
    assert run.modes == ["thinker_only", "writer_only"]
    assert run.view("writer") == "W:Q<turn><think>\n\nabcd(w)A:\n\nxyz"  # all thoughts, the pending one, too
    assert run.protocol.finish_reason == "eos"


def test_an_interruption_after_finish_ends_the_run():
    run = running(answer="xyz" * 9)
    run.protocol.finish()
    run.forwards(3)
    run.protocol.interrupt(4)
    run.finish(3)
    assert run.protocol.answer == "xyzx" and run.protocol.finish_reason == "eos"


def test_cancel_ends_before_the_next_forward():
    run = running()
    run.protocol.cancel()
    assert run.forward() == [] and run.protocol.finish_reason == "cancelled"
    run.protocol.cancel()
    for call in (run.protocol.interrupt, run.protocol.finish):
        with pytest.raises(SessionFinishedError):
            call()


# ------------------------------------------------------------------ threads


def test_texts_of_many_threads_arrive_once_and_each_threads_in_order():
    run = running(thoughts="~" * 9, answer="")
    texts = [[f"<{thread}.{index}>" for index in range(25)] for thread in range(8)]

    def push(own):
        for index, text in enumerate(own):
            run.protocol.push(text, to=("writer", "thinker", "input")[index % 3])

    threads = [threading.Thread(target=push, args=(own,)) for own in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        run.forwards(1)
    run.forwards(2)
    heard = [event.text for event in run.events if isinstance(event, InputEvent)]
    assert sorted(heard) == sorted(text for own in texts for text in own)
    for own in texts:
        for start in range(3):
            expected = own[start::3]
            assert [text for text in heard if text in expected] == expected
    assert all(run.view("writer").count(text) == 1 for own in texts for text in own)


def test_input_that_was_not_written_when_a_turn_ended_is_written_then():
    run = Run(make(make_policy("probe", every=3, ride="never"), turns=True), LONG, "xyz")
    while run.protocol._switch.ask is None:
        run.forwards(1)
    run.protocol.push("late")
    # the forward of the question is the turn's last
    run.protocol.max_forwards = run.protocol._conversation.forwards + 1
    while not run.protocol.waiting:
        run.forwards(1)
    assert run.block("input") == "\n\nlate"
    run.protocol.push("Next")
    run.forwards(1)
    assert run.block("history").startswith("\n\nlate<turn><think>") and run.block("input") == "<turn>Next"
