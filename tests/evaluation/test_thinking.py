"""Runs of asynchronous reasoning and its baselines as records."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

import hogwild
from engine.tiny import make_model
from fakes import ToyTokenizer
from hogwild.engine.events import FinishEvent, TokenEvent
from hogwild.evaluation.listening import HEADER, remarks, rows
from hogwild.evaluation.tasks import make_task
from hogwild.evaluation.thinking import (
    ThinkRecord,
    evaluate_thinking,
    record_run,
    summarize,
    write_records,
)


@dataclass
class Sum:
    id: str
    text: str
    answer: str = "5"


def score(question, answer):
    return float(answer == question.answer)


@pytest.fixture(scope="module")
def engine():
    model = make_model()
    model.generation_config.eos_token_id = None
    return hogwild.Engine(model, ToyTokenizer([" yes", " no"]))


def said(text, forward, worker="writer"):
    return TokenEvent(worker=worker, token=1, text=text, forward=forward, time=forward / 10)


def test_only_the_public_answer_counts():
    events = [said("\\boxed{5}", 3, "thinker"), said("I think ", 4), said("\\boxed{6}", 9)]
    end = FinishEvent(reason="eos", forwards=9, tokens=3, seconds=0.9)
    record = record_run(Sum("a", "2 + 3?"), "async", 0, [*events, end], score)
    assert (record.answer, record.score, record.first_forward, record.delay_forwards) == ("6", 0.0, 4, 7)
    right = record_run(Sum("a", "2 + 3?"), "async", 0, [said("\\boxed{5}.", 2), end], score)
    assert (right.score, right.text) == (1.0, "\\boxed{5}.")
    failed = FinishEvent(reason="error", message="no room")
    record = record_run(Sum("a", "2 + 3?"), "async", 0, [said("5", 2), failed], score)
    assert (record.score, record.error) == (0.0, "no room")


def record(first=None, delay=10.0, error="", score=0.0):
    forward = None if first is None else round(10 * first)
    return ThinkRecord(
        problem="a", method="m", seed=0, answer="", score=score, first_seconds=first, first_forward=forward,
        delay=delay, beyond_tolerance=delay - 1, longest=delay, delay_forwards=9, forwards=100, tokens=100,
        seconds=10.0, finish="error" if error else "max_forwards", text="", error=error,
    )  # fmt: skip


def test_runs_that_failed_are_wrong_and_make_nothing_quicker():
    whole = [record(first=4.0, score=1.0), record(delay=20.0)]
    failed = [record(delay=0.001, error="no room"), record(first=0.1, delay=0.1, error="no room")]
    (with_failed,), (without,) = summarize([*whole, *failed]), summarize(whole)
    assert with_failed == replace(without, runs=4, failed=2, accuracy=0.25)
    assert (without.delay, without.first_seconds, without.spoke) == (15.0, 4.0, 1)
    (summary,) = summarize(failed)
    assert (summary.runs, summary.failed, summary.spoke, summary.accuracy) == (2, 2, 0, 0.0)
    assert summary.delay is summary.longest is summary.forwards is summary.first_seconds is None
    assert rows([summary])[0] == ("m", "0.0%", "0 of 0", *["-"] * 6)


def test_a_method_that_hardly_ever_speaks_does_not_look_quick():
    (summary,) = summarize([record(first=3.0), *[record() for _ in range(9)]])
    assert dict(zip(HEADER, rows([summary])[0], strict=True))["spoke"] == "1 of 10"
    (remark,) = remarks([summary])
    assert "of the runs that spoke" in remark
    assert remarks(summarize([record(first=3.0)])) == []
    (remark,) = remarks(summarize([record(first=3.0), record(error="no room")]))
    assert "Some runs failed" in remark and "1 of 2 with m" in remark


@pytest.mark.parametrize("cuda", [False, True])
def test_the_first_question_is_begun_before_anything_is_timed_on_cuda(engine, monkeypatch, cuda):
    asked = []
    make = engine.thinking

    def thinking(text, method, **options):
        asked.append((text, options["max_forwards"]))
        return make(text, method, **options)

    monkeypatch.setattr(engine, "thinking", thinking)
    monkeypatch.setattr("hogwild.evaluation.thinking.needs_warm_up", lambda engine: cuda)
    questions = [Sum("a", "2 + 3?"), Sum("b", "4 + 1?")]
    watched = []
    records = list(
        evaluate_thinking(
            engine,
            questions,
            score,
            "no-think",
            max_forwards=40,
            watch=lambda q, events: watched.append(q.id),
        )
    )
    assert asked == [*[("2 + 3?", 32)] * cuda, ("2 + 3?", 40), ("4 + 1?", 40)]
    assert [record.problem for record in records] == watched == ["a", "b"]
    assert engine.pool.used_pages == 0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is 18.", "18"),
        ("There are 18 pens and no more.", "18"),
        ("**18**", "18"),
        ("So \\boxed{18}, written as \\boxed{answer}.", "18"),
        ("So \\boxed{18} \\boxed{}", "18"),
        ("It is \\boxed{18}, not \\boxed{", "18"),
        ("It is \\boxed{19}, not 18.", "19"),
        ("No idea.", "No idea."),
    ],
)
def test_an_answer_is_read_from_the_last_box_that_holds_one_or_from_the_text(text, answer, tmp_path):
    pytest.importorskip("math_verify")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"problem": "How many?", "answer": "18"}))
    task = make_task(str(tmp_path / "rows.jsonl"))
    end = FinishEvent(reason="eos", forwards=9, tokens=3, seconds=0.9)
    events = [said(text, 3), end]
    record = record_run(task.problems()[0], "async", 0, events, task.score, read=task.read)
    assert (record.answer, record.score) == (answer, float(answer == "18"))
    assert record_run(task.problems()[0], "async", 0, [end], task.score, read=task.read).score == 0


def test_methods_on_the_same_questions(engine, tmp_path):
    questions = [Sum("a", "2 + 3?"), Sum("b", "4 + 1?")]
    records = []
    for method in ("async", "think", "no-think"):
        options = {"max_forwards": 14, "max_thoughts": 8}
        records += write_records(
            tmp_path / f"{method}.jsonl", evaluate_thinking(engine, questions, score, method, **options)
        )
        lines = (tmp_path / f"{method}.jsonl").read_text().splitlines()
        assert [json.loads(line)["problem"] for line in lines] == ["a", "b"]
    summaries = {summary.method: summary for summary in summarize(records)}
    assert [summary.runs for summary in summaries.values()] == [2, 2, 2]
    assert summaries["no-think"].first_forward == 2  # the prompt, then the first word
    assert summaries["think"].first_forward == 1 + 8 + 1
    assert engine.pool.used_pages == 0
