r"""Finding what stands in `\boxed{...}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hogwild.prompting.latex import closing_brace

BOXED = "\\boxed"
_PARAGRAPH = "\n\n"
_OPENING = r"\\boxed[^\S\n]*\n?[^\S\n]*\{"
# of a backslash and what it escapes, which may be the line break `\\` before a box, but no blank line
_MARK = re.compile(rf"(?P<box>{_OPENING})|\\(?!\\boxed)[^\n]|[{{}}]")


def find_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}` of `text`, stripped; None if there is none.

    Braces inside may be nested; those escaped by a backslash do not count. Boxes within a box are a part of it. A box
    that is still open at the end hides what is in it; one that a blank line breaks off is none.
    """
    return next(boxes_backwards(text), None)


def boxes_backwards(text: str) -> Iterator[str]:
    """The contents of the complete boxes that stand in no other box, the last one first.

    Only paragraphs with a box are read, and only as far as the caller goes: who asks with each token of a long text
    does not read all of it again.
    """
    end = len(text)
    while (place := text.rfind(BOXED, 0, end)) >= 0:
        start = text.rfind(_PARAGRAPH, 0, place) + 1  # a box reaches over no blank line
        after = text.find(_PARAGRAPH, place)
        last = after < 0
        yield from reversed(_boxes(text[start : None if last else after], hides=last))
        end = start


@dataclass
class _Open:
    """A brace that is not closed yet.

    Attributes:
        is_box: whether it is a box's.
        text: what stands in it, boxes within opened.
        boxes: complete boxes within.
    """

    is_box: bool
    text: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)


def _boxes(paragraph: str, hides: bool) -> list[str]:
    """The contents of a paragraph's boxes; one that is open at its end hides those within if `hides`."""
    found: list[str] = []
    stack: list[_Open] = []
    place = 0
    for mark in _MARK.finditer(paragraph):
        if stack:
            stack[-1].text.append(paragraph[place : mark.start()])
        place = mark.end()
        if mark["box"]:
            stack.append(_Open(is_box=True))
        elif not stack:
            continue  # braces outside of boxes mean nothing
        elif mark[0] == "{":
            stack.append(_Open(is_box=False))
        elif mark[0] == "}":
            closed = stack.pop()
            content = "".join(closed.text)
            if stack:
                stack[-1].text.append(content.strip() if closed.is_box else f"{{{content}}}")
                stack[-1].boxes += [content.strip()] if closed.is_box else closed.boxes
            else:
                found.append(content.strip())
        else:
            stack[-1].text.append(mark[0])
    return found if hides else [*found, *(box for open in stack for box in open.boxes)]


def unboxed(content: str) -> str:
    """The answer without the boxes within, which leave what they hold."""
    inside = _boxes(f"{BOXED}{{{content}}}", hides=True)
    return inside[0] if len(inside) == 1 else content.strip()


def box_end(text: str) -> int | None:
    """Where the brace closes that opens before `text`; None if it does not before a blank line or the end."""
    end = closing_brace("{" + text.partition(_PARAGRAPH)[0], 0)
    return None if end is None else end - 1
