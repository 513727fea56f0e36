"""Answers compared by value: numbers, formulae, and lists of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from hogwild.evaluation.extras import need

_OPENING, _CLOSING = "([{", ")]}"
_AND = r"(?:\\(?:text|mathrm|mbox)\{\s*(?:and|or)\s*\}|(?<![\w\\])(?:and|or)(?!\w))"
_MARK = re.compile(rf"[,;\n](?:\s*{_AND})?|{_AND}|[{re.escape(_OPENING + _CLOSING)}]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def same_answer(given: str, expected: str, tolerance: float | None = None) -> bool:
    """Whether two answers mean the same, by the math-verify library.

    Args:
        given: the model's answer: LaTeX, a number or a word, with or without dollar signs.
        expected: the reference, likewise.
        tolerance: the difference that is allowed between two numbers.

    Call it in the main thread: a comparison that takes too long is cut short by an alarm, and then it is no.
    """
    given, expected = _bare(given), _bare(expected)
    if not given:
        return False
    if given == expected:
        return True
    if tolerance is not None and (difference := _difference(given, expected)) is not None:
        return difference <= tolerance * 1.01  # a reference that is rounded itself
    math_verify = need("math_verify", "comparing answers")
    return bool(math_verify.verify(_parse(expected), _parse(given)))


def same_result(given: str, expected: str) -> bool:
    """Whether `given` is the number that a calculation results in: "31" and "18 + 13 = 31", but not "18 + 13"."""
    result = given.rpartition("=")[2]
    return len(re.findall(r"\d+", _number(result))) == 1 and same_answer(result, expected)


def split_answers(text: str) -> list[str]:
    """The parts of a list of answers: between commas, semicolons, line breaks and "and" outside of all brackets."""
    parts, start, depth = [], 0, 0
    for mark in _MARK.finditer(text):
        if mark[0] in _OPENING:
            depth += 1
        elif mark[0] in _CLOSING:
            depth = max(0, depth - 1)
        elif depth == 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
    return [_bare(part) for part in [*parts, text[start:]]]


def part_of_answers(
    given: str, expected: Sequence[str], same: Callable[[str, str], bool] = same_answer
) -> float:
    """The part of `expected` that stands in its place in the list `given`, from 0 to 1; `same` compares two."""
    answers = split_answers(given)
    if len(answers) > len(expected):  # perhaps because of thousands: 1,234, 5
        answers = split_answers(_THOUSANDS.sub("", given))
    right = sum(same(a, b) for a, b in zip(answers, expected, strict=False))
    return right / len(expected)


def same_answers(given: str, expected: Sequence[str], tolerance: float | None = None) -> bool:
    """Whether `given` lists all of `expected` and nothing else, in whatever order."""
    wanted = [part for text in expected for part in _parts_of_reference(text)]
    if len(wanted) == 1:
        return same_answer(given, wanted[0], tolerance)
    answers = split_answers(given)
    if len(answers) != len(wanted):
        return False
    for reference in wanted:
        match = next((answer for answer in answers if same_answer(answer, reference, tolerance)), None)
        if match is None:
            return False
        answers.remove(match)
    return True


def _parts_of_reference(text: str) -> list[str]:
    """Several formulae with a pair of dollar signs each are several answers; a list inside one pair also is."""
    return [part for part in split_answers(_bare(text)) if part]


def _bare(text: str) -> str:
    """Without dollar signs, a full stop and blanks around it."""
    return text.strip().strip("$").strip().removesuffix(".").strip()


def _difference(a: str, b: str) -> float | None:
    """Between two plain numbers, such as 1.5e-3 or 1{,}000; None if one is something else."""
    try:
        return abs(float(_number(a)) - float(_number(b)))
    except ValueError:
        return None


def _number(text: str) -> str:
    return re.sub(r"\{,\}|(?<=\d),(?=\d{3})", "", text)


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> list[object]:
    math_verify = need("math_verify", "comparing answers")
    latex = math_verify.LatexExtractionConfig(boxed_match_priority=0)
    return math_verify.parse(
        f"\\boxed{{{text}}}", extraction_config=[latex, math_verify.ExprExtractionConfig()]
    )
