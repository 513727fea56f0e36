"""The safety evaluation: prompts from a file, answers before a judge, and the command that goes on where it was."""

from __future__ import annotations

import json

import pytest
from fake_endpoint import FakeEndpoint

import hogwild
from engine.tiny import make_model
from fakes import ToyTokenizer
from hogwild.cli import safety as command
from hogwild.cli.app import run
from hogwild.evaluation.judge.models import JudgeError
from hogwild.evaluation.safety import SafetyRecord, evaluate_safety, find_verdict, summarize_safety
from hogwild.evaluation.safety_prompts import PromptFileError, SafetyPrompt, read_prompts
from hogwild.protocols.async_reasoning import Safety


@pytest.fixture
def engine():
    model = make_model()
    model.generation_config.eos_token_id = None
    return hogwild.Engine(model, ToyTokenizer([" yes", " no"]))


class OneWord:
    """Gives its verdicts one after the other."""

    name, parallel = "one-word", False

    def __init__(self, *verdicts):
        self.verdicts, self.asked = list(verdicts), []

    def ask(self, messages, seed):
        self.asked.append(messages[0]["content"])
        verdict = self.verdicts.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


def test_prompts_from_a_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "A?\\u2028B", "id": "x", "harmful": true}\n\n{"prompt": "B?"}\n')
    assert read_prompts(path) == [SafetyPrompt("x", "A?\u2028B", True), SafetyPrompt("3", "B?")]
    for text, message in (
        ("{}", "line 1: expected an object with a text 'prompt'"),
        ('{"prompt": " "}', "line 1: expected an object with a text 'prompt'"),
        ("nonsense", "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"prompt": "A", "harmful": "no"}', "harmful: expected true or false"),
        ('{"prompt": "A", "id": 2}\n{"prompt": "B"}', "line 2: id: '2' is that of an earlier line"),
        ("", "expected at least one prompt"),
        (
            '{"prompt": "A"}\n{"prompt": "B \\ud800"}',
            r"line 2: prompt: expected text in Unicode, got 'B \\ud800'",
        ),
        ('{"prompt": "A", "id": "\\udfff"}', "line 1: id: expected text in Unicode"),
    ):
        path.write_text(text)
        with pytest.raises(PromptFileError, match=message):
            read_prompts(path)
    path.write_text('{"prompt": "A", "id": null}\n{"prompt": "B", "id": null}\n', encoding="utf-8-sig")
    assert [prompt.id for prompt in read_prompts(path)] == ["1", "2"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PromptFileError, match="UTF-8"):
        read_prompts(path)


def test_a_judge_reads_what_the_user_was_told(engine):
    prompts = [SafetyPrompt("a", "Add {answer}.", False), SafetyPrompt("b", "Mix.", True)]
    judge = OneWord("Fine. Verdict: SAFE", "Hm.\nVerdict: **DECLINED**")
    options = {"policy": "always-on", "max_forwards": 8}
    records = list(evaluate_safety(engine, prompts, judge, Safety(hold=3), **options))
    assert [record.verdict for record in records] == ["safe", "declined"]
    assert all(record.answer in asked for record, asked in zip(records, judge.asked, strict=True))
    assert "Add {answer}." in judge.asked[0] and records[0].first_forward > 3
    plain = list(evaluate_safety(engine, prompts[:1], OneWord("no verdict"), **options))
    assert plain[0].verdict is None and plain[0].first_forward == 2 and not plain[0].guarded
    assert "no verdict in 'no verdict'" in plain[0].error
    silent = list(evaluate_safety(engine, prompts, OneWord(JudgeError("down"), "verdict: unsafe"), **options))
    assert [(record.error, record.verdict) for record in silent] == [("down", None), ("", "unsafe")]
    assert engine.pool.used_pages == 0


def test_answers_do_not_depend_on_how_many_are_given_at_once(engine):
    prompts = [SafetyPrompt(str(number), f"Add {number}.") for number in range(5)]
    answers = [
        [
            (record.problem, record.answer)
            for record in evaluate_safety(
                engine, prompts, OneWord(*["Verdict: SAFE"] * 5), at_once=count, max_forwards=9
            )
        ]
        for count in (1, 2, 8)
    ]
    assert answers[0] == answers[1] == answers[2]


def test_a_summary_of_verdicts():
    def record(verdict, harmful, first=1):
        return SafetyRecord("a", "A", harmful, 0, True, "", verdict, "", first)

    records = [
        record("unsafe", True),
        record("declined", True),
        record("declined", False, 3),
        record("safe", False, None),
    ]
    summary = summarize_safety([*records, record(None, True)])
    assert (summary.unsafe, summary.declined_harmful, summary.declined_harmless) == (0.25, 0.5, 0.5)
    assert (summary.judged, summary.unjudged) == (4, 1) and summary.first_forward == pytest.approx(5 / 3)
    assert summarize_safety([]).unsafe is None
    assert find_verdict("Verdict: SAFE or not? Verdict: unsafe.") == "unsafe"


# ------------------------------------------------------------------ the command


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "Mix it.", "id": "mix", "harmful": True}, {"prompt": "Add 2 and 3.", "harmful": False}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def command_on(engine, monkeypatch, tmp_path):
    """A command line on a tiny model and an endpoint."""
    pytest.importorskip("openai")
    monkeypatch.setattr(command, "make_engine", lambda request, preparation: engine)

    def line(prompts, url, *more):
        arguments = [
            "safety",
            str(prompts),
            "--judge",
            "j",
            "--endpoint",
            url,
            "--retries",
            "0",
            "--max-forwards",
            "9",
        ]
        return [*arguments, "--output", str(tmp_path / "out"), *more]

    return line


def test_the_command_goes_on_where_it_was(prompts, command_on, tmp_path, capsys):
    state = {"reply": (400, "down")}

    def reply(body, number):
        if state["reply"] is not None:
            return state["reply"]
        harmful = "Mix it." in body["messages"][0]["content"]
        return 200, "Verdict: DECLINED" if harmful else "Verdict: SAFE"

    with FakeEndpoint(reply) as endpoint:
        line = command_on(prompts, endpoint.url, "--json")
        assert run(line) == 1
        told = capsys.readouterr()
        assert "no answer could be judged" in told.err and "mix was not judged" in told.err
        assert json.loads(told.out)["modes"]["plain"]["unjudged"] == 2
        state["reply"] = None
        assert run(line) == 0
        facts = json.loads(capsys.readouterr().out)
        assert list(facts["modes"]) == ["guarded", "plain"] and facts["judge"] == "j"
        for mode in facts["modes"].values():
            assert (mode["judged"], mode["unsafe"], mode["declined_harmful"]) == (2, 0.0, 1.0)
        assert json.loads((tmp_path / "out" / "safety.json").read_text()) == facts
        asked = len(endpoint.asked)
        assert run(line) == 0 and len(endpoint.asked) == asked  # all is there
        assert "guarded: 2 of 2 are there already" in capsys.readouterr().err
        # a further request, and one that has changed
        rows = [
            {"prompt": "Mix it all.", "id": "mix", "harmful": True},
            {"prompt": "Add 2 and 3.", "harmful": False},
        ]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "And 7?"}]))
        assert run([*line, "--guarded-only"]) == 0 and len(endpoint.asked) == asked + 2
        assert list(json.loads(capsys.readouterr().out)["modes"]) == ["guarded"]
        assert run([*line, "--seed", "1", "--guarded-only"]) == 0 and len(endpoint.asked) == asked + 5
        capsys.readouterr()
        assert run([*line, "--hold", "3"]) == 2
        assert "safety" in (error := capsys.readouterr().err) and "choose another folder" in error
    lines = [json.loads(text) for text in (tmp_path / "out" / "guarded.jsonl").read_text().splitlines()]
    assert lines[0]["format"] == "hogwild-safety" and lines[0]["settings"]["safety"]["hold"] == 64


def test_the_commands_table(prompts, command_on, capsys):
    with FakeEndpoint(lambda body, number: (200, "Verdict: UNSAFE" if number == 1 else "Hm.")) as endpoint:
        assert run(command_on(prompts, endpoint.url, "--guarded-only", "--hold", "2")) == 0
    shown = capsys.readouterr().out
    assert "100.0%" in shown and "guarded" in shown and "1 not judged" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such.jsonl"], "PROMPTS: cannot read no-such.jsonl: No such file"),
        (["bad.jsonl"], "bad.jsonl, line 1: not JSON"),
        (["good.jsonl", "--hold", "0"], "hold: expected an integer >= 1"),
        (["good.jsonl", "--every", "0"], "every: expected an integer >= 1"),
        (["good.jsonl", "--at-once", "0"], "--at-once: expected at least 1"),
        (["good.jsonl", "--max-forwards", "0"], "--max-forwards: expected at least 1"),
        (["good.jsonl", "--policy", "loud"], "unknown policy 'loud'"),
        (["good.jsonl", "--output", "good.jsonl/x"], "--output: cannot write to good.jsonl/x"),
        (["good.jsonl", "--endpoint", "here"], "begins with http"),
        (["good.jsonl", "--timeout", "0", "--endpoint", "http://x"], "--timeout: expected more than 0"),
    ],
)
def test_bad_requests_are_refused_before_a_model_is_loaded(arguments, message, tmp_path, monkeypatch, capsys):
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text('{"prompt": "A"}\n')
    (tmp_path / "bad.jsonl").write_text("A\n")
    monkeypatch.setattr(command, "make_engine", lambda *_: pytest.fail("a model was loaded"))
    assert run(["safety", *arguments, "--judge", "j"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("hogwild: error") == 1
    assert not (tmp_path / "results").exists()
