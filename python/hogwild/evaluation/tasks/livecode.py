"""LiveCodeBench: programming problems with hidden tests (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cached_property
from pathlib import Path

from hogwild.evaluation.grading.programs import Test, find_code, passes
from hogwild.evaluation.grading.sandbox import Limits, check_sandbox
from hogwild.evaluation.tasks.livecode_rows import FIELDS, contest_date, problem_of
from hogwild.evaluation.tasks.source import Source, TaskError
from hogwild.evaluation.tasks.task import Problem, Task, check_ids

_FIRST_DAY, _END = date(2024, 8, 1), date(2025, 2, 1)  # the 279 problems of the paper


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
        FIELDS,
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
        data = self.data or f"data set {self.source.path!r}"
        problems = []
        for number, row in enumerate(self.source.rows(self.data), start=1):
            where = f"{data}, row {number}"
            if _FIRST_DAY <= contest_date(row, where) < _END:
                problems.append(problem_of(row, where))
        return check_ids(problems)

    def problems(self) -> Sequence[Problem]:
        if not self._problems:
            raise TaskError(f"task {self.name!r}: no row is from {_FIRST_DAY} or later and before {_END}")
        return self._problems

    def score(self, problem: Problem, answer: str) -> float:
        tests = [Test(**test) for test in problem.expected]
        return float(passes(find_code(answer), tests, self.limits))
