"""`hogwild eval` for methods that think and speak: records that go on, a table, a plot."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("math_verify")
pytest.importorskip("matplotlib")

import hogwild
from engine.tiny import make_model
from fakes import ToyTokenizer
from hogwild.cli import compare
from hogwild.cli.app import run
from hogwild.evaluation import plots
from hogwild.evaluation.listening import ThinkRecordFile


@pytest.fixture
def engine(monkeypatch):
    model = make_model()
    model.generation_config.eos_token_id = None
    engine = hogwild.Engine(model, ToyTokenizer([" yes", " no"]))
    monkeypatch.setattr(compare, "make_engine", lambda request, preparation: engine)
    return engine


@pytest.fixture
def command(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"problem": f"{n} + 1?", "answer": n + 1}) + "\n" for n in (1, 2)))
    return ["eval", "--task", str(path), "--budgets", "12", "--output", str(tmp_path / "out")]


def test_methods_into_one_folder_are_points_of_one_plot(engine, command, tmp_path, capsys):
    for method in ("no-think", "async:always-on", "think"):
        assert run([*command, "--method", method, "--traces", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [m["method"] for m in facts["methods"]] == ["async:always-on", "no-think", "think"]
    assert {m["runs"] for m in facts["methods"]} == {2} and {m["failed"] for m in facts["methods"]} == {0}
    first = {m["method"]: m["first_forward"] for m in facts["methods"]}
    assert first["no-think"] == first["async:always-on"] == 2  # the prompt, then a word
    assert first["think"] is None  # all of the budget went into thoughts
    assert facts["max_forwards"] == 12 and facts["problems"] == 2
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"delays", "traces", "delays.json", "accuracy-delay.png"}
    assert json.loads((out / "delays.json").read_text()) == facts
    assert len(list((out / "traces" / "think").iterdir())) == 2
    assert engine.pool.used_pages == 0


def test_every_point_of_the_plot_can_be_told_from_the_others():
    """Also where two are close to each other, and their names are long."""
    points = {
        "async:always-on": (1.0, 0.3),
        "async:fixed-ratio:think=5,write=20": (1.1, 0.3),
        "think": (9.0, 0.4),
    }
    figure = plots.accuracy_against_delay(points, "title")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(points)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    drawn = {line.get_label(): (*line.get_xdata(), *line.get_ydata()) for line in axes.lines}
    assert drawn == {name: (delay, 100 * accuracy) for name, (delay, accuracy) in points.items()}
    assert len({line.get_marker() for line in axes.lines}) == len(points)


def test_runs_that_fail_are_counted_and_make_nothing_quicker(engine, command, tmp_path, monkeypatch, capsys):
    line = [*command, "--method", "no-think"]
    fails = {"1 + 1?", "2 + 1?"}
    thinking, drawn = engine.thinking, []

    def limited(text, method, **options):
        return thinking(text * 1000 if text in fails else text, method, **options)  # no room for it

    monkeypatch.setattr(engine, "thinking", limited)
    draw = plots.accuracy_against_delay
    monkeypatch.setattr(
        plots, "accuracy_against_delay", lambda points, title: drawn.append(points) or draw(points, title)
    )
    assert run([*line, "--json"]) == 1
    told = capsys.readouterr()
    assert "error: 2 of 2 runs failed, the first of them: " in told.err
    (method,) = json.loads(told.out)["methods"]
    assert (method["failed"], method["accuracy"], method["delay"], method["forwards"]) == (2, 0.0, None, None)
    assert json.loads((tmp_path / "out" / "delays.json").read_text())["methods"] == [method]
    fails.remove("2 + 1?")
    assert run(line) == 0
    shown = capsys.readouterr().out
    assert "1 of 1" in shown and "Some runs failed" in shown and "1 of 2 with no-think" in shown
    assert [list(points) for points in drawn] == [["no-think (2 of 2 failed)"], ["no-think (1 of 2 failed)"]]
    assert drawn[0]["no-think (2 of 2 failed)"] == (None, 0.0)


def test_the_table_is_whole_in_a_file_and_in_little_room(engine, command, capsys, monkeypatch):
    figures = ["accuracy", "first word", "forwards", "delay", "beyond 1 s", "longest"]
    policy = "async:fixed-ratio:think=3,write=3,longest_silence=20"
    assert run([*command, "--method", policy]) == 0
    shown = capsys.readouterr().out
    assert policy in shown and all(name in shown for name in figures) and "…" not in shown
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command, "--method", policy]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in figures) and "…" not in shown


def test_what_is_there_is_not_run_again(engine, command, tmp_path, monkeypatch, capsys):
    assert run([*command, "--method", "no-think"]) == 0
    told = capsys.readouterr()
    assert "no-think: 2 of 2, accuracy" in told.err and "accuracy-delay.png" in told.out.replace("\n", "")
    path = tmp_path / "out" / "delays" / "no-think.jsonl"
    settings, records = ThinkRecordFile.read(path)
    assert settings["method"] == "no-think" and [record.seed for record in records] == [0, 0]
    ran = []
    thinking = engine.thinking
    monkeypatch.setattr(
        engine, "thinking", lambda text, method, **o: ran.append(o["seed"]) or thinking(text, method, **o)
    )
    assert run([*command, "--method", "no-think", "--runs", "2"]) == 0
    assert ran == [1, 1]
    assert run([*command, "--method", "no-think", "--temperature", "0.5"]) == 2
    assert "was made with sampling" in capsys.readouterr().err


def test_records_of_other_problems_are_refused(engine, command, tmp_path, capsys):
    """Their ids are the same, so else they would be shown as results of the new ones."""
    line = [*command, "--method", "no-think", "--json"]
    assert run(line) == 0 and json.loads(capsys.readouterr().out)["problems"] == 2
    data = tmp_path / "mine.jsonl"
    data.write_text(data.read_text().replace("1 + 1?", "10 + 1?"))
    path = tmp_path / "out" / "delays" / "no-think.jsonl"
    before = path.read_bytes()
    assert run(line) == 2
    told = capsys.readouterr()
    assert told.out == "" and "was made with problems" in told.err and "choose another folder" in told.err
    assert path.read_bytes() == before
    assert (
        run([*command, "--method", "think", "--json"]) == 0
    )  # another method: a folder of both would mix them
    assert [m["method"] for m in json.loads(capsys.readouterr().out)["methods"]] == ["think"]


def test_a_program_that_speaks(engine, command, tmp_path, capsys):
    program = tmp_path / "speak.py"
    program.write_text(
        "import sys, wave\n"
        "with wave.open(sys.stdout.buffer, 'wb') as audio:\n"
        "    audio.setnchannels(1), audio.setsampwidth(2), audio.setframerate(8000)\n"
        "    audio.writeframes(bytes(2 * 8000 * len(sys.stdin.read())))\n"
    )
    line = [*command, "--method", "no-think", "--samples", "1"]
    assert run([*line, "--speech", f"{sys.executable} {program}", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["speech"] == f"{sys.executable} {program}"
    assert (
        facts["methods"][0]["delay"] == facts["methods"][0]["longest"]
    )  # it speaks longer than a chunk takes
    assert run(line) == 2  # what was measured otherwise is not mixed with it
    assert "speech" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "speech", "message"),
    [
        ("no-think", "no-such-program --x", "no-such-program: no speech for 'One.'"),
        ("no-think", "a 'b", "--speech: No closing quotation"),
        ("no-think", "", "--speech: command: expected a program"),
        ("sequential", "true", "--speech: is for the methods async, think, no-think, got 'sequential'"),
    ],
)
def test_speech_is_checked_before_a_model_is_loaded(command, method, speech, message, monkeypatch, capsys):
    monkeypatch.setattr(compare, "make_engine", None)
    assert run([*command, "--method", method, "--speech", speech]) == 2
    assert message in capsys.readouterr().err


def test_compare_takes_such_methods_among_themselves(engine, command, tmp_path, capsys):
    line = [
        "compare",
        *command[1:],
        "--methods",
        "no-think,async:probe:every=3,margin=1e9,async:always-on",
        "--json",
    ]
    assert run(line) == 0
    facts = json.loads(capsys.readouterr().out)
    names = ["async:always-on", "async:probe:every=3,margin=1e9", "no-think"]
    assert sorted(m["method"] for m in facts["methods"]) == names
    assert (tmp_path / "out" / "accuracy-delay.png").is_file()
    assert engine.pool.used_pages == 0


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            "sequential,async",
            "compared with each other, by how long a listener waits, but not with 'sequential'",
        ),
        ("async,async:loud", "unknown policy 'loud'"),
        ("async,think:2", "'think' has no settings, got 'think:2'"),
        ("async:probe:every=2,loudness=3", "it has no settings ['loudness']"),
    ],
)
def test_compare_refuses_what_cannot_be_compared(command, methods, message, monkeypatch, capsys):
    monkeypatch.setattr(compare, "make_engine", lambda *_: pytest.fail("a model was loaded"))
    assert run(["compare", *command[1:], "--methods", methods]) == 2
    assert message in capsys.readouterr().err
