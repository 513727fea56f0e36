"""Tasks whose problems are the rows of a data set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from hogwild.evaluation.grading.answers import same_answer
from hogwild.evaluation.grading.prose import number_in_prose
from hogwild.evaluation.tasks.source import Row, Source, TaskError
from hogwild.evaluation.tasks.task import Problem, Task, check_ids, check_text
from hogwild.prompting.quantities import find_quantity


class DataSetTask(Task):
    """A problem a row, and one answer that is compared by value.

    Args:
        data: a local file with the rows, instead of the hub's data set.
    """

    source: Source

    def __init__(self, data: Path | None = None) -> None:
        self.data = data

    @cached_property
    def _problems(self) -> list[Problem]:
        rows = self.source.rows(self.data)
        try:
            return check_ids(
                [
                    check_text(self.problem(row, number), f"row {number + 1}")
                    for number, row in enumerate(rows)
                ]
            )
        except TaskError as error:
            raise TaskError(f"{self.data or self.source.path}: {error}") from None

    def problems(self) -> Sequence[Problem]:
        return self._problems

    @abstractmethod
    def problem(self, row: Row, number: int) -> Problem:
        """The problem of one row; `number` counts from 0."""

    def read(self, problem: Problem, text: str) -> str:
        return read_prose(text, problem.reference)

    def score(self, problem: Problem, answer: str) -> float:
        return float(same_answer(answer, problem.expected))


def short_problem(id: Any, question: str, answer: str) -> Problem:
    """A problem with one answer, a number or a formula."""
    return Problem(str(id), question.strip(), str(answer), str(answer))


def read_prose(text: str, reference: str) -> str:
    """The answer in a text without a box: its number where the reference is one, otherwise the text."""
    number = number_in_prose(text) if find_quantity(reference) else None
    return number or text.strip()


def id_of(row: Row, otherwise: Any) -> Any:
    """The row's own id, if there is one; in a Parquet file all rows have the column as soon as one does."""
    own = row.get("id")
    return otherwise if own is None else own
