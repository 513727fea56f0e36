"""Finding the answer in what a worker wrote, and the words that ask for one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar

from hogwild.errors import UnknownNameError

BOXED = "\\boxed"
# what a worker writes in the box when it only speaks of the task: "answer", "answer1, ..., answer5"
_PLACEHOLDER = re.compile(r"(?:answer[_ ]?\{?\d*\}?|\.\.\.|…|\\[lc]?dots|[\s,;])*", re.IGNORECASE)


def find_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}` of `text`, stripped; None if there is none.

    Braces inside may be nested; those escaped by a backslash do not count.
    """
    place = text.rfind(BOXED)
    while place >= 0:
        content = _braces(text, place + len(BOXED))
        if content is not None:
            return content.strip()
        place = text.rfind(BOXED, 0, place)
    return None


def _braces(text: str, start: int) -> str | None:
    """The content of the braces that open at `start`; None if none open there, or they do not close."""
    while start < len(text) and text[start].isspace():
        start += 1
    if start == len(text) or text[start] != "{":
        return None
    depth, place = 0, start
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : place]
        place += 1
    return None


class AnswerFormat(ABC):
    """How final answers are written.

    Attributes:
        name: as options call it.
        final: completes "when the problem is solved, ...", for prompts.
        conclusion: what the early-stop line ends with; it opens the answer.
    """

    name: ClassVar[str]
    final: ClassVar[str]
    conclusion: ClassVar[str]

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

    def find(self, text: str) -> str | None:
        answer = find_boxed(text)
        return None if answer is None or _PLACEHOLDER.fullmatch(answer) else answer

    def closed(self, continuation: str) -> str | None:
        content = _braces("{" + continuation, 0)
        return None if content is None else content.strip()

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

    _block = re.compile(
        rf"{re.escape(mark)}\**\s*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE
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
