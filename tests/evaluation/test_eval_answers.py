"""Answers compared by value."""

from __future__ import annotations

import pytest

pytest.importorskip("math_verify")

from hogwild.evaluation.grading.answers import (
    part_of_answers,
    same_answer,
    same_answers,
    same_result,
    split_answers,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("18", "18"),
        ("$18$.", "18"),
        ("1000", "1,000"),
        ("0.5", "\\frac{1}{2}"),
        ("1+x^2", "x^2+1"),
        ("\\sqrt{117}", "3\\sqrt{13}"),
        ("x = 5", "5"),
        ("\\text{Evelyn}", "\\text{Evelyn}"),
    ],
)
def test_the_same(given, expected):
    assert same_answer(given, expected)


@pytest.mark.parametrize(
    ("given", "expected"), [("19", "18"), ("", "18"), ("  ", "0"), ("unknown", "18"), ("18, 19", "18")]
)
def test_not_the_same(given, expected):
    assert not same_answer(given, expected)


def test_a_tolerance_is_for_numbers_only():
    assert same_answer("2.05", "2", tolerance=0.1)
    assert not same_answer("2.2", "2", tolerance=0.1)
    assert same_answer("1{,}000.5", "1,000", tolerance=1)
    assert not same_answer("x + 0.05", "x", tolerance=0.1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1, 2,3", ["1", "2", "3"]),
        ("(1, 2), \\frac{1}{2}", ["(1, 2)", "\\frac{1}{2}"]),
        ("$4$; $5$", ["4", "5"]),
        ("a\nb", ["a", "b"]),
        ("7), 8", ["7)", "8"]),
    ],
)
def test_split(text, parts):
    assert split_answers(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1, 2 and 3", ["1", "2", "3"]),
        ("1, 2, and 3", ["1", "2", "3"]),
        ("1 \\text{ and } 2;or 3", ["1", "2", "3"]),
        (
            "(1 and 2), \\{x > 0 \\text{ and } x < 1\\} or 4",
            ["(1 and 2)", "\\{x > 0 \\text{ and } x < 1\\}", "4"],
        ),
        ("\\text{Andrea or\\ a land}, \\and 5", ["\\text{Andrea or\\ a land}", "\\and 5"]),
    ],
)
def test_split_at_words(text, parts):
    assert split_answers(text) == parts


@pytest.mark.parametrize("given", ["31", "18 + 13 = 31", "$31$", "31 apples", "x = 31"])
def test_a_result(given):
    assert same_result(given, "31")
    assert same_result(given.replace("31", "1{,}231"), "1231")


@pytest.mark.parametrize(
    "given", ["18 + 13", "62/2", "2*31 - 31", "18 + 13 =", "= 30", "30 = 31 - 0", "", "\\frac{62}{2}"]
)
def test_no_result(given):
    assert not same_result(given, "31")


def test_part_in_order():
    assert part_of_answers("1, 2, 3", ["1", "3", "3"]) == pytest.approx(2 / 3)
    assert part_of_answers("1", ["1", "2"]) == 0.5
    assert part_of_answers("1, 2, 9", ["1", "2"]) == 1
    assert part_of_answers("", ["1"]) == 0
    assert part_of_answers("7, 1,234, \\$12,345,678, 9", ["7", "1234", "12345678", "9"]) == 1  # thousands
    assert part_of_answers("100,200,300", ["100", "200", "300"]) == 1  # none


def test_lists_in_any_order():
    assert same_answers("x = 3 and x = 1", ["$1$, $3$"])
    assert same_answers("3, 1", ["1", "3"])
    assert same_answers("3, 1", ["1, 3"])
    assert not same_answers("3, 3", ["1", "3"])
    assert not same_answers("1, 3, 4", ["1", "3"])
