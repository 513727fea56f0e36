"""`hogwild solve` from its arguments to its exit code, on an engine that follows a script."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest

from hogwild.cli.app import run
from hogwild.cli.solve import parse_workers
from hogwild.engine.events import Event, FinishEvent, TokenEvent
from hogwild.engine.trace import read_trace
from hogwild.errors import PoolExhausted


def test_json_on_stdout_is_the_trace_in_the_file(engine, capsys, tmp_path):
    path = tmp_path / "run.jsonl"
    assert run(["solve", "What is 37 + 48?", "--json", "--trace", str(path)]) == 0
    events = [Event.from_json(line) for line in capsys.readouterr().out.splitlines()]
    assert events == list(read_trace(path))
    assert isinstance(events[-1], FinishEvent) and events[-1].reason == "max_forwards"
    assert engine.session.closed


def test_plain_text_when_stdout_is_not_a_terminal(engine, capsys):
    assert run(["solve", "What is 37 + 48?"]) == 0
    out, log = capsys.readouterr()
    assert "Bob [1]: I see that Alice already adds the ones" in out
    assert "30 forwards · 60 tokens" in log and "tokens/s" not in out


def test_arguments_reach_the_engine(engine, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("  a problem\nin two lines\n"))
    arguments = [
        "--workers",
        "Ann, Ben",
        "--layout",
        "interleaved",
        "--max-forwards",
        "7",
        "--top-p",
        "0.9",
        "--seed",
        "3",
    ]
    assert run(["solve", "-", *arguments]) == 0
    assert engine.asked == {
        "problem": "a problem\nin two lines",
        "workers": ["Ann", "Ben"],
        "layout": "interleaved",
        "max_forwards": 7,
        "top_p": 0.9,
        "seed": 3,
    }


def test_what_is_not_asked_for_is_left_to_the_defaults(engine, capsys):
    assert run(["solve", "x"]) == 0
    assert engine.asked == {"problem": "x", "workers": 2, "layout": "combined", "max_forwards": 256}


def test_other_methods_budgets_and_families(engine, capsys):
    assert run(["solve", "x", "--method", "skeleton:2", "--family", "qwen3", "--budgets", "4, 8,16"]) == 0
    assert engine.asked == {
        "method": "skeleton:2",
        "problem": "x",
        "max_forwards": 16,
        "budgets": [4, 8, 16],
        "early_finish": True,
        "family": "qwen3",
    }
    assert run(["solve", "x", "--method", "sequential", "--max-forwards", "9"]) == 0
    assert engine.asked == {"method": "sequential", "problem": "x", "max_forwards": 9, "early_finish": False}
    assert run(["solve", "x", "--method", "self-consistency:3"]) == 0
    assert engine.asked["early_finish"] is True  # otherwise its threads would write for nothing
    assert run(["solve", "x", "--early-finish"]) == 0
    assert engine.asked["early_finish"] is True and engine.asked["max_forwards"] == 256


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--method", "hogwyld"], "unknown method 'hogwyld'"),
        (["--method", "hogwild:0"], "method 'hogwild:0': workers: expected a whole number"),
        (["--method", "hogwild:2", "--workers", "3"], "--workers, --layout: they go with no --method"),
        (["--method", "sequential", "--layout", "combined"], "--workers, --layout: they go with no --method"),
        (["--budgets", "8,4"], "--budgets: expected ascending numbers, got '8,4'"),
        (["--budgets", "8,x"], "--budgets: expected whole numbers such as 64,128,256, got '8,x'"),
        (["--budgets", "8,16", "--max-forwards", "9"], "--budgets: expected none above --max-forwards 9"),
        (["--family", "qwen4"], "unknown family 'qwen4'"),
        (["--family", "no/such.yaml"], "no/such.yaml: cannot be read as a family"),
    ],
)
def test_wrong_methods_budgets_and_families_are_refused_at_once(engine, capsys, arguments, message):
    assert run(["solve", "x", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert engine.asked == {}


def test_a_file_that_is_no_trace_is_not_replaced(engine, capsys, tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# Mine\n")
    assert run(["solve", "x", "--trace", str(path)]) == 2
    assert f"--trace: {path} is there, and not a recorded run" in capsys.readouterr().err
    assert path.read_text() == "# Mine\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_after_the_forward_and_leaves_a_whole_trace(engine, capsys, tmp_path, number):
    path = tmp_path / "run.jsonl"

    def interrupt(forward: int) -> None:
        if forward == 5:
            os.kill(os.getpid(), number)

    engine.before_forward = interrupt
    before = signal.getsignal(number)
    assert run(["solve", "x", "--trace", str(path)]) == 130
    assert signal.getsignal(number) is before
    events = list(read_trace(path))
    assert events[-1].reason == "cancelled" and events[-1].forwards == 5
    assert max(event.forward for event in events if isinstance(event, TokenEvent)) == 5
    out, log = capsys.readouterr()
    assert "Alice [1], unfinished: The tens give 30 +" in out
    assert "cancelled" in log and engine.session.closed


def test_second_ctrl_c_does_not_wait_for_the_forward(engine, capsys, tmp_path):
    path = tmp_path / "run.jsonl"

    def interrupt_twice(forward: int) -> None:
        if forward == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second Ctrl-C was not heeded")

    engine.before_forward = interrupt_twice
    assert run(["solve", "x", "--trace", str(path)]) == 130
    assert list(read_trace(path))[-1].reason == "cancelled"


def test_error_during_the_run_is_shown_and_recorded(engine, capsys, tmp_path):
    path = tmp_path / "run.jsonl"

    def exhaust(forward: int) -> None:
        if forward == 3:
            raise PoolExhausted(4, 1, 32)

    engine.before_forward = exhaust
    assert run(["solve", "x", "--trace", str(path)]) == 1
    finish = list(read_trace(path))[-1]
    assert finish.reason == "error" and "4 pages" in finish.message
    log = capsys.readouterr().err.splitlines()
    assert log[-1].startswith("hogwild: error: after 2 forwards: pool exhausted: 4 pages")
    assert engine.session.closed


def test_reader_of_our_output_that_stops_reading(engine, tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            if self.tell() > 2000:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert run(["solve", "x", "--json", "--trace", str(path)]) == 141
    assert sys.stderr.getvalue() == ""
    assert list(read_trace(path))[-1].reason == "cancelled"
    assert engine.session.closed


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["x", "--workers", "0"], "--workers: expected at least 1, got 0"),
        (["x", "--workers", "-3"], "--workers: expected at least 1, got -3"),
        (["x", "--workers", "2.5"], "--workers: expected a whole number, or names"),
        (["x", "--workers", "1e3"], "--workers: expected a whole number, or names"),
        (["x", "--workers", "²"], "--workers: expected a whole number, or names"),
        (["x", "--workers", "+-2"], "--workers: expected a whole number, or names"),
        (["x", "--workers", ""], "--workers: expected a number, or different names"),
        (["x", "--device", "gpu"], "--device: cannot use 'gpu'"),
        (["x", "--device", "cuda:99"], "--device: cannot use 'cuda:99'"),
        (["x", "--device", "meta"], "--device: cannot use 'meta'"),
        (["x", "--dtype", "int8"], "--dtype: expected one of auto, float32, bfloat16, float16, got 'int8'"),
        (["x", "--workers", "Ann,,Ben"], "'Ann,,Ben'"),
        (["x", "--workers", "Ann,Ann"], "different names"),
        (["x", "--workers", "17"], "--workers: expected at most 16, got 17"),
        (["x", "--workers", "9" * 26], "--workers: expected at most 16, got 9999"),
        (
            ["x", "--layout", "circle"],
            "unknown layout 'circle'; expected one of: combined, contiguous, interleaved",
        ),
        (["x", "--max-forwards", "0"], "--max-forwards: expected at least 1, got 0"),
        (["x", "--temperature", "-1"], "temperature: expected a finite number >= 0"),
        (["x", "--temperature", "nan"], "temperature"),
        (["x", "--repetition-penalty", "0"], "repetition_penalty: expected a finite number >= 1e-05"),
        (["x", "--top-p", "2"], "top_p: expected a number in (0, 1]"),
        (["x", "--top-k", "many"], "--top-k"),
        (["x", "--trace", "/no/such/folder/run.jsonl"], "--trace: cannot write /no/such/folder/run.jsonl"),
        (["  "], "PROBLEM is empty"),
        ([], "PROBLEM"),
        (["x", "--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(engine, capsys, arguments, said):
    assert run(["solve", *arguments]) == 2
    out, log = capsys.readouterr()
    assert out == "" and len(log.splitlines()) == 1
    assert log.startswith("hogwild: error: ") and said in log
    assert engine.asked == {}


def test_unknown_model_is_one_line_and_exit_code_2(capsys, tmp_path):
    path = tmp_path / "run.jsonl"
    older = '{"format": "hogwild-trace", "version": 1}\n'
    path.write_text(older)
    assert run(["solve", "x", "--model", "no/such/model", "--trace", str(path)]) == 2
    log = capsys.readouterr().err.splitlines()
    assert log[-1].startswith("hogwild: error: unknown model 'no/such/model'")
    assert not any("Traceback" in line for line in log)
    assert path.read_text() == older


def test_debug_lets_the_error_through(engine):
    with pytest.raises(ValueError, match="--workers"):
        run(["solve", "x", "--workers", "0", "--debug"])


def test_workers_by_number_or_name():
    assert parse_workers("3") == 3
    assert parse_workers("٣") == 3
    assert parse_workers("Ann") == ["Ann"]
    assert parse_workers("Nan") == ["Nan"] and parse_workers("R2D2") == ["R2D2"]
    assert parse_workers(" Ann , Ben") == ["Ann", "Ben"]
