"""Prompts of skeleton-of-thought, and reading the list of points that comes back (paper, Appendix D.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hogwild.prompting.answers import AnswerFormat
from hogwild.prompting.family import Family
from hogwild.prompting.plain import encode_filled
from hogwild.prompting.turns import assistant_start

MAX_POINTS = 16
_POINT = re.compile(r"^[ \t]*(\d{1,2})[.)][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)


def outline_prompt(problem: str, tokenizer: Any, family: Family) -> list[int]:
    """Token ids of the request for a list of points; the model goes on behind "1."."""

    def fill(texts: Mapping[str, str]) -> str:
        return _turn(family.skeleton.outline.format(**texts), f"{family.skeleton.start}1.", tokenizer, family)

    texts = {"problem": problem.strip()}
    return encode_filled(tokenizer, fill, texts, add_special_tokens=not family.chat)


def point_prompt(
    problem: str, points: list[str], index: int, tokenizer: Any, family: Family, form: AnswerFormat
) -> list[int]:
    """Token ids of the request for point `index` (from 1) of the list; the model goes on behind its title."""
    outline = "\n".join(f"{number}. {point}" for number, point in enumerate(points, start=1))
    point = points[index - 1]
    texts = {"problem": problem.strip(), "outline": outline, "point": point, "title": _bare(point)}

    def fill(texts: Mapping[str, str]) -> str:
        content = {name: text for name, text in texts.items() if name != "title"}
        text = family.skeleton.point.format(index=index, final=form.final, **content)
        return _turn(text, point_title(index, texts["title"], family), tokenizer, family)

    return encode_filled(tokenizer, fill, texts, add_special_tokens=not family.chat)


def point_title(index: int, point: str, family: Family) -> str:
    """How the text of a point begins."""
    title = f"Part {index}: {_bare(point)}"
    return f"**{title}.**" if family.chat else f"{family.skeleton.start}{title}."


def read_points(outline: str) -> list[str]:
    """The points of a numbered list, at most `MAX_POINTS`, as far as their numbers count up from 1."""
    points: list[str] = []
    for match in _POINT.finditer(outline):
        if int(match[1]) != len(points) + 1 or len(points) == MAX_POINTS:
            break
        points.append(match[2])
    return points


def _bare(point: str) -> str:
    return point.rstrip(".:")


def _turn(text: str, start: str, tokenizer: Any, family: Family) -> str:
    """The request, and how the reply to it begins."""
    return (assistant_start(family, tokenizer, text, think=False) if family.chat else text) + start
