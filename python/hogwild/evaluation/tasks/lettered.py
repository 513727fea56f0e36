"""Questions with lettered options, one of which is right: MMLU-Pro and GPQA."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from string import ascii_uppercase

from hogwild.evaluation.tasks.dataset import DataSetTask
from hogwild.evaluation.tasks.source import Row, Source, TaskError
from hogwild.evaluation.tasks.task import Problem

# a letter by itself, with what models put around it: "B", "(B)", "\\text{B}", "B. Four metres"
_LETTER = re.compile(r"[\s$(\\]*(?:(?:text|textbf|mathrm|mathbf)\{\(?)?([A-Z])(?:[).:}$\s]*$|[).:}]+\s)")


class LetteredTask(DataSetTask):
    """A question, its options with letters in front, and the letter of the right one."""

    def score(self, problem: Problem, answer: str) -> float:
        return float(find_letter(answer) == problem.expected)


class MmluPro(LetteredTask):
    name = "mmlu-pro"
    title = "MMLU-Pro"
    about = "12,032 questions of fourteen subjects, with up to ten options."
    source = Source("TIGER-Lab/MMLU-Pro", "test", ("question", "options", "answer"))

    def problem(self, row: Row, number: int) -> Problem:
        options, answer = row["options"], str(row["answer"]).strip()
        if not isinstance(options, list) or not 1 < len(options) <= len(ascii_uppercase):
            raise TaskError(f"row {number + 1}: field 'options': expected a list of options, got {options!r}")
        if answer not in ascii_uppercase[: len(options)] or len(answer) != 1:
            raise TaskError(f"row {number + 1}: field 'answer': expected an option's letter, got {answer!r}")
        id = f"mmlu-pro-{row.get('question_id', number)}"
        return lettered_problem(id, row["question"], options, ascii_uppercase.index(answer))


_RIGHT, _WRONG = "Correct Answer", ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


class Gpqa(LetteredTask):
    name = "gpqa"
    title = "GPQA diamond"
    about = "198 questions of biology, chemistry and physics, hard even for experts of other fields."
    source = Source("Idavidrein/gpqa", "train", ("Question", _RIGHT, *_WRONG), config="gpqa_diamond")

    def problem(self, row: Row, number: int) -> Problem:
        # the data has the right one first; the order is drawn once for all methods and runs
        order = random.Random(number).sample(range(4), 4)
        options = [row[name] for name in (_RIGHT, *_WRONG)]
        id = f"gpqa-{row.get('Record ID', number)}"
        return lettered_problem(id, row["Question"], [options[place] for place in order], order.index(0))


def lettered_problem(id: str, question: str, options: Sequence[str], right: int) -> Problem:
    """The problem of a question with options, of which that at index `right` is the right one."""
    lines = [
        f"{letter}. {str(option).strip()}" for letter, option in zip(ascii_uppercase, options, strict=False)
    ]
    text = "\n".join([str(question).strip(), "", *lines, "", "The answer is the letter of the right option."])
    return Problem(id, text, ascii_uppercase[right], lines[right])


def find_letter(answer: str) -> str | None:
    """The letter that an answer names; None if it does not begin with one by itself."""
    found = _LETTER.match(answer.strip())
    return found[1] if found else None
