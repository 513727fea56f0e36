"""`hogwild think` and `hogwild chat`: what is shown, what is typed, and what reaches the session."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import hogwild
from engine.tiny import make_model
from fakes import ToyTokenizer
from hogwild.cli import think as command
from hogwild.cli.app import run
from hogwild.cli.conversation import ConversationState
from hogwild.cli.conversation_readers import PlainConversation
from hogwild.cli.keyboard import Keyboard, Line
from hogwild.cli.panes import draw
from hogwild.engine.events import (
    AnswerEvent,
    FinishEvent,
    InputEvent,
    ModeEvent,
    ProbeEvent,
    RollbackEvent,
    StartEvent,
    TokenEvent,
)
from hogwild.engine.trace import read_trace
from hogwild.protocols.async_reasoning import Safety
from hogwild.protocols.async_reasoning.policies import Answer


def said(text, forward, worker="writer", source="sampled"):
    return TokenEvent(worker=worker, token=1, text=text, source=source, forward=forward, time=forward / 10)


EVENTS = [
    StartEvent(protocol="async_reasoning", problem="How much?", workers=["thinker", "writer"]),
    ModeEvent(mode="thinker_only"),
    said("[head]", 0, "thinker", "inserted"),
    said("Let me see. ", 1, "thinker"),
    ProbeEvent(worker="thinker", question="begin", yes=0.7, no=0.1, verdict="yes", forward=2),
    ModeEvent(mode="thinker_and_writer", forward=2),
    said("It is ", 3),
    said("five. ", 4),
    RollbackEvent(worker="writer", tokens=1, text="five. ", forward=5, time=0.5),
    said("[ask]", 5, source="inserted"),
    said("\x1b[31mfour.", 6),
    InputEvent(text="And then?", forward=6, time=0.6),
    AnswerEvent(worker="writer", text="4", forward=7, time=0.7),
    FinishEvent(reason="eos", forwards=7, tokens=4, forward=7, time=0.7, seconds=0.7),
]


def state_of(events):
    state = ConversationState()
    for event in events:
        state.apply(event)
    return state


def screen(state, width=100, height=14, **options):
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    console.print(draw(state, width, height, **options), end="")
    return console.file.getvalue()


def test_a_conversation_so_far():
    state = state_of(EVENTS[:-2])
    assert state.text == "It is\n\n\x1b[31mfour." and state.mode == "thinker_and_writer"
    assert state.said == [("user", "How much?"), ("user", "And then?")]
    assert state.tokens == 4 and state.probes == 1 and state.delays.first_forward == 3
    done = state_of(EVENTS)
    assert done.said[-1] == ("answer", "It is\n\n\x1b[31mfour.") and done.text == ""


@pytest.mark.parametrize(("width", "height"), [(120, 20), (60, 24), (20, 6), (3, 3)])
def test_panes_fill_the_screen_and_obey_no_control_characters(width, height):
    shown = screen(state_of(EVENTS[:-2]), width, height, typed="hello")
    lines = shown.splitlines()
    assert len(lines) == height and all(len(line) <= width for line in lines)
    assert "\x1b" not in shown


def test_what_the_panes_show():
    state = state_of(EVENTS[:-2])
    shown = screen(state, 160, 16, typed="what about")
    for text in (
        "thoughts (private)",
        "Let me see.",
        "> How much?",
        "It is ",
        "␛[31mfour.",
        "thinking and writing",
    ):
        assert text in shown
    assert "first word after 0.3 s, 3 forwards" in shown and "1 question" in shown and "> what about" in shown
    assert "Esc breaks the answer off" in screen(state, 160, 16, typed="")
    hidden = screen(state, 160, 16, thoughts=False)
    assert "Let me see" not in hidden and "[ask]" not in hidden


@pytest.mark.parametrize("width", [72, 80, 100, 160])
def test_the_delays_are_whole_where_there_is_room_for_two_lines(width):
    shown = " ".join(screen(state_of(EVENTS[:-2]), width, 24, typed="").split())
    assert "first word after 0.3 s, 3 forwards · silence 0.6 s, longest 0.6 s · 1 question" in shown


def test_plain_text_is_the_answer_only():
    for thoughts in (False, True):
        out, log = io.StringIO(), io.StringIO()
        with PlainConversation(out, log, thoughts) as reader:
            for event in EVENTS:
                reader.read(event)
        assert out.getvalue() == "It is\n\n␛[31mfour.\n"
        assert ("Let me see." in log.getvalue()) is thoughts
        assert "first word after 0.3 s" in log.getvalue()


def test_a_line_that_is_typed():
    heard = []
    line = Line(lambda text: heard.append(text), lambda: heard.append("ESC"), lambda: heard.append("END"))
    for keys in (
        "ab",
        "\x7f",
        "c",
        "\x1b[A",
        "\x04",
        "\r",
        "\r",
        "\x1b",
        "xy",
        "\x15",
        "z\n",
        "\x04",
        "\x00",
    ):
        line.type(keys)
    assert heard == ["ac", "ESC", "z", "END"]
    assert line.text == ""


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("stop\r\x1b", ["stop", "ESC"]),
        ("\x1b\x1b", ["ESC", "ESC"]),
        ("a\x1b[Ab\x1bOP\x1b[1;5Cc\x1bxd\r", ["abcd"]),
        ("\x1b[3~", []),
    ],
)
def test_keys_that_come_together(keys, expected):
    """As over a slow line: none is lost, and no part of an escape sequence becomes text."""
    heard = []
    line = Line(heard.append, lambda: heard.append("ESC"), lambda: heard.append("END"))
    line.type(keys)
    assert heard == expected and line.text == ""


def test_keys_of_a_real_terminal(monkeypatch):
    leader, follower = pty.openpty()
    heard, typed, sent = [], [], b"early\n"

    class Noting(Line):
        def type(self, keys):
            super().type(keys)
            typed.append(keys)

    line = Noting(heard.append, lambda: heard.append("ESC"), lambda: heard.append("END"))
    with os.fdopen(follower) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        os.write(leader, b"early\n")  # while the model is loaded, say
        with Keyboard(line):
            for keys in (b"gr\xc3", b"\xbcezi\r", b"\x1b", b"\x1b[D", b"\x04"):
                os.write(leader, keys)
                sent += keys.replace(b"\r", b"\n")  # as the terminal does
                deadline = time.monotonic() + 60
                while "".join(typed) != sent.decode(errors="ignore"):
                    assert time.monotonic() < deadline, typed
                    time.sleep(0.002)
        assert heard == ["early", "grüezi", "ESC", "END"]
    os.close(leader)


# ------------------------------------------------------------------ the commands


def tiny_engine():
    model = make_model()
    model.generation_config.eos_token_id = None
    return hogwild.Engine(model, ToyTokenizer([" yes", " no"]))


@pytest.fixture
def engine(monkeypatch):
    made = tiny_engine()
    monkeypatch.setattr(command, "make_engine", lambda request, preparation: made)
    return made


def test_think_writes_the_answer_and_records_the_run(engine, capsys, tmp_path):
    trace = tmp_path / "run.jsonl"
    arguments = [
        "think",
        "Add 2 and 3.",
        "--max-forwards",
        "12",
        "--policy",
        "always-on",
        "--trace",
        str(trace),
    ]
    assert run(arguments) == 0
    shown = capsys.readouterr()
    events = list(read_trace(trace))
    state = state_of(events)
    assert isinstance(events[-1], FinishEvent) and events[-1].reason == "max_forwards"
    from hogwild.cli.text import printable

    assert shown.out == printable(state.said[-1][1].strip()) + "\n"
    assert "12 forwards" in shown.err or "13 forwards" in shown.err
    assert engine.pool.used_pages == 0


def test_think_in_json_is_one_event_a_line(engine, capsys):
    assert (
        run(["think", "Add.", "--max-forwards", "5", "--policy", "fixed-ratio:think=2,write=9", "--json"])
        == 0
    )
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["type"] == "start" and events[-1]["type"] == "finish"
    assert events[0]["settings"]["policy_settings"]["think"] == 2
    assert [e["mode"] for e in events if e["type"] == "mode"] == ["thinker_only", "thinker_and_writer"]


@pytest.mark.parametrize("hold", [2, 4])
def test_the_safety_mode_takes_its_settings(engine, capsys, monkeypatch, hold):
    judge = Safety.judge  # the random model judges nothing; what is checked is when it is asked
    monkeypatch.setattr(
        Safety, "judge", lambda self, ask, answer, *rest: judge(self, ask, Answer(0, -9), *rest)
    )
    arguments = ["--safety", "--safety-hold", str(hold), "--safety-every", "3", "--max-forwards", "16"]
    assert run(["think", "Add.", "--policy", "always-on", *arguments, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    checks = [(e["question"], e["forward"]) for e in events if e["type"] == "probe"]
    assert checks[0] == ("request", 1 + hold)  # the first forward writes the prompts
    assert checks[1] == ("answer", 1 + hold + 3 + 1)  # asked in the forward behind the third


def test_chat_reads_a_turn_a_line(engine, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("One.\n\nTwo.\nThree.\n"))
    assert run(["chat", "--max-forwards", "3", "--policy", "always-on", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["problem"] == "One."
    assert [e["text"] for e in events if e["type"] == "input"] == ["Two.", "Three."]
    assert sum(e["type"] == "answer" for e in events) == 3 and events[-1]["reason"] == "eos"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["chat"]) == 2
    assert "MESSAGE: expected some text" in capsys.readouterr().err
    monkeypatch.setattr(command, "make_engine", lambda *_: pytest.fail("a model was loaded"))
    assert run(["chat", " "]) == 2
    assert "MESSAGE: expected some text" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["two \udcff", "two " * 100_000])
def test_a_wrong_line_ends_a_chat_properly(engine, capsys, monkeypatch, tmp_path, line):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"One.\n{line}\nThree.\n"))
    trace = tmp_path / "run.jsonl"
    options = ["--max-forwards", "3", "--policy", "always-on", "--json", "--trace", str(trace)]
    assert run(["chat", *options]) == 1
    out, err = capsys.readouterr()
    assert "a line of stdin: text: expected" in err
    for lines in (out.splitlines(), trace.read_text().splitlines()):
        last = json.loads(lines[-1])
        assert last["type"] == "finish" and last["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "loud"], "unknown policy 'loud'"),
        (["--policy", "probe:every"], "--policy: expected NAME:setting=value"),
        (["--policy", "probe:loudness=3"], "it has no settings ['loudness']"),
        (["--policy", "probe:every=0"], "every: expected an integer >= 1"),
        (["--method", "dream"], "--method: expected one of async, think, no-think"),
        (["--method", "think", "--policy", "probe"], "are for the method async"),
        (["--max-forwards", "0"], "--max-forwards: expected at least 1"),
        (["--max-thoughts", "0"], "--max-thoughts: expected at least 1"),
        (["--arrangement", "heap"], "unknown arrangement 'heap'"),
        (["--policy", "probe:ride=true"], "unknown ride 'True'; expected one of: "),
        (["--safety", "--safety-hold", "0"], "--safety-hold: expected an integer >= 1"),
        (["--safety", "--safety-every", "0"], "--safety-every: expected an integer >= 1"),
        (
            ["--policy", "probe:every=10,every=20"],
            "--policy: every is set twice in 'probe:every=10,every=20'",
        ),
        (
            ["--method", "no-think", "--max-thoughts", "3"],
            "--max-thoughts: the method no-think has no thoughts",
        ),
        (["--safety-every", "9"], "--safety-every is a setting of the safety mode: --safety is missing"),
    ],
)
def test_bad_requests_are_refused_before_a_model_is_loaded(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(command, "make_engine", lambda *_: pytest.fail("a model was loaded"))
    assert run(["think", "Add.", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("hogwild: error") == 1


def test_a_run_that_fails_says_why(engine, capsys, monkeypatch):
    monkeypatch.setattr(engine._batcher, "forward", lambda *_: 1 / 0)
    assert run(["think", "Add."]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert engine.pool.used_pages == 0


@pytest.mark.parametrize("shown", [["--json"], []])
def test_reader_of_our_output_that_stops_reading(engine, monkeypatch, tmp_path, shown):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    path = tmp_path / "run.jsonl"
    for trace in (["--trace", str(path)], []):
        arguments = ["--max-forwards", "400", "--policy", "always-on", *shown, *trace]
        assert run(["think", "Add.", *arguments]) == 141
        assert sys.stderr.getvalue() == ""
        assert engine.pool.used_pages == 0
    # the plain text of this model is one piece, at the very end
    assert list(read_trace(path))[-1].reason == ("cancelled" if shown else "max_forwards")


def test_what_is_typed_reaches_the_session(engine):
    session = engine.think("Add.", policy="always-on", turns=True, max_forwards=4)
    speaker = command.Speaker(session, iter(()), typing=True)
    list(session.turn())
    speaker.line.type("more\r")
    speaker.next_turn()
    assert "more" in [event.text for event in session.turn() if event.type == "input"]
    speaker.line.type("\x1b")
    speaker.line.type("\x04")
    assert list(session)[-1].reason == "eos"
    speaker.line.type("too late\r")  # no error


def test_what_is_typed_and_refused_stays_in_the_line(engine):
    session = engine.think("Add.", policy="always-on", turns=True, max_forwards=4, max_length=200)
    speaker = command.Speaker(session, iter(()), typing=True)
    speaker.line.type("x" * 300 + "\r")
    assert speaker.line.text == "x" * 300
    with pytest.raises(ValueError, match="text: expected at most"):
        command.Speaker(session, iter(["x" * 300]), typing=False).next_turn()
    session.close()


@pytest.mark.slow
def test_ctrl_c_ends_a_chat_that_waits_for_a_line():
    program = (
        "import sys; sys.path[:0] = sys.argv[1:];"
        "from cli.test_think import tiny_engine; from hogwild.cli import think;"
        "think.make_engine = lambda *_: tiny_engine(); from hogwild.cli.app import run;"
        "sys.exit(run(['chat', 'One.', '--max-forwards', '3', '--policy', 'always-on', '--json']))"
    )
    tests = Path(__file__).parents[1]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, str(tests), str(tests / "cli")], **pipes) as chat:
        for line in chat.stdout:
            if json.loads(line).get("mode") == "waiting":
                break
        time.sleep(0.5)
        chat.send_signal(signal.SIGINT)
        events = [json.loads(line) for line in chat.stdout]
        assert chat.wait(timeout=30) == 130
    assert events[-1]["type"] == "finish" and events[-1]["reason"] == "cancelled"
