"""OlympiadBench: mathematics and physics in English, without pictures (paper, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hogwild.evaluation.grading.answers import same_answers
from hogwild.evaluation.grading.lists import parts_of_references
from hogwild.evaluation.tasks.dataset import DataSetTask, id_of
from hogwild.evaluation.tasks.source import Row, Source, TaskError
from hogwild.evaluation.tasks.task import Problem

_FIELDS = ("question", "final_answer")
_LIST = "The answer is a list: write all of its parts into one box, separated by commas."


class OlympiadMaths(DataSetTask):
    name = "olympiadbench-maths"
    title = "OlympiadBench maths"
    about = "675 olympiad problems of mathematics, whose answers are formulae or lists of them."
    answer_tokens = 64
    source = Source("Hothan/OlympiadBench", "train", _FIELDS, config="OE_TO_maths_en_COMP")

    def problem(self, row: Row, number: int) -> Problem:
        answers = row["final_answer"]
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise TaskError(
                f"row {number + 1}: field 'final_answer': expected a list of texts, got {answers!r}"
            )
        context = f"{str(row.get('context') or '').strip()}\n\n".lstrip()
        return Problem(
            id=f"{self.name}-{id_of(row, number)}",
            text=f"{context}{str(row['question']).strip()}{_wanted(row)}",
            expected={"answers": answers, "tolerance": _tolerance(row, number, answers)},
            reference=", ".join(answers),
        )

    def score(self, problem: Problem, answer: str) -> float:
        return float(same_answers(answer, problem.expected["answers"], problem.expected["tolerance"]))


class OlympiadPhysics(OlympiadMaths):
    name = "olympiadbench-physics"
    title = "OlympiadBench physics"
    about = "236 olympiad problems of physics, whose answers are numbers or formulae."
    source = Source("Hothan/OlympiadBench", "train", _FIELDS, config="OE_TO_physics_en_COMP")


def _wanted(row: Row) -> str:
    """What the question leaves open about the answer's form."""
    unit = str(row.get("unit") or "").strip()
    wanted = [_LIST] if row.get("is_multiple_answer") else []
    wanted += [f"Give the answer in {unit}, without the unit."] if unit else []
    return f"\n\n{' '.join(wanted)}" if wanted else ""


def _tolerance(row: Row, number: int, answers: Sequence[str]) -> float | list[float | None] | None:
    """The largest difference from the reference that is allowed; a list if the row has one for each of its answers.

    Raises:
        TaskError: the row has something else.
    """
    error = row.get("error")
    texts = error if isinstance(error, list) else str("" if error is None else error).split(",")
    try:
        each = [_one_tolerance(text) for text in texts]
    except ValueError:
        raise TaskError(
            f"row {number + 1}: field 'error': expected a number of at least 0, or several with commas, got {error!r}"
        ) from None
    if len(each) == 1:
        return each[0]
    count = len(parts_of_references(answers))
    if len(each) != count:
        raise TaskError(
            f"row {number + 1}: field 'error': expected one number, or one for each of {count} answers, got {error!r}"
        )
    return each


def _one_tolerance(text: Any) -> float | None:
    """Nothing is no tolerance."""
    if text is None or not str(text).strip():
        return None
    tolerance = float(str(text))
    if not 0 <= tolerance < math.inf:
        raise ValueError(text)
    return tolerance
