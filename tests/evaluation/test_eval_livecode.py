"""LiveCodeBench: its problems and tests, and rows that are refused."""

from __future__ import annotations

import base64
import json
import pickle
import zlib

import pytest
from task_rows import write_rows

from hogwild.evaluation.tasks import TaskError, make_task


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def livecode_row(**changes):
    private = [{"input": "4", "output": "16", "testtype": "stdin"}]
    row = {
        "question_id": "abc",
        "question_content": "Square a number.",
        "contest_date": "2024-09-01T00:00:00",
        "starter_code": "",
        "public_test_cases": json.dumps([{"input": "3", "output": "9", "testtype": "stdin"}]),
        "private_test_cases": packed(json.dumps(private)),
        "metadata": "{}",
    }
    return {**row, **changes}


def test_livecodebench_runs_all_tests_of_the_problems_in_time(tmp_path):
    rows = [livecode_row(), livecode_row(question_id="old", contest_date="2023-01-01T00:00:00")]
    task = make_task("livecodebench", write_rows(tmp_path / "rows.jsonl", rows), run_code=True)
    (problem,) = task.problems()
    assert problem.id == "livecodebench-abc" and len(problem.expected) == 2
    assert task.score(problem, "```python\nprint(int(input()) ** 2)\n```") == 1
    assert task.score(problem, "```python\nprint(9)\n```") == 0


def test_livecodebench_calls_functions_by_name(tmp_path):
    cases = json.dumps([{"input": "[1, 2]\n3", "output": "[3, 6]", "testtype": "functional"}])
    row = livecode_row(
        starter_code="class Solution:\n    def scale(self, xs, k):",
        public_test_cases=cases,
        private_test_cases=cases,
        metadata=json.dumps({"func_name": "scale"}),
    )
    task = make_task("livecodebench", write_rows(tmp_path / "rows.jsonl", [row]), run_code=True)
    (problem,) = task.problems()
    code = "class Solution:\n    def scale(self, xs, k):\n        print('noise')\n        return [x * k for x in xs]"
    assert "class Solution" in problem.text
    assert task.score(problem, code) == 1


FUNCTIONAL = json.dumps([{"input": "1", "output": "2", "testtype": "functional"}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contest_date": 20240901}, ": field 'contest_date': expected a date like .*, got 20240901"),
        ({"contest_date": "soon"}, ": field 'contest_date': expected a date like .*, got 'soon'"),
        ({"question_id": ["q"]}, ": field 'question_id': expected text or a whole number"),
        ({"question_content": {"a": 1}}, "field 'question_content': expected text"),
        ({"starter_code": 5}, "field 'starter_code': expected text, got 5"),
        (
            {"public_test_cases": [{"input": "1", "output": "2"}]},
            "field 'public_test_cases': expected text, got",
        ),
        ({"public_test_cases": "[{"}, "field 'public_test_cases': expected tests in JSON: "),
        ({"public_test_cases": "[1]"}, "field 'public_test_cases', test 1: expected an object with text"),
        (
            {"public_test_cases": '[{"input": 1, "output": ""}]'},
            "test 1: expected an object with text in 'input'",
        ),
        (
            {"public_test_cases": '[{"input": "", "output": "", "testtype": "odd"}]'},
            "test 1: expected 'testtype' to be 'stdin' or 'functional', got 'odd'",
        ),
        ({"private_test_cases": {"a": 1}}, "field 'private_test_cases': expected text"),
        (
            {"private_test_cases": "xx"},
            "field 'private_test_cases': expected tests in JSON, or such JSON pickled",
        ),
        (
            {"private_test_cases": base64.b64encode(zlib.compress(b"\x80\x05cno")).decode()},
            "field 'private_test_cases': expected tests in JSON, or such JSON pickled",
        ),
        ({"private_test_cases": packed(["a"])}, "field 'private_test_cases': expected pickled text"),
        (
            {"private_test_cases": packed("{}")},
            "field 'private_test_cases': expected a list of tests in JSON",
        ),
        (
            {"public_test_cases": "[]", "private_test_cases": "[]"},
            "fields 'public_test_cases', 'private_test_cases': expected at least one test",
        ),
        *(
            (
                {"public_test_cases": FUNCTIONAL, "metadata": metadata},
                "question b: field 'metadata': expected a JSON object with text in 'func_name'",
            )
            for metadata in (
                "[]",
                "{bad",
                "{}",
                "",
                None,
                '{"func_name": 3}',
                {"func_name": "f"},
                "5",
                '"func_name"',
            )
        ),
    ],
)
def test_rows_of_livecodebench_that_are_not_what_they_should_be(tmp_path, changes, message):
    rows = [livecode_row(), livecode_row(**{"question_id": "b", **changes})]
    task = make_task("livecodebench", write_rows(tmp_path / "rows.jsonl", rows), run_code=True)
    with pytest.raises(TaskError, match=rf"rows\.jsonl, row 2.*{message}"):
        task.problems()


def test_rows_of_livecodebench_need_no_metadata_where_no_function_is_called(tmp_path):
    row = livecode_row(metadata="[]", starter_code=None, question_id=7)
    task = make_task("livecodebench", write_rows(tmp_path / "rows.jsonl", [row]), run_code=True)
    (problem,) = task.problems()
    assert problem.id == "livecodebench-7"


def test_livecodebench_needs_to_be_allowed(tmp_path):
    with pytest.raises(TaskError, match="--run-code"):
        make_task("livecodebench")


def test_pickled_tests_may_hold_text_only(tmp_path):
    evil = packed(print)
    rows = [livecode_row(private_test_cases=evil)]
    task = make_task("livecodebench", write_rows(tmp_path / "rows.jsonl", rows), run_code=True)
    with pytest.raises(
        TaskError, match=r"question abc: field 'private_test_cases': .* it holds builtins\.print"
    ):
        task.problems()
