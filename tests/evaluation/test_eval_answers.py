"""Answers compared by value."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("math_verify")

from hogwild.evaluation.grading.answers import (
    part_of_answers,
    same_answer,
    same_answers,
    same_result,
    value_of,
)
from hogwild.evaluation.grading.lists import split_answers
from hogwild.evaluation.grading.prose import letter_in_prose, number_in_prose


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


UNITS = "apples dollars eggs cookies people books points USD km cm m kg meters times pages percent degrees".split()


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_behind_a_number_is_no_part_of_it(unit):
    assert same_answer(f"18 {unit}", "18")
    assert not same_answer(f"19 {unit}", "18") and not same_answer(f"118 {unit}", "18")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (r"12\,345", "12345"),
        (r"\$32,348", r"32,\!348"),
        ("32348", r"32,\!348"),
        (r"12\;345", "12345"),
        ("12~345", "12345"),
        ("12 345", "12345"),
        ("30°", "30"),
        ("30°", r"30^\circ"),
        ("30 degrees", r"30^{\circ}"),
        (r"\approx 18", "18"),
        ("≈18", "18"),
        ("x ≈ 18", "18"),
        ("about 18", "18"),
        (r"5\$", "5"),
        ("£5", "5"),
        ("€5", "5"),
        ("5 €", "5"),
        (r"\$18 dollars", "18"),
        (r"-\$18", "-18"),
        ("12 m/s", "12"),
        ("12 cm^2", "12"),
        (r"12\text{ cm}^2", "12"),
        ("18 (dollars)", "18"),
        (r"\text{18 dollars}", "18"),
        (r"18\ dollars", "18"),
        ("18.00 dollars", "18"),
        ("18 dollars per day", "18"),
        ("x = 18 dollars", "18"),
        ("The answer is 18", "18"),
        ("**3**", "3"),
        ("3 1/2", "3.5"),
        (r"3\frac12", "7/2"),
        ("6e5", "600000"),
        (r"6 \times 10^{5}", "600000"),
        (r"1.9 \times 10^{-5}", "0.000019"),
        ("–18", "-18"),
        (r"18~\text{km}", "18"),
        ("18", "18 dollars"),
        ("0.333333", "1/3"),
    ],
)
def test_a_number_as_people_write_it(given, expected):
    assert same_answer(given, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("18x", "18"),
        ("18 x", "18"),
        ("18xyz", "18"),
        (r"18\pi", "18"),
        ("18 or 20", "18"),
        ("18 or 20", "20"),
        ("18 and 20", "18"),
        ("18 to 20", "20"),
        ("18 + 2", "18"),
        ("18 squared", "18"),
        ("18!", "18"),
        ("18 thousand", "18"),
        ("18 dozen", "18"),
        ("18 and a half", "18"),
        ("3 quarters", "3"),
        ("5 feet 6 inches", "5"),
        ("x = 18, y = 20", "20"),
        ("x = 18 or x = 20", "20"),
        ("x >= 18", "18"),
        (r"x \ge 18", "18"),
        (r"\le 18", "18"),
        ("x != 18", "18"),
        ("not 18", "18"),
        ("x = 18", "20"),
        ("y = 18", "x = 18"),
        ("-18 dollars", "18"),
        ("3 1/2", "1.5"),
        ("3 1/2", "3"),
        ("12 a^2", "12"),
        ("1,5", "15"),
        ("70.000", "70000"),
        ("11:30", "11"),
        ("1/0", "1"),
        ("1e400", "1"),
        ("1e99999999999", "1"),
    ],
)
def test_another_number_is_not_the_same(given, expected):
    assert not same_answer(given, expected)


def test_percentages_are_as_the_library_says():
    assert same_answer(r"50\%", "0.5") and same_answer("50%", "50") and not same_answer("50%", "5")


@pytest.mark.parametrize(
    ("given", "expected", "tolerance"),
    [
        (r"1.9 \times 10^{-5}", "1.95e-5", 1e-6),
        (r"27.3 \mathrm{~m/s}", "27", 0.5),
        (r"\frac{251}{500}", "0.5", 1e-2),
        (r"8.7\pi", "27", 0.5),
        (r"x = \sqrt{2}", "1.4", 0.05),
        ("1.4", r"$\sqrt{2}$", 0.05),
        (r"\approx 1.35", "1.3", 0.1),
        ("3650", r"$3.6 \cdot 10^3$", 100),
    ],
)
def test_a_tolerance_holds_however_numbers_are_written(given, expected, tolerance):
    assert same_answer(given, expected, tolerance)
    assert not same_answer(given, expected, tolerance / 100)


@pytest.mark.parametrize(
    "given", ["1.3 or 5", "1.3, 2", "(1.3, 2)", "y < 1.3", r"y \ge 1.3", "i", r"\infty", "1.3x"]
)
def test_a_tolerance_makes_nothing_else_a_number(given):
    assert not same_answer(given, "1.3", 0.1)


@pytest.mark.parametrize(
    "formula",
    [
        "9^{9^{9^9}}",
        "10^{1000000000}",
        "2^{10}^{10}",
        "((10^9)!)!",
        r"\sum_{k=1}^{10^9} \sin k",
        r"\binom{10^9}{7}",
    ],
)
def test_what_takes_without_end_is_not_evaluated(formula):
    start = time.monotonic()
    assert value_of(formula) is None
    assert time.monotonic() - start < 1


def test_formulae_are_evaluated():
    assert value_of(r"3^{2} \pi") == pytest.approx(28.274334)
    assert value_of("2^10") is None and value_of("x") is None and value_of("i") is None


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


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (r"5\,\text{cm}, 3", [r"5 \text{cm}", "3"]),
        (r"12\,345, 7", ["12345", "7"]),
        (r"6,\; 1", ["6", "1"]),
        (r"1\,,\,2", ["1", "2"]),
        (r"6 \\ 1 \\[2pt] 11", ["6", "1", "11"]),
        (r"\begin{aligned} & 6 \\ & 1 \end{aligned}", ["6", "1"]),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}, 3", [r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "3"]),
        ("[6, 1, 11]", ["6", "1", "11"]),
        ("(6, 1, 11)", ["6", "1", "11"]),
        (r"\{6, 1\}", ["6", "1"]),
        (r"\left[6, 1\right]", ["6", "1"]),
        (r"\left\{ 6, 1 \right\}", ["6", "1"]),
        (r"\text{6, 1}", ["6", "1"]),
        (r"\mathbf{[6, 1]}", ["6", "1"]),
        ("**6, 1**", ["6", "1"]),
        ("(1, 2), (3, 4)", ["(1, 2)", "(3, 4)"]),
        ("[(1, 2), 3]", ["(1, 2)", "3"]),
        ("[0, 1)", ["[0, 1)"]),
        ("6, 1,", ["6", "1"]),
        ("6,, 1", ["6", "", "1"]),
    ],
)
def test_split_what_latex_writes(text, parts):
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
    assert part_of_answers("18,3,70,000,540,20", ["18", "3", "70000", "540", "20"]) == 1
    assert part_of_answers("1,234,200,300", ["1234", "200", "300"]) == 1
    assert part_of_answers("1,234,200,300", ["1", "234200", "300"]) == 1  # a list may be read in two ways
    assert part_of_answers("1,234,200,300", ["2", "34", "200"]) == 0
    assert part_of_answers(r"\$18, 3 eggs, 70\,000 dollars", ["18", "3", "70000"]) == 1


@pytest.mark.parametrize(
    "form", ["[{}]", "({})", r"\{{{}\}}", r"\left[{}\right]", r"\text{{{}}}", r"\mathbf{{{}}}"]
)
def test_a_list_in_brackets_is_the_list(form):
    given = form.format("6, 1, 11, 47, 200")
    assert part_of_answers(given, ["6", "1", "11", "47", "200"]) == 1
    assert part_of_answers(given, ["6", "1", "11", "47", "201"]) == 0.8
    assert part_of_answers(given, ["1", "6", "11", "47", "200"]) == 0.6


@pytest.mark.parametrize("given", [r"\{2,3\}", r"\{3, 2\}", r"\left\{2,3\right\}", "{2,3}", r"2,\; 3"])
def test_a_set_is_a_list_in_any_order(given):
    assert same_answers(given, ["2,3"]) and same_answers(given, ["$2$", "$3$"])
    assert same_answers(given, [r"$\{2,3\}$"])
    assert not same_answers(given, ["2,4"]) and not same_answers(given, ["2,3,4"])


@pytest.mark.parametrize("given", ["(2,3)", "[2,3]", "[2,3)", "(3,2)"])
def test_a_pair_or_an_interval_is_no_set(given):
    assert not same_answers(given, ["2,3"]) and not same_answers(given, [r"$\{2,3\}$"])


def test_pairs_and_intervals_are_themselves():
    assert same_answers("(2,3)", ["$(2,3)$"]) and not same_answers("(3,2)", ["$(2,3)$"])
    assert not same_answers("(2,3]", ["$(2,3)$"]) and not same_answers(r"\{2,3\}", ["$(2,3)$"])
    union = [r"(1,2) \cup \{3\}", r"\{3\} \cup (1,2)"]
    assert same_answer(*union) and same_answer(*reversed(union))
    assert same_answers("[1,2,3]", ["1,2,3"]) and not same_answers("(1,2,3)", ["1,2,3"])
    assert same_answers("1,000,2", ["1000", "2"]) and same_answers(r"\text{3, 2}", ["2,3"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (r"\pm 2", ["2", "-2"]),
        (r"x = \pm 2, 0", ["0", "2", "-2"]),
        ("0, 2, -2", [r"$\pm 2$", "0"]),
        (r"1 \mp \sqrt{2}", [r"1+\sqrt{2}", r"1-\sqrt{2}"]),
        (r"\pm 1, \pm 2", [r"\pm 2, \pm 1"]),
    ],
)
def test_both_signs_are_two_answers(given, expected):
    assert same_answers(given, expected)
    assert not same_answers(given, [*expected, "7"]) and not same_answers("7", expected)
    assert same_answers(r"\pm 2.01", ["2", "-2"], 0.05) and not same_answers(r"\pm 2.01", ["2", "-2"])


def test_each_answer_of_a_list_has_its_tolerance():
    assert same_answers("2.4, 1.05", ["1", "2"], [0.1, 0.5])
    assert not same_answers("2.05, 1.4", ["1", "2"], [0.1, 0.5])
    assert not same_answers("1.05, 2", ["1", "2"], [None, 0.5])
    with pytest.raises(ValueError, match="tolerance: expected one for each of 2 answers, got 1"):
        same_answers("1, 2", ["1", "2"], [0.1])


def test_truths_may_begin_with_capitals():
    assert same_answer(r"\text{True}", "true") and same_answer("false", "False")
    assert not same_answer("True", "false")


def test_repeating_decimals_are_fractions():
    assert same_answer(r"0.1\overline{6}", r"\frac{1}{6}") and same_answer("-10/3", r"-3.\bar{3}")
    assert not same_answer(r"0.\overline{3}", "0.3") and not same_answer(r"5\overline{3}", "53")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("So the answer is 18.", "18"),
        ("The answer is 17, since 12 + 5 = 17 and not 20.", "17"),
        ("There are 5 boxes, so 12 + 5 = 17 pens.", "17"),
        ("She earns $18 a day.", "$18"),
        ("It is 1,234.5 metres.", "1,234.5"),
        ("It is -3.", "-3"),
        ("**42**", "42"),
        ("That is 1/2.", "1/2"),
        ("No idea.", None),
        ("H2O", None),
        ("The answer is 3 1/2.", "3 1/2"),
        (r"So it takes 3\frac{1}{2} hours.", r"3\frac{1}{2}"),
        (r"The answer is $6 \times 10^5$.", r"$6 \times 10^5"),
        ("The answer is 10^{5}.", "10^{5}"),
        ("The result is 1.5e3.", "1.5e3"),
        ("So the total is 10 + 7 = 17.", "17"),
        ("The total cost is $17 + $3 = $20, for 4 people.", "$20"),
        (r"The total is (3 + 4) \times 2 = 7 \cdot 2 = 14.", "14"),
        ("The total is 3 boxes * 4 pens = 12 pens.", "12"),
        ("The answer is 5 - not 6.", "5"),
        ("The answer is 18 = 2 * 9.", "18"),
    ],
)
def test_the_number_that_prose_comes_to(text, number):
    assert number_in_prose(text) == number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("So it is option B.", "B"),
        ("The answer is B.", "B"),
        ("The right choice is C.", "C"),
        ("First (A) fails. So (D).", "D"),
        ("I think it is **C**.", "C"),
        ("The answer is D because of B", "D"),
        ("B", "B"),
        ("A cat sat on B.", None),
        ("The answer is a cat.", None),
        ("The answer is A cat.", None),
        ("A cat and I.", None),
    ],
)
def test_the_letter_that_prose_names(text, letter):
    assert letter_in_prose(text) == letter


def test_lists_in_any_order():
    assert same_answers("x = 3 and x = 1", ["$1$, $3$"])
    assert same_answers("3, 1", ["1", "3"])
    assert same_answers("3, 1", ["1, 3"])
    assert not same_answers("3, 3", ["1", "3"])
    assert not same_answers("1, 3, 4", ["1", "3"])
