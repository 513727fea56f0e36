"""`hogwild replay` shows what was recorded, and says where a trace is broken."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from runs import make_run

from hogwild.cli import replay
from hogwild.cli.app import run
from hogwild.engine.events import AnswerEvent, Event, FinishEvent, RollbackEvent, StartEvent, TokenEvent
from hogwild.engine.trace import TraceWriter


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as writer:
        for event in make_run(2, forwards=30, seconds_per_forward=10.0):
            writer.write(event)
    return path


def test_shows_the_same_text_as_the_run(trace, capsys):
    assert run(["replay", str(trace)]) == 0
    out, log = capsys.readouterr()
    assert "Alice [1]: The tens give 30 + 40 = 70" in out
    assert "30 forwards · 60 tokens · 0.2 tokens/s · 300.0 s · out of forwards" in log


def test_json_gives_the_events_back(trace, capsys):
    assert run(["replay", str(trace), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Event.from_json(line) for line in lines] == make_run(2, forwards=30, seconds_per_forward=10.0)


def test_speed_divides_the_time_of_the_run(trace, capsys, monkeypatch):
    now, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert run(["replay", str(trace), "--speed", "4"]) == 0
    assert now == pytest.approx(300.0 / 4)
    slept.clear()
    assert run(["replay", str(trace), "--instant"]) == 0
    assert slept == []


def test_a_conversation_is_shown_as_it_was(tmp_path, capsys):
    """The answer without what was taken back, and no thoughts."""

    def said(text, worker="writer", source="sampled"):
        return TokenEvent(worker=worker, token=1, text=text, source=source)

    with TraceWriter(tmp_path / "run.jsonl") as writer:
        for event in (
            StartEvent(protocol="async_reasoning", problem="How much?", workers=["thinker", "writer"]),
            said("Answer:", source="inserted"),
            said("Let me see.", "thinker"),
            *map(said, ("It is", " four", " or")),
            RollbackEvent(worker="writer", tokens=2, text=" four or"),
            said(" ...", source="inserted"),
            said(" Five."),
            AnswerEvent(worker="writer", text="Five."),
            FinishEvent(reason="eos", forwards=9, tokens=5, forward=9),
        ):
            writer.write(event)
    assert run(["replay", str(tmp_path / "run.jsonl")]) == 0
    out, log = capsys.readouterr()
    assert out == "It is\n\nFive.\n" and "ended · 9 forwards" in log


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf"])
def test_speed_must_be_positive(trace, capsys, speed):
    assert run(["replay", str(trace), "--speed", speed]) == 2
    assert "--speed: expected a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda lines: [*lines[:4], "{not json", *lines[5:]], "line 5: not an event"),
        (lambda lines: [*lines[:4], '{"type": "dance"}'], "line 5: not an event: unknown event type 'dance'"),
        (lambda lines: [*lines[:6], lines[6][: len(lines[6]) // 2], ""], "line 7: not an event"),
        (lambda lines: [*lines[:1], lines[1][: len(lines[1]) // 2]], "line 2: not an event"),
        (
            lambda lines: [*lines[:4], '{"type": "mode", "mode": "\\ud83d"}'],
            "line 5: not an event: an event is Unicode",
        ),
        (
            lambda lines: [*lines[:4], '{"type": "mode", "mode": "x", "time": NaN}'],
            "line 5: not an event: expected finite numbers, got NaN",
        ),
        (
            lambda lines: [*lines[:4], '{"type": "mode", "mode": "x", "time": "x"}'],
            "line 5: not an event: event 'mode': time: expected a finite number, got 'x'",
        ),
        (lambda lines: lines[1:], "line 1: not a trace"),
        (lambda lines: ["[" * 100_000], "line 1: not a trace"),
        (lambda lines: [], "line 1: not a trace"),
        (lambda lines: lines[:1], "holds no events"),
    ],
)
def test_broken_trace_is_refused_with_the_line(trace, capsys, change, said):
    lines = change(trace.read_text().splitlines())
    trace.write_text("\n".join(lines) + ("\n" if len(lines) > 2 else ""))
    assert run(["replay", str(trace)]) == 2
    out, log = capsys.readouterr()
    assert out == "" and len(log.splitlines()) == 1 and said in log


@pytest.mark.slow
def test_output_in_an_encoding_without_the_characters(tmp_path):
    """They are written as numbers, which JSON reads back."""
    said = TokenEvent(worker="A", token=1, text="\xe9 \u20ac \U0001f600", source="sampled")
    with TraceWriter(tmp_path / "run.jsonl") as writer:
        for event in (StartEvent(protocol="collaboration", workers=["A"]), said):
            writer.write(event)
    program = "import sys; from hogwild.cli.app import main; main()"
    for options in (["--json"], []):
        shown = subprocess.run(
            [sys.executable, "-c", program, "replay", str(tmp_path / "run.jsonl"), *options],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not shown.stderr or options == []
        if options:
            assert Event.from_json(shown.stdout.splitlines()[1]) == said
        else:
            assert r"\u00e9 \u20ac \ud83d\ude00" in shown.stdout


def test_a_trace_that_breaks_off_is_shown_up_to_there(trace, capsys):
    """As after a kill: its last line has no end."""
    whole = trace.read_bytes().splitlines(keepends=True)
    trace.write_bytes(b"".join(whole[:6]) + whole[6][: len(whole[6]) // 2])
    assert run(["replay", str(trace), "--json"]) == 0
    out, log = capsys.readouterr()
    told = make_run(2, forwards=30, seconds_per_forward=10.0)
    assert [Event.from_json(line) for line in out.splitlines()] == told[:5]
    assert "the trace breaks off" in log and "line 7" in log
    trace.write_bytes(b"".join(whole[:40]))
    assert run(["replay", str(trace)]) == 0
    out, log = capsys.readouterr()
    assert "Alice [1]: The tens" in out and "Bob [1], unfinished: I see that" in out and log == ""


def test_file_that_cannot_be_read(tmp_path, capsys):
    path = tmp_path / "x"
    assert run(["replay", str(path)]) == 2
    assert f"cannot read the trace {path}" in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe\x00binary")
    assert run(["replay", str(path)]) == 2
    assert f"{path}, line 1: not a trace" in capsys.readouterr().err


def test_ctrl_c_during_a_replay(trace, monkeypatch, capsys):
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    monkeypatch.setattr(replay, "on_terminal", lambda: True)
    assert run(["replay", str(trace)]) == 130
