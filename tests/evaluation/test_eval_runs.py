"""Whole evaluations: many problems at once, stopped and gone on with, compared and reported."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("math_verify")

import torch
from made_up import MadeUpEngine
from transformers import LlamaConfig, LlamaForCausalLM

from fakes import ToyTokenizer
from hogwild.engine import read_trace
from hogwild.errors import HogwildError
from hogwild.evaluation.comparison import compare, gather
from hogwild.evaluation.driver import run_jobs
from hogwild.evaluation.plan import Plan
from hogwild.evaluation.records import Record, RecordsError
from hogwild.evaluation.report import write_report
from hogwild.evaluation.report.findings import as_many, cautions
from hogwild.evaluation.report.words import describe
from hogwild.evaluation.tasks import make_task
from hogwild.protocols import Engine
from hogwild.protocols.methods import KINDS

METHODS = ["sequential", "hogwild:2"]


@pytest.fixture
def task(tmp_path):
    """Eight problems whose answers are their numbers."""
    path = tmp_path / "numbers.jsonl"
    rows = [{"problem": f"What is {n}?", "answer": n, "id": f"n{n}"} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_task(str(path))


def late(protocol, budget):
    """Half of the problems are solved within 2 forwards, all within 4; Hogwild! needs half as many."""
    number = int(protocol.problem.split()[-1].rstrip("?"))
    enough = 4 if number % 2 else 2
    if protocol.method.startswith("hogwild"):
        enough //= 2
    return str(number) if budget >= enough else None


def test_all_methods_run_on_all_problems_and_are_scored(tmp_path, task):
    engine = MadeUpEngine(late)
    plan = Plan(budgets=(1, 2, 4), runs=2, seed=5, at_once=3, sampling={"temperature": 0.5})
    comparison = compare(engine, task, METHODS, plan, tmp_path / "out")
    assert engine.most == 3 and all(session.finished for session in engine.sessions)
    assert len(engine.opened) == 2 * 8 * 2
    settings = engine.opened[0].settings
    assert (
        settings["budgets"] == (1, 2, 4) and settings["temperature"] == 0.5 and settings["answer"] == "boxed"
    )
    assert settings["find_answer"] == task.find
    assert {protocol.settings["seed"] for protocol in engine.opened} == {5, 6}
    sequential, hogwild = comparison.summaries()
    assert [entry.accuracy.value for entry in sequential.budgets] == [0, 0.5, 1]
    assert [entry.accuracy.value for entry in hogwild.budgets] == [0.5, 1, 1]
    assert [entry.gain.value for entry in hogwild.budgets] == [0.5, 0.5, 0]
    assert [entry.seconds for entry in hogwild.budgets] == [0.5, 1.0, 2.0]
    (speedup,) = comparison.speedups()
    assert (speedup.budget, speedup.baseline) == (2, 4)
    record = comparison.records["hogwild:2"][0]
    assert record.texts == {"Ada": "Ada1 Ada2 Ada3 Ada4 ", "Kurt": "Kurt1 Kurt2 Kurt3 Kurt4 "}
    assert record.tokens == 8 and record.finish == "max_forwards"


def test_a_run_that_was_stopped_goes_on(tmp_path, task):
    plan, out = Plan(budgets=(2, 4), at_once=2), tmp_path / "out"

    class Stopped(Exception):
        pass

    told = []

    def stop(method, record):
        told.append(record.key)
        if len(told) == 5:
            raise Stopped

    first = MadeUpEngine(late)
    with pytest.raises(Stopped):
        compare(first, task, METHODS, plan, out, tell=stop)
    assert [session.cancelled for session in first.sessions] == [False] * 5 + [True]
    second, known = MadeUpEngine(late), {}
    again = compare(
        second, task, METHODS, plan, out, begin=lambda method, records: known.update({method: len(records)})
    )
    assert known == {"sequential": 5, "hogwild:2": 0}
    assert len(second.opened) == 3 + 8
    assert again.records == compare(MadeUpEngine(late), task, METHODS, plan, tmp_path / "other").records


def test_more_samples_and_runs_are_added_to_what_is_there(tmp_path, task):
    engine, out = MadeUpEngine(late), tmp_path / "out"
    compare(engine, task, ["sequential"], Plan(budgets=(4,), samples=3), out)
    assert len(engine.opened) == 3
    compare(engine, task, ["sequential"], Plan(budgets=(4,), samples=5, runs=2), out)
    assert len(engine.opened) == 10


def test_other_settings_are_refused_before_anything_runs(tmp_path, task):
    out = tmp_path / "out"
    compare(MadeUpEngine(late), task, ["hogwild:2"], Plan(budgets=(4,)), out)
    engine = MadeUpEngine(late)
    with pytest.raises(RecordsError, match=r"budgets \[4\] instead of \[2, 4\]"):
        compare(engine, task, METHODS, Plan(budgets=(2, 4)), out)
    assert engine.opened == []


def test_other_answers_in_the_same_file_are_refused(tmp_path, task):
    out = tmp_path / "out"
    compare(MadeUpEngine(late), task, ["hogwild:2"], Plan(budgets=(4,)), out)
    path = tmp_path / "numbers.jsonl"
    path.write_text(path.read_text().replace('"answer": 3', '"answer": 4'))
    with pytest.raises(RecordsError, match=r"made with problems .* instead of"):
        compare(MadeUpEngine(late), make_task(str(path)), ["hogwild:2"], Plan(budgets=(4,)), out)


def test_every_run_has_a_trace_of_its_own(tmp_path):
    """Also where ids differ in what a file cannot be called, or are longer than its name may be."""
    ids = ["a/b", "a b", "a-b", "x" * 300, "x" * 301, "ü" * 120, "a-b-1"]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps({"id": id, "problem": f"p {id}", "answer": 1}) + "\n" for id in ids))
    out, plan = tmp_path / "out", Plan(budgets=(2,), runs=2)
    compare(MadeUpEngine(), make_task(str(data)), ["hogwild:2"], plan, out, traces=True)
    paths = sorted((out / "traces" / "hogwild-2").iterdir())
    problems = [next(iter(read_trace(path))).problem for path in paths]
    assert sorted(problems) == sorted(2 * [f"p {id}" for id in ids])
    names = {path.name for path in paths}
    assert {"a-b-0.jsonl", "a-b-1.jsonl", "a-b-1-0.jsonl"} <= names  # what need not change stays
    assert max(len(name.encode()) for name in names) < 150


def test_on_cuda_the_first_runs_are_begun_once_before_they_count(tmp_path, task):
    plan = Plan(budgets=(2, 64), samples=3, at_once=2)
    on_cpu, on_cuda = MadeUpEngine(late), MadeUpEngine(late)
    on_cuda.model.device = SimpleNamespace(type="cuda")
    results = [
        compare(engine, task, ["sequential"], plan, tmp_path / str(number)).records
        for number, engine in enumerate((on_cpu, on_cuda))
    ]
    assert results[0] == results[1]
    assert [protocol.settings["budgets"] for protocol in on_cuda.opened] == [*2 * [(32,)], *3 * [(2, 64)]]
    assert [protocol.settings["budgets"] for protocol in on_cpu.opened] == 3 * [(2, 64)]
    compare(on_cuda, task, ["sequential"], plan, tmp_path / "1")
    assert len(on_cuda.opened) == 5  # all was there


def test_methods_twice_or_none(tmp_path, task):
    for methods in (["sequential", "sequential"], []):
        with pytest.raises(ValueError, match="at least one and none twice"):
            compare(MadeUpEngine(), task, methods, Plan(budgets=(4,)), tmp_path / "out")


def test_a_run_that_fails_is_recorded_and_the_others_go_on(tmp_path, task):
    def fails(protocol):
        return HogwildError("too long") if protocol.problem == "What is 3?" else None

    plan, out = Plan(budgets=(4,)), tmp_path / "out"
    comparison = compare(MadeUpEngine(late, fails), task, ["sequential"], plan, out)
    (summary,) = comparison.summaries()
    assert summary.failed == 1 and summary.budgets[0].accuracy.value == 7 / 8
    engine = MadeUpEngine(late)
    (summary,) = compare(engine, task, ["sequential"], plan, out).summaries()
    assert [protocol.problem for protocol in engine.opened] == ["What is 3?"]
    assert summary.failed == 0 and summary.budgets[0].accuracy.value == 1


def test_runs_wait_for_programs_that_are_being_scored(tmp_path, task, monkeypatch):
    """What is run but not scored is lost to who kills the evaluation."""
    engine, told, ahead = MadeUpEngine(late), [], []

    def score(problem, answer):
        time.sleep(0.05)
        return 1.0

    def tell(method, record):
        told.append(record)
        ahead.append(len(engine.opened) - len(told))

    monkeypatch.setattr(task, "runs_code", True, raising=False)
    monkeypatch.setattr(task, "score", score)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    compare(engine, task, ["sequential"], Plan(budgets=(4,), at_once=1), tmp_path / "out", tell=tell)
    assert len(told) == 8 and max(ahead) <= 2


def test_traces_can_be_read(tmp_path, task):
    compare(
        MadeUpEngine(late), task, ["hogwild:2"], Plan(budgets=(4,), samples=2), tmp_path / "out", traces=True
    )
    traces = sorted((tmp_path / "out" / "traces" / "hogwild-2").iterdir())
    assert len(traces) == 2
    events = list(read_trace(traces[0]))
    assert events[0].protocol == "collaboration" and events[-1].type == "finish"


def test_one_method_after_the_other_makes_a_comparison(tmp_path, task):
    plan, out = Plan(budgets=(2, 4)), tmp_path / "out"
    compare(MadeUpEngine(late), task, ["hogwild:2"], plan, out)
    alone = compare(MadeUpEngine(late), task, ["sequential"], plan, out)
    assert gather(alone, out).methods == ["sequential", "hogwild:2"]
    assert gather(alone, out).summaries()[1].budgets[0].gain.value == 0.5
    compare(MadeUpEngine(late), task, ["skeleton"], Plan(budgets=(2, 4), samples=2), out)
    assert gather(alone, out).methods == ["sequential", "hogwild:2"]  # skeleton ran on fewer problems


def test_the_report_stands_alone(tmp_path, task):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    comparison = compare(MadeUpEngine(late), task, METHODS, Plan(budgets=(1, 2, 4), at_once=5), out)
    assert replace(comparison, plan=Plan(budgets=(4,), at_once=99)).side_by_side == 8  # there are no more
    paths = write_report(comparison, out)
    assert [path.name for path in paths[:2]] == ["report.html", "report.md"] and all(
        p.is_file() for p in paths
    )
    html, text = (path.read_text() for path in paths[:2])
    assert "; 5 runs went on side by side" in html and ", 5 of which ran side by side" in text
    assert html.count("<svg") == 2 and "<img" not in html and "<script" not in html and "<link" not in html
    for page in (html, text):
        assert (
            "hogwild:2 reaches the best accuracy of sequential (100.0%, within 4 forwards) within 2: " in page
        )
        assert "within 2: half as many." in page
        assert "Hogwild!: 2 instances think at the same time" in page
        assert "There were only 8 problems" in page
    assert "| hogwild:2 | 2 | 100.0% ± 0.0 | +50.0% ± 18.9 | 0% | 2 | 1.0 |" in text
    assert "One of the problems:" in html and "What is 0?" in html and "Kurt1 Kurt2" in html
    summary = json.loads((out / "summary.json").read_text())
    assert summary["methods"][1]["budgets"][1]["accuracy"]["value"] == 1


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.5, "half as many"),
        (2.0, "twice as many"),
        (4.0, "4.0 times as many"),
        (1.5, "1.5 times as many"),
        (0.25, "0.25 times as many"),
    ],
)
def test_ratios_in_words(ratio, words):
    assert as_many(ratio) == words


def test_text_of_models_is_no_html(tmp_path, task):
    pytest.importorskip("matplotlib")
    engine = MadeUpEngine(lambda protocol, budget: "<script>alert(1)</script>")
    comparison = compare(engine, task, METHODS, Plan(budgets=(4,)), tmp_path / "out")
    html = write_report(comparison, tmp_path / "out")[0].read_text()
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_the_example_is_where_methods_differ(tmp_path, task):
    pytest.importorskip("matplotlib")
    comparison = compare(MadeUpEngine(late), task, METHODS, Plan(budgets=(1, 2)), tmp_path / "out")
    html = write_report(comparison, tmp_path / "out")[0].read_text()
    assert "The problem on which the methods differed most" in html and "What is 1?" in html


@pytest.mark.parametrize(
    ("methods", "said", "unsaid"),
    [
        (
            ["sequential", "hogwild:2"],
            ["A run that had not answered when a budget was spent was made to"],
            ["has no"],
        ),
        (
            ["sequential:no-early", "hogwild:2"],
            [
                "A run of hogwild:2 that had not answered when a budget was spent was made",
                "of sequential:no-early that",
            ],
            ["A run that"],
        ),
        (
            ["sequential:no-early"],
            ["A run that had not answered when a budget was spent has no"],
            ["made to", "asked"],
        ),
        (
            ["self-consistency:2"],
            ["At every budget a run was asked for one answer"],
            ["made to answer", "has no"],
        ),
        (
            ["skeleton", "self-consistency:2", "self-consistency:2:vote"],
            [
                "A run of skeleton that",
                "a run of self-consistency:2 was",
                "instances of a run of self-consistency:2:vote",
            ],
            ["has no"],
        ),
    ],
)
def test_a_report_says_who_was_made_to_answer(tmp_path, task, methods, said, unsaid):
    pytest.importorskip("matplotlib")
    comparison = compare(MadeUpEngine(late), task, methods, Plan(budgets=(1, 2)), tmp_path / "out")
    for path in write_report(comparison, tmp_path / "out")[:2]:
        page = " ".join(path.read_text().split())
        assert all(words in page for words in said) and page.count("What is written for an answer") <= 1
        told = page.replace("runs that gave an answer by themselves, without being asked for one", "")
        told = told.replace("when it was asked to", "").replace("was asked " + "8 problems", "")
        assert not any(words in told for words in unsaid)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("sequential:no-early", "an answer counts only if it comes by itself"),
        (
            "self-consistency:4:vote",
            "4 instances think independently, and the most frequent of their answers wins",
        ),
        ("skeleton:2", "its points are written 2 at a time"),
        ("hogwild:1", "with a single worker"),
        (
            "hogwild:2:non-instant:no-early",
            "each sees each paragraph of the others once it is finished; an answer",
        ),
        (
            "hogwild:3:contiguous:no-question",
            "all text of a worker stands together; nobody is asked about redundant work",
        ),
        ("hogwild:2:question-1500", "somebody is asked about redundant work every 1,500 tokens"),
        (
            "hogwild:2:question-512:random-question",
            "somebody is asked about redundant work every 512 tokens; a random worker is asked",
        ),
    ],
)
def test_methods_in_words(method, words):
    assert words in describe(method)


def tiny_engine(**room):
    tokenizer = ToyTokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer.vocab),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=0,
    )
    return Engine(LlamaForCausalLM(config).eval(), tokenizer, **room)


def test_real_runs_of_all_methods(tmp_path):
    plan = Plan(budgets=(3, 6), samples=2, at_once=3)
    methods = ["sequential", "self-consistency:2", "skeleton:2", "hogwild:2"]
    comparison = compare(tiny_engine(), make_task("arith-x5"), methods, plan, tmp_path / "out")
    for records in comparison.records.values():
        for record in records:
            assert record.error == "" and [point.budget for point in record.points] == [3, 6]
            first, second = record.points
            assert 0 < first.seconds <= second.seconds <= record.seconds
            assert first.forwards <= 3 and second.forwards <= 6
    assert all(record.tokens == 12 for record in comparison.records["hogwild:2"])
    assert all(record.tokens == 6 for record in comparison.records["sequential"])


def test_where_the_pool_has_little_room_runs_wait_for_each_other(tmp_path):
    plan, task = Plan(budgets=(8,), samples=4, at_once=4), make_task("arith-x5")
    wide, narrow = tiny_engine(), tiny_engine(page_size=16, max_tokens=110 * 16)
    records = [
        compare(engine, task, ["hogwild:2"], plan, tmp_path / str(engine.pool.max_pages)).records["hogwild:2"]
        for engine in (wide, narrow)
    ]
    assert [record.error for record in records[1]] == [""] * 4
    assert [record.texts for record in records[0]] == [record.texts for record in records[1]]
    assert narrow.pool.used_pages == 0


def test_a_run_that_finds_no_room_alone_fails(tmp_path):
    engine = tiny_engine(page_size=16, max_tokens=64)
    comparison = compare(
        engine, make_task("arith-x5"), ["sequential"], Plan(budgets=(4,), samples=2), tmp_path
    )
    assert all("pool exhausted" in record.error for record in comparison.records["sequential"])


def test_runs_that_are_left_are_ended():
    engine = tiny_engine()
    made = []

    def make(job):
        made.append(engine.method("sequential", "?", budgets=(2 if job == 0 else 3000,)))
        return made[-1]

    outcomes = run_jobs(engine, iter(range(9)), make, at_once=2)
    first = next(outcomes)
    assert (first.job, first.events[-1].reason) == (0, "max_forwards") and first.protocol is made[0]
    outcomes.close()
    assert len(made) == 2
    with engine:  # what runs is ended after its forward
        pass
    assert engine.pool.used_pages == 0 and made[1].forwards < 3000


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_has_words(kind):
    assert describe(kind)


@pytest.mark.parametrize(("alike", "said"), [(3, "In 3 of 3 runs"), (2, "In 2 of 3 runs"), (1, None)])
def test_a_report_says_where_threads_wrote_the_same(alike, said):
    texts = [{"Alice": "Six.", "Bob": "Six." if n < alike else "Seven."} for n in range(3)]
    records = [Record(f"n{n}", 0, (), texts=text) for n, text in enumerate(texts)]
    comparison = SimpleNamespace(
        model="some/model",
        problems=range(100),
        plan=Plan(budgets=(1,)),
        records={"hogwild:2": records, "self-consistency": records},
    )
    sentences = cautions(comparison)
    if said is None:
        assert sentences == []
    else:
        (sentence,) = sentences
        assert sentence.startswith(f"{said} all threads of self-consistency wrote the same")
