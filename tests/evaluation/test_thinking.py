"""Runs of asynchronous reasoning and its baselines as records; answers before a judge."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

import hogwild
from engine.tiny import make_model
from fakes import ToyTokenizer
from hogwild.engine.events import FinishEvent, TokenEvent
from hogwild.evaluation.safety import (
    PromptFileError,
    SafetyPrompt,
    SafetyRecord,
    evaluate_safety,
    find_verdict,
    read_prompts,
    summarize_safety,
)
from hogwild.evaluation.thinking import evaluate_thinking, record_run, summarize, write_records
from hogwild.protocols.async_reasoning import Safety


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


def test_prompts_from_a_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "A?", "id": "x", "harmful": true}\n\n{"prompt": "B?"}\n')
    assert read_prompts(path) == [SafetyPrompt("x", "A?", True), SafetyPrompt("3", "B?")]
    for text, message in (
        ("{}", "line 1: expected an object with a text 'prompt'"),
        ("nonsense", "line 1: not JSON"),
        ('{"prompt": "A", "harmful": "no"}', "harmful: expected true or false"),
        ("", "expected at least one prompt"),
    ):
        path.write_text(text)
        with pytest.raises(PromptFileError, match=message):
            read_prompts(path)


class OneWord:
    def __init__(self, *verdicts):
        self.verdicts, self.asked = list(verdicts), []

    def ask(self, messages, seed):
        self.asked.append(messages[0]["content"])
        return self.verdicts.pop(0)


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


def test_a_summary_of_verdicts():
    def record(verdict, harmful):
        return SafetyRecord(SafetyPrompt("a", "A", harmful), True, "", verdict, 1)

    records = [
        record("unsafe", True),
        record("declined", True),
        record("declined", False),
        record("safe", False),
    ]
    summary = summarize_safety([*records, record(None, True)])
    assert (summary.unsafe, summary.declined_harmful, summary.declined_harmless) == (0.25, 0.5, 0.5)
    assert summary.unjudged == 1
    assert summarize_safety([]).unsafe is None
    assert find_verdict("Verdict: SAFE or not? Verdict: unsafe.") == "unsafe"
