"""The commands `hogwild eval` and `hogwild compare` around a made-up engine."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("math_verify")
pytest.importorskip("matplotlib")

from made_up import MadeUpEngine
from rich.console import Console

from hogwild.cli import compare
from hogwild.cli.app import run
from hogwild.errors import HogwildError
from hogwild.evaluation import comparison
from hogwild.evaluation.plan import Plan
from hogwild.evaluation.tasks import make_task


@pytest.fixture
def engine(monkeypatch):
    made_up = MadeUpEngine()
    monkeypatch.setattr(compare, "make_engine", lambda request, preparation: made_up)
    return made_up


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"problem": f"p{n}", "answer": n}) + "\n" for n in (7, 8)))
    return str(path)


def test_compare_shows_a_table_and_writes_a_report(engine, data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["compare", "--task", data, "--methods", "sequential, hogwild:2", "--budgets", "2,4"]
    assert run([*command, "--output", str(out), "--temperature", "0.5"]) == 0
    told = capsys.readouterr()
    assert "50.0% ± 50.0" in told.out and f"report: {out}/report.html".replace("\n", "") in told.out.replace(
        "\n", ""
    )
    assert "sequential: 2 of 2, accuracy 50.0%" in told.err
    assert {path.name for path in out.iterdir()} == {
        *("samples", "report.html", "report.md", "summary.json"),
        *("accuracy-forwards.png", "accuracy-seconds.png"),
    }
    assert engine.opened[0].settings["temperature"] == 0.5
    assert run([*command, "--output", str(out), "--temperature", "0.5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [method["method"] for method in facts["methods"]] == ["sequential", "hogwild:2"]
    assert len(engine.opened) == 4  # the second time everything was there


@pytest.mark.parametrize("width", [80, 200])
def test_figures_are_whole_where_there_is_little_room(engine, data, tmp_path, width):
    method = "hogwild:2:interleaved:no-question"
    plan, out = Plan(budgets=(2, 16384)), tmp_path / "out"
    console = Console(width=width)
    with console.capture() as capture:
        console.print(
            compare._table(comparison.compare(engine, make_task(data), ["sequential", method], plan, out))
        )
    shown = capture.get()
    assert "…" not in shown and shown.count("50.0% ± 50.0") == 4 and shown.count("16,384") == 4
    assert "hogwild:2" in shown and (width < 200 or method in shown)


def test_eval_of_one_method_after_the_other_makes_a_comparison(engine, data, tmp_path, capsys):
    command = ["eval", "--task", data, "--budgets", "4", "--output", str(tmp_path / "out"), "--json"]
    assert run([*command, "--method", "hogwild:2"]) == 0
    assert run([*command, "--method", "sequential", "--traces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [method["method"] for method in json.loads(lines[1])["methods"]] == ["sequential", "hogwild:2"]
    assert len(list((tmp_path / "out" / "traces" / "sequential").iterdir())) == 2


def test_a_report_of_somebody_else_is_not_replaced(engine, data, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "report.md"
    mine.write_text("mine")
    assert run(["compare", "--task", data, "--methods", "sequential", "--output", str(mine.parent)]) == 2
    assert f"--output: {mine} would be replaced" in capsys.readouterr().err
    assert mine.read_text() == "mine" and engine.opened == [] and list(mine.parent.iterdir()) == [mine]


def test_traces_of_what_was_run_before_are_missed(engine, data, tmp_path, capsys):
    command = ["eval", "--task", data, "--budgets", "4", "--output", str(tmp_path / "out"), "--json"]
    assert run([*command, "--method", "sequential", "--traces"]) == 0
    assert run([*command, "--method", "sequential", "--traces"]) == 0
    assert "trace" not in capsys.readouterr().err  # they are there
    assert run([*command, "--method", "hogwild:2", "--samples", "1"]) == 0
    capsys.readouterr()
    assert run([*command, "--method", "hogwild:2", "--traces"]) == 0
    said = "hogwild:2: 1 runs that are there already have no trace, and are not run again for one"
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert len(list((tmp_path / "out" / "traces" / "hogwild-2").iterdir())) == 1


def test_where_all_runs_failed_the_command_fails(engine, data, tmp_path, capsys):
    engine.fails = lambda protocol: HogwildError("no room") if protocol.method == "sequential" else None
    options = ["--task", data, "--budgets", "2,4", "--output", str(tmp_path / "out"), "--json"]
    for command in (["eval", "--method", "sequential"], ["compare", "--methods", "sequential"]):
        assert run([*command, *options]) == 1
        told = capsys.readouterr()
        assert "error: 2 of 2 runs failed, the first of them: no room" in told.err
        (method,) = json.loads(told.out)["methods"]
        assert method["failed"] == 2 and method["budgets"][0]["seconds"] is None
    assert run(["compare", "--methods", "sequential,hogwild:2", *options]) == 0  # some are there
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Some runs failed and count as wrong: 2 of 2 with sequential." in page


def test_arithmetic_has_budgets_and_samples_of_its_own(engine, tmp_path, capsys):
    assert (
        run(["eval", "--task", "arith-x5", "--method", "sequential", "--output", str(tmp_path), "--json"])
        == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["budgets"] == [32, 64, 128] and facts["problems"] == 16


def test_ctrl_c_says_how_to_go_on(engine, data, tmp_path, capsys):
    def interrupt():
        raise KeyboardInterrupt

    engine.forward = interrupt
    assert run(["eval", "--task", data, "--method", "sequential", "--output", str(tmp_path / "out")]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert all(session.cancelled for session in engine.sessions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "gsm9k"], "unknown task 'gsm9k'"),
        (["--task", "none.jsonl"], "none.jsonl: there is no such file"),
        (["--task", "arith-x5", "--budgets", "8,4"], "budgets: expected whole numbers above 0, each larger"),
        (["--task", "arith-x5", "--budgets", "8;4"], "budgets: expected whole numbers with commas"),
        (["--task", "arith-x5", "--method", "hogwild:x"], "method 'hogwild:x'"),
        (
            ["--task", "arith-x5", "--method", "thinking"],
            "unknown method 'thinking'; expected one of: sequential, self-consistency, skeleton, hogwild, async, think",
        ),
        (["--task", "arith-x5", "--output", "/dev/null"], "--output: cannot write to /dev/null"),
        (["--task", "arith-x5", "--output", "/dev/null/a/b"], "--output: cannot write to /dev/null/a/b"),
        (["--task", "arith-x5", "--method", "async", "--output", "/dev/null"], "--output: cannot write"),
        (["--task", "arith-x5", "--method", "think:probe"], "method: 'think' has no settings"),
        (["--task", "arith-x5", "--method", "async:often"], "unknown policy 'often'"),
        (["--task", "arith-x5", "--method", "async", "--budgets", "8,16"], "budgets: the method 'async'"),
        (["--task", "arith-x5", "--method", "no-think", "--family", "generic"], "family: the method"),
        (["--task", "arith-x5", "--family", "none"], "unknown family 'none'"),
        (["--task", "arith-x5", "--samples", "0"], "samples: expected an integer >= 1"),
        (["--task", "arith-x5", "--at-once", "0"], "at_once: expected an integer >= 1"),
        (["--task", "arith-x5", "--temperature", "-1"], "temperature: expected a finite number"),
        (["--task", "livecodebench"], "--run-code"),
        (["--task", "arith-x5", "--data", "rows.jsonl"], "reads no other file"),
    ],
)
def test_bad_requests_are_refused_before_a_model_is_loaded(
    engine, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    method = [] if "--method" in options else ["--method", "sequential"]
    assert run(["eval", *options, *method]) == 2
    told = capsys.readouterr()
    assert message in told.err and told.out == "" and engine.opened == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_the_fields(engine, tmp_path, capsys):
    (tmp_path / "mine.jsonl").write_text('{"question": "?", "answer": 1}\n')
    assert run(["compare", "--task", str(tmp_path / "mine.jsonl")]) == 2
    assert "row 1: no field 'problem'; it has question, answer" in capsys.readouterr().err
