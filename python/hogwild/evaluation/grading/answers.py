"""Answers compared by value: numbers, formulae, and lists of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from hogwild.evaluation.extras import need
from hogwild.evaluation.grading.lists import bare, both_signs, kind_of_list, parts_of_references, readings
from hogwild.prompting.latex import plain_spaces, unwrap
from hogwild.prompting.quantities import EQUALS, find_quantity, stated_quantity

_RELATION = re.compile(r"\s*(?:[<>≤≥≠]|\\(?:leq?|geq?|lt|gt|neq?)(?![a-zA-Z]))")
_SLACK = Fraction(101, 100)  # of a tolerance, for a reference that is rounded itself
# factorials, sums and the like, and powers with more than two digits or another power in the exponent
_HUGE = re.compile(
    r"!|\\(?:sum|prod|int|lim|binom|Gamma|zeta)(?![a-zA-Z])|\^\s*(?!\{\s*-?\d{1,2}\s*\}(?!\s*\^)|-?\d(?![\d^]))"
)
_TRUTHS = ("true", "false")
_SECONDS = 2  # for the value of one formula


def same_answer(given: str, expected: str, tolerance: float | None = None) -> bool:
    """Whether two answers mean the same, by the math-verify library.

    Where the reference is a number, the answer may be that number as people write it: with a currency, a unit, "x ="
    or "about" in front (see `find_quantity`). Where the reference has a unit too, and the answer another one, it is
    left to the library.

    Args:
        given: the model's answer: LaTeX, a number or a word, with or without dollar signs.
        expected: the reference, likewise.
        tolerance: the difference that is allowed between two numbers.

    Call it in the main thread: a comparison that takes too long is cut short by an alarm, and then it is no.
    """
    given, expected = bare(plain_spaces(given)), bare(plain_spaces(expected))
    if not given:
        return False
    if given == expected or unwrap(given) == unwrap(expected):
        return True
    truth = unwrap(expected).lower()
    if truth in _TRUTHS:  # the library takes it for a name, in capitals for another
        return unwrap(given).lower() == truth
    wanted, stated = find_quantity(expected), stated_quantity(given)
    if wanted and stated and (not wanted.unit or not stated.unit or wanted.unit == stated.unit):
        if abs(wanted.value - stated.value) <= Fraction(tolerance or 0) * _SLACK:
            return True
        given, expected = stated.number, wanted.number
    elif tolerance is not None and _is_within(given, expected, tolerance):
        return True
    return not _is_other_kind(given, expected) and _verify(expected, given)


def same_result(given: str, expected: str) -> bool:
    """Whether `given` is the number that a calculation results in: "31" and "18 + 13 = 31", but not "18 + 13"."""
    result = plain_spaces(given).rpartition("=")[2]
    numbers = re.findall(r"\d+", re.sub(r"\{,\}|(?<=\d),(?=\d{3})", "", result))
    return len(numbers) == 1 and same_answer(result, expected)


def part_of_answers(
    given: str, expected: Sequence[str], same: Callable[[str, str], bool] = same_answer
) -> float:
    """The part of `expected` that stands in its place in the list `given`, from 0 to 1; `same` compares two."""
    return max(
        sum(same(a, b) for a, b in zip(answers, expected, strict=False)) / len(expected)
        for answers in readings(given, len(expected))
    )


def same_answers(
    given: str, expected: Sequence[str], tolerance: float | Sequence[float | None] | None = None
) -> bool:
    r"""Whether `given` lists all of `expected` and nothing else, in whatever order.

    `\{2, 3\}` is such a list, but (2, 3) is a pair and [2, 3] an interval. `\pm 2` lists 2 and -2.

    Args:
        given: the model's answer.
        expected: the references.
        tolerance: as of `same_answer`: one for all references, or one each.
    """
    wanted = parts_of_references(expected)
    each = list(tolerance) if isinstance(tolerance, Sequence) else [tolerance] * len(wanted)
    if len(each) != len(wanted):
        raise ValueError(f"tolerance: expected one for each of {len(wanted)} answers, got {len(each)}")
    if _is_list_of(given, wanted, each):
        return True
    pairs = [(sign, own) for part, own in zip(wanted, each, strict=True) for sign in both_signs(part)]
    return len(pairs) > len(wanted) and _is_list_of(given, *zip(*pairs, strict=True))


def _is_list_of(given: str, wanted: Sequence[str], each: Sequence[float | None]) -> bool:
    if len(wanted) == 1:
        return same_answer(given, wanted[0], each[0])
    brackets = "{" if len(wanted) == 2 else "{["  # no interval has three ends
    return any(
        _is_permutation(answers, wanted, each) or _is_permutation(_all_signs(answers), wanted, each)
        for answers in readings(given, len(wanted), brackets)
    )


def _all_signs(answers: Sequence[str]) -> list[str]:
    return [sign for answer in answers for sign in both_signs(answer)]


def _is_permutation(
    answers: Sequence[str], wanted: Sequence[str], tolerances: Sequence[float | None]
) -> bool:
    if len(answers) != len(wanted):
        return False
    answers = list(answers)
    for reference, tolerance in zip(wanted, tolerances, strict=True):
        match = next((answer for answer in answers if same_answer(answer, reference, tolerance)), None)
        if match is None:
            return False
        answers.remove(match)
    return True


def _is_other_kind(given: str, expected: str) -> bool:
    """Whether one is a set in braces and the other a pair or an interval, or a relation is given for a number.

    The library takes them for the same.
    """
    if _RELATION.match(given) and find_quantity(expected):
        return True
    kinds = [kind_of_list(text) for text in (given, expected)]
    return "\\{" in kinds and ("(" in kinds or "[" in kinds)


def _is_within(given: str, expected: str, tolerance: float) -> bool:
    """Whether the values of two formulae differ by no more than the tolerance; no if they have none."""
    values = [value_of(EQUALS.split(given)[-1]), value_of(expected)]
    if None in values:
        return False
    return abs(values[0] - values[1]) <= tolerance * float(_SLACK)  # type: ignore[operator]


@functools.lru_cache(maxsize=4096)
def value_of(text: str) -> float | None:
    """The real number that a formula comes to; None for anything else, or if that takes too long."""
    if quantity := find_quantity(text):
        return _as_float(quantity.value)
    if _HUGE.search(text):  # an alarm does not always cut short what that takes
        return None
    math_verify = need("math_verify", "comparing answers")
    parsed = _parse(text)
    if not parsed or isinstance(parsed[0], str):
        return None
    try:
        return math_verify.utils.timeout(_SECONDS)(_as_float)(parsed[0])
    except math_verify.errors.TimeoutException:
        return None


def _as_float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError, AttributeError):  # no number, or one that is too large
        return None
    return number if abs(number) < float("inf") else None


@functools.lru_cache(maxsize=4096)
def _verify(expected: str, given: str) -> bool:
    math_verify = need("math_verify", "comparing answers")
    return bool(math_verify.verify(_parse(expected), _parse(given)))


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> list[object]:
    math_verify = need("math_verify", "comparing answers")
    latex = math_verify.LatexExtractionConfig(boxed_match_priority=0)
    return math_verify.parse(
        f"\\boxed{{{text}}}", extraction_config=[latex, math_verify.ExprExtractionConfig()]
    )
