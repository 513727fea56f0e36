"""Finding the answer in what a worker wrote, and the words that ask for one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar

from hogwild.errors import UnknownNameError

BOXED = "\\boxed"
_PARAGRAPH = "\n\n"
# what a worker writes in the box when it only speaks of the task: "answer", "answer1, ..., answer5"
_PLACEHOLDER = re.compile(r"(?:answer[_ ]?\{?\d*\}?|\.\.\.|…|\\[lc]?dots|[\s,;])*", re.IGNORECASE)


def find_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}` of `text`, stripped; None if there is none.

    Braces inside may be nested; those escaped by a backslash do not count. Boxes within a box are a part of it. A box
    that is still open at the end hides what is in it; one that a blank line breaks off is none.
    """
    boxes = _boxes(text)
    return boxes[-1] if boxes else None


def _boxes(text: str) -> list[str]:
    """The contents of the complete boxes that stand in no other box, in their order."""
    boxes = []
    place = text.find(BOXED)
    while place >= 0:
        start = _opening(text, place + len(BOXED))
        end = None if start is None else _closing(text, start)
        if start is not None and end is None and _PARAGRAPH not in text[start:]:
            break  # what follows may still belong to this box
        if start is not None and end is not None:
            boxes.append(_unboxed(text[start + 1 : end]))
        place = text.find(BOXED, place + len(BOXED) if end is None else end)
    return boxes


def _unboxed(content: str) -> str:
    """Without the boxes within, which leave what they hold."""
    place = content.find(BOXED)
    while place >= 0:
        start = _opening(content, place + len(BOXED))
        end = None if start is None else _closing(content, start)
        if start is None or end is None:
            place = content.find(BOXED, place + len(BOXED))
        else:
            content = content[:place] + content[start + 1 : end].strip() + content[end + 1 :]
            place = content.find(BOXED, place)
    return content.strip()


def _opening(text: str, start: int) -> int | None:
    """Where the brace stands that opens at `start`, blanks apart."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start if start < len(text) and text[start] == "{" else None


def _closing(text: str, start: int) -> int | None:
    """Where the brace closes that opens at `start`; None if it does not before a blank line or the end."""
    end = text.find(_PARAGRAPH, start)
    depth, place = 0, start
    while place < (end if end >= 0 else len(text)):
        if text[place] == "\\":
            place += 1
        elif text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    return None


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
        answers = [box for box in _boxes(text) if not _PLACEHOLDER.fullmatch(box)]
        return answers[-1] if answers else None

    def closed(self, continuation: str) -> str | None:
        text = "{" + continuation
        end = _closing(text, 0)
        return None if end is None else _unboxed(text[1:end])

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
