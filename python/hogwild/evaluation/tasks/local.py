"""Any file of problems with answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from numbers import Number
from pathlib import Path

from hogwild.evaluation.grading.answers import same_answer
from hogwild.evaluation.tasks.dataset import id_of, read_prose, short_problem
from hogwild.evaluation.tasks.source import TaskError, check_fields, read_file
from hogwild.evaluation.tasks.task import Problem, Task, check_ids, check_text

FIELDS = ("problem", "answer")


class LocalTask(Task):
    """The rows {"problem", "answer"} of a JSONL or Parquet file; other fields are overlooked, but for an "id".

    Args:
        data: the file.
    """

    answer_tokens = 64

    def __init__(self, data: Path) -> None:
        self.data = data
        self.name = data.stem
        self.title = data.name
        self.about = f"The problems of {data.name}."

    @cached_property
    def _problems(self) -> list[Problem]:
        rows = read_file(self.data)
        check_fields(rows, FIELDS, str(self.data))
        for number, row in enumerate(rows, start=1):
            where = f"{self.data}, row {number}"
            if not isinstance(row["problem"], str):
                raise TaskError(f"{where}: field 'problem': expected text, got {row['problem']!r}")
            if not isinstance(row["answer"], (str, Number)):
                raise TaskError(f"{where}: field 'answer': expected text or a number, got {row['answer']!r}")
        return check_ids(
            [
                check_text(
                    short_problem(id_of(row, f"{self.name}-{number}"), row["problem"], row["answer"]),
                    f"{self.data}, row {number + 1}",
                )
                for number, row in enumerate(rows)
            ]
        )

    def problems(self) -> Sequence[Problem]:
        return self._problems

    def read(self, problem: Problem, text: str) -> str:
        return read_prose(text, problem.reference)

    def score(self, problem: Problem, answer: str) -> float:
        return float(same_answer(answer, problem.expected))
