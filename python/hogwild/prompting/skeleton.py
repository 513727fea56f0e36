"""Prompts of skeleton-of-thought, and reading the list of points that comes back (paper, Appendix D.2)."""

from __future__ import annotations

import re
from typing import Any

from hogwild.prompting.answers import AnswerFormat
from hogwild.prompting.family import Family
from hogwild.prompting.turns import assistant_start

MAX_POINTS = 16
_POINT = re.compile(r"^[ \t]*(\d{1,2})[.)][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


def outline_prompt(problem: str, tokenizer: Any, family: Family) -> list[int]:
    """Token ids of the request for a list of points; the model goes on behind "1."."""
    text = family.skeleton.outline.format(problem=problem.strip())
    return _encode(text, f"{family.skeleton.start}1.", tokenizer, family)


def point_prompt(
    problem: str, points: list[str], index: int, tokenizer: Any, family: Family, form: AnswerFormat
) -> list[int]:
    """Token ids of the request for point `index` (from 1) of the list; the model goes on behind its title."""
    outline = "\n".join(f"{number}. {point}" for number, point in enumerate(points, start=1))
    text = family.skeleton.point.format(
        problem=problem.strip(), outline=outline, index=index, point=points[index - 1], final=form.final
    )
    return _encode(text, point_title(index, points[index - 1], family), tokenizer, family)


def point_title(index: int, point: str, family: Family) -> str:
    """How the text of a point begins."""
    title = f"Part {index}: {point.rstrip('.:')}"
    return f"**{title}.**" if family.chat else f"{family.skeleton.start}{title}."


def read_points(outline: str) -> list[str]:
    """The points of a numbered list, at most `MAX_POINTS`, as far as their numbers count up from 1."""
    points: list[str] = []
    for match in _POINT.finditer(outline):
        if int(match[1]) != len(points) + 1 or len(points) == MAX_POINTS:
            break
        points.append(match[2])
    return points


def _encode(text: str, start: str, tokenizer: Any, family: Family) -> list[int]:
    if not family.chat:
        return list(tokenizer.encode(text + start))
    turn = assistant_start(family, tokenizer, text, think=False)
    return list(tokenizer.encode(turn + start, add_special_tokens=False))
