"""Delays as a listener feels them, on runs whose numbers can be worked out by hand."""

import sys

import pytest

from hogwild.engine.events import AnswerEvent, FinishEvent, InputEvent, RollbackEvent, TokenEvent
from hogwild.evaluation.delays import cut_chunks, measure_delays, public_tokens
from hogwild.evaluation.speech import ProgramSpeech, SpeechError, WordsPerMinute


def said(text, forward, worker="writer", source="sampled"):
    return TokenEvent(worker=worker, token=1, text=text, source=source, forward=forward, time=forward / 10)


def run(*forwards, text="word "):
    return [said(text, forward) for forward in forwards]


def test_delays_by_hand():
    # a chunk every two tokens, two words of half a second each
    events = [said("hm", 1, "thinker"), *run(20, 21, 22, 23, 70, 71), said("[ask]", 72, source="inserted")]
    delays = measure_delays(events, WordsPerMinute(rate=120, synthesis=0.2), chunk_tokens=2)
    assert (delays.first_seconds, delays.first_forward) == (2.0, 20)
    ready = [2.3, 2.5, 7.3]
    starts = [2.3, 3.3, 7.3]  # the second waits for the first to end; the third comes after a silence
    assert [c.ready for c in delays.chunks] == pytest.approx(ready)
    assert [c.start for c in delays.chunks] == pytest.approx(starts)
    assert [c.end for c in delays.chunks] == pytest.approx([3.3, 4.3, 8.3])
    assert [c.delay for c in delays.chunks] == pytest.approx([2.3, 0.0, 3.0])
    assert delays.total == pytest.approx(5.3)
    assert delays.beyond_tolerance == pytest.approx(1.3 + 2.0)
    assert delays.longest == pytest.approx(3.0)
    assert delays.forwards == 71 - 6  # forwards in which the listener got nothing
    assert delays.heard == pytest.approx(8.3)
    assert delays.to_dict()["chunks"][0]["text"] == "word word "


def test_a_run_without_a_word():
    delays = measure_delays([said("hm", 1, "thinker")])
    assert delays.first_seconds is None and delays.first_forward is None
    assert (delays.chunks, delays.total, delays.longest, delays.forwards) == ((), 0, 0.0, 0)


def test_a_run_that_has_ended_without_a_word_was_waited_through():
    """Else a method that thinks until its forwards are spent would be the one with the smallest delay."""
    taken_back = [*run(11), RollbackEvent(worker="writer", tokens=1, text="word ", forward=12)]
    for events in ([said("hm", 1, "thinker")], taken_back):
        ended = FinishEvent(reason="max_forwards", forward=30, time=3.0, forwards=30)
        delays = measure_delays([*events, ended])
        assert delays.first_seconds is None and delays.first_forward is None and delays.chunks == ()
        assert (delays.total, delays.beyond_tolerance, delays.longest, delays.forwards) == (3.0, 2.0, 3.0, 30)


def test_formulas_are_kept_whole():
    texts = [
        "So ",
        "$",
        "x",
        " +",
        " 1",
        "$",
        " is ",
        "\\",
        "boxed",
        "{",
        "\\frac{1}",
        "{2}",
        "}",
        ". ",
        "End",
    ]
    chunks = cut_chunks([said(text, i) for i, text in enumerate(texts)], chunk_tokens=2)
    assert [chunk.text for chunk in chunks] == ["So $x + 1$", " is \\boxed{\\frac{1}{2}}", ". End"]
    assert [chunk.forward for chunk in chunks] == [5, 12, 14]
    open_box = cut_chunks([said(text, i) for i, text in enumerate(["\\boxed{", "a", "b", "c"])], 2)
    assert [chunk.text for chunk in open_box] == ["\\boxed{abc"]
    price = cut_chunks([said(text, i) for i, text in enumerate(["\\[", "a", "\\]", "b"])], 1)
    assert [chunk.text for chunk in price] == ["\\[a\\]", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "$5| for| a pen| and| then| nothing",
        "$5| or| $|10|, and| $2|.50",
        "\\$5| or| \\|$10",
        "a $|.\n\n|b $|.",
    ],
)
def test_a_price_is_no_formula(text):
    pieces = text.split("|")
    chunks = cut_chunks([said(piece, i) for i, piece in enumerate(pieces)], chunk_tokens=1)
    assert [chunk.text for chunk in chunks] == pieces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so |$$|a|$$| b", ["so ", "$$a$$", " b"]),
        ("so |$|$|a", ["so ", "$$a"]),
        ("$ |5| +| 3 |$| pens", ["$ 5 + 3 $", " pens"]),
        ("$5| +| x|$|, |$|6|$", ["$5 + x$", ", ", "$6$"]),
        ("$\\|$|5$| x", ["$\\$5$", " x"]),
        ("\\begin{align*}|a|\\\\[2pt]|b|\\end{align*}| x", ["\\begin{align*}a\\\\[2pt]b\\end{align*}", " x"]),
    ],
)
def test_what_a_formula_is(text, expected):
    chunks = cut_chunks([said(piece, i) for i, piece in enumerate(text.split("|"))], chunk_tokens=1)
    assert [chunk.text for chunk in chunks] == expected


def test_what_was_rolled_back_or_asked_is_not_heard():
    events = [*run(1, 2, 3), RollbackEvent(worker="writer", tokens=2, text="word word "), *run(9, text="new")]
    assert [event.text for event in public_tokens(events)] == ["word ", "new"]
    pushed = [*run(1), said("(hint)", 2, source="pushed")]
    assert [event.text for event in public_tokens(pushed)] == ["word ", "(hint)"]


def test_a_later_turn_waits_from_its_question_on():
    first = run(10, 11)
    answer = AnswerEvent(worker="writer", text="", forward=11, time=1.1)
    question = InputEvent(text="and?", forward=50, time=20.0)
    later = [TokenEvent(worker="writer", token=1, text="yes ", forward=55, time=22.0)]
    delays = measure_delays([*first, answer, question, *later], WordsPerMinute(120), chunk_tokens=2)
    assert [chunk.delay for chunk in delays.chunks] == pytest.approx([1.1, 2.0])


def test_words_per_minute():
    assert WordsPerMinute(60).speak("three plain words").seconds == pytest.approx(3.0)
    assert WordsPerMinute(60).speak("2 + 3 = 5").seconds == pytest.approx(3 + 2 * 0.5)
    assert WordsPerMinute(60).speak("...").seconds == 0
    for arguments in ({"rate": 0}, {"synthesis": -1}):
        with pytest.raises(ValueError, match="expected"):
            WordsPerMinute(**arguments)
    with pytest.raises(ValueError, match="chunk_tokens: expected an integer >= 1"):
        cut_chunks([], 0)


@pytest.mark.parametrize("known", [True, False])
def test_a_program_that_speaks(known):
    """A tenth of a second for each byte; programs that write to a pipe may not know the length beforehand."""
    frames = "len(text) * 800" if known else "0x7fffff00 // 2"
    program = (
        "import struct, sys\n"
        "text = sys.stdin.buffer.read()\n"
        f"size = 2 * ({frames})\n"
        "head = b'RIFF' + struct.pack('<I', 36 + size) + b'WAVEfmt ' + struct.pack("
        "'<IHHIIHH', 16, 1, 1, 8000, 16000, 2, 16) + b'data' + struct.pack('<I', size)\n"
        "sys.stdout.buffer.write(head + bytes(2 * 800 * len(text)))"
    )
    speech = ProgramSpeech([sys.executable, "-c", program]).speak("Hello")
    assert speech.seconds == pytest.approx(0.5, abs=0.01) and speech.synthesis > 0


def test_programs_that_fail_say_so():
    for command in (["no-such-program-at-all"], [sys.executable, "-c", "print('no audio')"]):
        with pytest.raises(SpeechError, match="no speech for 'Hi'"):
            ProgramSpeech(command).speak("Hi")
    with pytest.raises(ValueError, match="command: expected a program"):
        ProgramSpeech("espeak")
