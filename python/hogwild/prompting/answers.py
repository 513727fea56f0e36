"""Finding the answer in what a worker wrote, and the words that ask for one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar

from hogwild.errors import UnknownNameError
from hogwild.prompting.boxes import BOXED, box_end, boxes_backwards, unboxed
from hogwild.prompting.placeholders import is_placeholder


class AnswerFormat(ABC):
    """How final answers are written.

    What `find` gives for the beginning of a text no later words take back, so it may be asked with each token; where
    a text has ended, ask with a line break behind it.

    Attributes:
        name: as options call it.
        final: completes "when the problem is solved, ...", for prompts.
        conclusion: what the early-stop line ends with; it opens the answer.
        ends: characters one of which the token has that makes `find` give an answer; None: not known.
    """

    name: ClassVar[str]
    final: ClassVar[str]
    conclusion: ClassVar[str]
    ends: ClassVar[str | None] = None

    @abstractmethod
    def find(self, text: str) -> str | None:
        """The final answer that a text gives, or None."""

    @abstractmethod
    def closed(self, continuation: str) -> str | None:
        """The answer in what was written after `conclusion`; None while it is not complete."""

    @abstractmethod
    def cut(self, continuation: str) -> str | None:
        """The answer in what was written after `conclusion` where that breaks off; None if there is nothing."""

    @abstractmethod
    def show(self, answer: str) -> str:
        """An answer as it is written in an example."""


class BoxedAnswer(AnswerFormat):
    r"""`\boxed{...}`, as models write the answers of mathematical problems."""

    name = "boxed"
    final = "state the final answer as \\boxed{answer}"
    conclusion = "the answer is \\boxed{"
    ends = "}\n"  # a blank line breaks off the box around a box

    def find(self, text: str) -> str | None:
        return next((box for box in boxes_backwards(text) if not is_placeholder(box)), None)

    def closed(self, continuation: str) -> str | None:
        end = box_end(continuation)
        return None if end is None else unboxed(continuation[:end])

    def cut(self, continuation: str) -> str | None:
        lines = continuation.strip().splitlines()
        return lines[0].strip() if lines else None

    def show(self, answer: str) -> str:
        return f"{BOXED}{{{answer}}}"


class CodeAnswer(AnswerFormat):
    """A program in a fenced block below the line "Final program:", so that a passing snippet is no answer."""

    name = "code"
    mark = "Final program:"
    final = f"write the whole program in one ```python block below a line that says '{mark}'"
    conclusion = f"this is what I submit.\n\n{mark}\n\n```python\n"
    ends = "\n"

    # In bold the colon may stand outside. A fence at the very end may still become the opening one of a block
    # within the program.
    _block = re.compile(
        rf"{re.escape(mark[:-1])}\**:\**\s*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*\n", re.DOTALL | re.MULTILINE
    )

    def find(self, text: str) -> str | None:
        found = None
        for match in self._block.finditer(text):
            found = match[1].rstrip()
        return found or None

    def closed(self, continuation: str) -> str | None:
        program, fence, _ = f"\n{continuation}".partition("\n```")
        return program[1:].rstrip() if fence else None

    def cut(self, continuation: str) -> str | None:
        return continuation.rstrip() or None

    def show(self, answer: str) -> str:
        return answer


ANSWER_FORMATS: dict[str, AnswerFormat] = {form.name: form for form in (BoxedAnswer(), CodeAnswer())}


def answer_format(form: str | AnswerFormat) -> AnswerFormat:
    """The format of this name; formats are returned as they are.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if isinstance(form, AnswerFormat):
        return form
    if form not in ANSWER_FORMATS:
        raise UnknownNameError("answer format", form, ANSWER_FORMATS)
    return ANSWER_FORMATS[form]
