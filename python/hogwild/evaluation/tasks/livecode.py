"""LiveCodeBench: programming problems with hidden tests (paper, section 4.2)."""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hogwild.evaluation.grading.programs import Test, find_code, passes
from hogwild.evaluation.grading.sandbox import Limits, check_sandbox
from hogwild.evaluation.tasks.source import Row, Source, TaskError
from hogwild.evaluation.tasks.task import Problem, Task, check_ids

_FIRST_DAY, _LAST_DAY = "2024-08-01", "2025-02-01"  # the 279 problems of the paper


class LiveCodeBench(Task):
    """The problems of release 5 from August 2024 to January 2025; an answer is right if it passes all tests.

    Args:
        data: a local file with the rows of the data set.
        run_code: allows to run the programs that a model writes.
        limits: for one test.

    Raises:
        SandboxError: `run_code`, on a machine that cannot confine the programs.
    """

    name = "livecodebench"
    title = "LiveCodeBench v5"
    about = "Programming problems of contests; an answer is right if the program passes all hidden tests."
    answer_tokens = 1024
    answer_form = "code"
    runs_code = True
    source = Source(
        "livecodebench/code_generation_lite",
        "test",
        ("question_id", "question_content", "contest_date", "public_test_cases", "private_test_cases"),
        files=("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl"),
    )

    def __init__(
        self, data: Path | None = None, run_code: bool = False, limits: Limits | None = None
    ) -> None:
        self.data, self.limits = data, limits
        if not run_code:
            raise TaskError(
                f"task {self.name!r} runs programs that a model writes; say --run-code if you want that. They have "
                "no network, cannot change files, and little time and memory, but they can read what you can read"
            )
        check_sandbox()

    @cached_property
    def _problems(self) -> list[Problem]:
        rows = self.source.rows(self.data)
        in_time = [row for row in rows if _FIRST_DAY <= str(row["contest_date"])[:10] < _LAST_DAY]
        return check_ids([_problem(row) for row in in_time])  # dates in ISO format sort as texts

    def problems(self) -> Sequence[Problem]:
        if not self._problems:
            raise TaskError(f"task {self.name!r}: no row is from {_FIRST_DAY} to {_LAST_DAY}")
        return self._problems

    def score(self, problem: Problem, answer: str) -> float:
        tests = [Test(**test) for test in problem.expected]
        return float(passes(find_code(answer), tests, self.limits))


def _problem(row: Row) -> Problem:
    starter = str(row.get("starter_code") or "").strip()
    if starter:
        form = f"Complete this Python code and keep its names:\n\n```python\n{starter}\n```"
    else:
        form = "Write a Python program that reads from standard input and writes to standard output."
    text = f"{str(row['question_content']).strip()}\n\n{form}"
    where = f"question {row['question_id']}"
    cases = [
        *_cases(row["public_test_cases"], f"{where}: field 'public_test_cases'"),
        *_cases(row["private_test_cases"], f"{where}: field 'private_test_cases'"),
    ]
    function = json.loads(row.get("metadata") or "{}").get("func_name")
    tests = [
        {
            "given": str(case["input"]),
            "wanted": str(case["output"]),
            "function": function if case.get("testtype") == "functional" else None,
        }
        for case in cases
    ]
    return Problem(f"livecodebench-{row['question_id']}", text, tests, f"{len(tests)} tests")


class _TextOnly(pickle.Unpickler):
    """Reads pickled texts. Whatever else a pickle might construct is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only text is expected")


def _cases(field: str, where: str) -> list[dict[str, Any]]:
    """Test cases in JSON, or in JSON that is pickled, compressed and in base64, as the private ones are."""
    try:
        if not field.lstrip().startswith("["):
            field = _TextOnly(io.BytesIO(zlib.decompress(base64.b64decode(field)))).load()
        cases = json.loads(field)
        if all(isinstance(case, dict) and {"input", "output"} <= case.keys() for case in cases):
            return cases
    except (ValueError, TypeError, binascii.Error, zlib.error, pickle.UnpicklingError, EOFError) as error:
        raise TaskError(f"{where}: {error}") from error
    raise TaskError(f"{where}: expected a list of objects with 'input' and 'output'")
