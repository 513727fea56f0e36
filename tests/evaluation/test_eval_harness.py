"""lm-evaluation-harness with our workers as its model."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

import lm_eval.models  # noqa: F401  the harness registers its own models first
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from made_up import MadeUpEngine

from hogwild.errors import HogwildError
from hogwild.evaluation import harness
from hogwild.evaluation.harness import HogwildLM


@pytest.fixture
def make(monkeypatch):
    """Makes the model around a made-up engine."""

    def make(engine=None, **settings):
        engine = engine or MadeUpEngine()
        asked = []
        monkeypatch.setattr(
            harness.Engine, "from_pretrained", lambda name, **where: asked.append((name, where)) or engine
        )
        monkeypatch.setattr(harness, "HFLM", lambda **arguments: arguments)
        lm = HogwildLM(**settings)
        lm.loaded = asked
        return lm

    return make


def request(context, number=0, **settings):
    return Instance(
        "generate_until", {}, (context, {"until": ["\n\n"], "max_gen_toks": 4, **settings}), number
    )


def test_it_is_registered_by_the_name_in_the_entry_point():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    value = project["entry-points"]["lm_eval.models"]["hogwild"]
    entry = importlib.metadata.EntryPoint("hogwild", value, "lm_eval.models")
    assert entry.load() is HogwildLM is get_model("hogwild")


def test_answers_come_back_in_order_and_in_their_format(make):
    engine = MadeUpEngine(lambda protocol, budget: protocol.problem[-1])
    lm = make(engine, workers=3, batch_size=2)
    requests = [request(f"Q {n}", n) for n in range(5)]
    assert lm.generate_until(requests, disable_tqdm=True) == [
        f"The answer is \\boxed{{{n}}}." for n in range(5)
    ]
    assert engine.most == 2
    protocol = engine.opened[0]
    assert protocol.method == "hogwild:3" and protocol.problem == "Q 0"
    assert protocol.settings["budgets"] == (4,) and protocol.settings["temperature"] == 0.0


def test_settings_go_to_the_runs(make):
    engine = MadeUpEngine()
    lm = make(
        engine,
        method="self-consistency:4",
        max_forwards=6,
        answer_format="#### {answer}",
        seed=3,
        family="qwen3",
    )
    assert lm.generate_until(
        [request("Q", do_sample=True, temperature=0.7, top_p=0.9)], disable_tqdm=True
    ) == ["#### 7"]
    (protocol,) = engine.opened
    assert protocol.method == "self-consistency:4"
    expected = {"budgets": (6,), "seed": 3, "family": "qwen3", "temperature": 0.7, "top_p": 0.9}
    assert expected.items() <= protocol.settings.items()


@pytest.mark.parametrize(
    ("form", "reply"),
    [("\\boxed{{{answer}}}", "\\boxed{7}"), ("{{{answer}}} {text}", "{7} Ada1"), ("{answer}{answer}", "77")],
)
def test_formats_of_a_reply(make, form, reply):
    (told,) = make(answer_format=form, method="sequential").generate_until([request("Q", max_gen_toks=1)])
    assert told == reply


def test_without_an_answer_the_reply_is_what_was_written_up_to_the_stop(make):
    lm = make(MadeUpEngine(lambda protocol, budget: None))
    (reply,) = lm.generate_until([request("Q", until=["Ada3", "never"])], disable_tqdm=True)
    assert reply == "Ada1 Ada2 "


def test_a_run_that_fails_stops_the_evaluation(make):
    lm = make(MadeUpEngine(fails=lambda protocol: HogwildError("too long")))
    with pytest.raises(HogwildError, match="a run failed: too long"):
        lm.generate_until([request("Q")], disable_tqdm=True)


def test_a_device_that_the_harness_only_supposes_is_overlooked(make, monkeypatch):
    monkeypatch.setattr(harness.torch.cuda, "is_available", lambda: False)
    assert make(device="cuda:0", dtype="float32").loaded == [("demo", {"device": None, "dtype": "float32"})]
    monkeypatch.setattr(harness.torch.cuda, "is_available", lambda: True)
    assert make(device="cuda:0").loaded[0][1]["device"] == "cuda:0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 2, "method": "sequential"}, "expected workers or method"),
        ({"answer_format": "yes"}, "answer_format: expected {answer}"),
        ({"answer_format": "\\boxed{{answer}}"}, r"answer_format: expected .*are written twice"),
        ({"answer_format": "{answer} {x}"}, "answer_format: expected {answer}"),
        ({"answer_format": "{answer} {}"}, "answer_format: expected {answer}"),
        ({"answer_format": "{answer} }"}, r"answer_format: expected .*\(Single '}' encountered"),
        ({"answer_format": "{answer"}, r"answer_format: expected .*\(expected '}' before end of string\)"),
        ({"answer_format": "{answer.real}"}, "answer_format: expected {answer}"),
        ({"answer_format": "{text} {answer!r}"}, "answer_format: expected {answer}"),
        ({"answer_format": "{answer:>9}"}, "answer_format: expected {answer}"),
        ({"batch_size": "0"}, "batch_size: expected a number"),
        ({"workers": 17}, "workers: expected at most 16, got 17"),
        ({"method": "wild"}, "unknown method 'wild'"),
        ({"max_forwards": 0}, "max_forwards: expected an integer >= 1, got 0"),
        ({"max_forwards": "many"}, "max_forwards: expected an integer"),
        ({"answer_tokens": 0}, "answer_tokens: expected an integer >= 1"),
        ({"family": "qwen99"}, "unknown family 'qwen99'"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_a_model_is_loaded(monkeypatch, settings, message):
    monkeypatch.setattr(harness.Engine, "from_pretrained", None)
    with pytest.raises((ValueError, TypeError, HogwildError), match=message):
        HogwildLM(**settings)


def test_turns_of_a_chat_become_the_problem(make):
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
    ]
    assert make().apply_chat_template(turns) == "One?\n\n1\n\nTwo?"


@pytest.mark.demo
@pytest.mark.slow
def test_the_command_runs_a_task_on_the_demo_model(tmp_path, monkeypatch):
    from hogwild.cli.app import run

    rows = [{"a": 2, "b": 3, "answer": "5", "right": 0}, {"a": 4, "b": 5, "answer": "9", "right": 1}]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.jsonl")}},
        "test_split": "test",
    }
    tasks = {
        "sums": {
            **common,
            "output_type": "generate_until",
            "doc_to_text": "Calculate {{a}} + {{b}}.",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["Problem"], "max_gen_toks": 8, "do_sample": False},
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        },
        "choices": {
            **common,
            "output_type": "multiple_choice",
            "doc_to_text": "{{a}} + {{b}} =",
            "doc_to_choice": ["5", "9"],
            "doc_to_target": "right",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        },
    }
    for name, task in tasks.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"task": name, **task}))  # JSON is YAML
    monkeypatch.setattr(sys, "argv", sys.argv)
    command = ["lm-eval", "--model", "hogwild", "--model_args", "pretrained=demo,workers=2,max_forwards=8"]
    command += ["--tasks", "sums,choices", "--include_path", str(tmp_path), "--batch_size", "2"]
    assert run([*command, "--output_path", str(tmp_path / "out"), "--log_samples"]) == 0
    (results,) = (tmp_path / "out").rglob("results_*.json")
    scores = json.loads(results.read_text())["results"]
    assert scores["choices"]["acc,none"] == 1.0  # the plain model knows these
    (samples,) = (tmp_path / "out").rglob("samples_sums_*.jsonl")
    replies = [json.loads(line)["resps"][0][0] for line in samples.read_text().splitlines()]
    assert len(replies) == 2 and all(reply.startswith("The answer is \\boxed{") for reply in replies)


def test_text_of_several_workers_stands_together(make):
    lm = make(MadeUpEngine(lambda protocol, budget: None), answer_format="{text}")
    (reply,) = lm.generate_until([request("Q", until=[])], disable_tqdm=True)
    assert reply == "Ada1 Ada2 Ada3 Ada4\n\nKurt1 Kurt2 Kurt3 Kurt4"


def test_the_same_request_again_is_another_draw(make):
    """The harness repeats requests, for votes over samples."""
    engine = MadeUpEngine()
    lm = make(engine, seed=5)
    again = request("Q", do_sample=True, temperature=1.0)
    lm.generate_until([again, request("R", do_sample=True), again, again], disable_tqdm=True)
    assert [(p.problem, p.settings["seed"]) for p in engine.opened] == [
        ("Q", 5),
        ("R", 5),
        ("Q", 6),
        ("Q", 7),
    ]
