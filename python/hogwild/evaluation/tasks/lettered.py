"""Questions with lettered options, one of which is right: MMLU-Pro and GPQA."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from string import ascii_uppercase

from hogwild.evaluation.grading.prose import letter_in_prose
from hogwild.evaluation.tasks.dataset import DataSetTask
from hogwild.evaluation.tasks.source import Row, Source, TaskError
from hogwild.evaluation.tasks.task import Problem
from hogwild.prompting.latex import plain_spaces, unwrap

_WRAPPED = re.compile(
    r"\\(?:text|math)(?:bf|it|rm|sf|tt|normal)?\s*\{([^{}]*)\}|\\boldsymbol\s*\{([^{}]*)\}|\*\*(.+?)\*\*"
)
# what stands before the letter, and what may follow it: "Option B", "(B) Four metres", "B - four", "B (four)"
_LEAD = re.compile(
    r"\W*(?:the\s+)?(?:(?:correct|right|final)\s+)?(?:answer|option|choice|letter)(?:\s+is)?\W+",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[\s(\[{]*([A-Z])(?!\w)(?:\s*[)\]}]|\s*[.:]+\s|\s+[-–—(\[]|[\s.,:]*\Z)")
_LONGEST = 1000  # characters that are looked at: the letter stands at the beginning
_ANOTHER = re.compile(r"\W*(?:and|or)\b|[\s,;&/)\]}]*\([A-Z]\)")


class LetteredTask(DataSetTask):
    """A question, its options with letters in front, and the letter of the right one."""

    def read(self, problem: Problem, text: str) -> str:
        return letter_in_prose(text) or text.strip()

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
    """The letter that an answer names as its choice; None if it does not begin with one.

    "A cat" and "B or C" name none: a letter counts where it stands alone, in brackets or wrappers of its own, or with
    a mark between it and what follows.
    """
    marked = _WRAPPED.sub(
        lambda match: f" ({next(filter(None, match.groups()), '')}) ", unwrap(answer[:_LONGEST])
    )
    text = _LEAD.sub("", plain_spaces(marked).replace("\\", " "), count=1)
    found = _LETTER.match(text)
    return found[1] if found and not _ANOTHER.match(text, found.end(1)) else None
