"""Five questions in one prompt, which workers can share out (paper, section 4.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from hogwild.evaluation.grading.answers import part_of_answers
from hogwild.evaluation.tasks.math import Gsm8k, gsm8k_answer
from hogwild.evaluation.tasks.task import Problem, Task

COUNT = 5


def five_questions(id: str, questions: Sequence[str], answers: Sequence[str]) -> Problem:
    """One problem of several numbered questions, whose answers are wanted in order, with commas between them."""
    form = ", ".join(f"answer {number}" for number in range(1, len(questions) + 1))
    lines = "\n".join(f"{number}. {question.strip()}" for number, question in enumerate(questions, start=1))
    text = f"Solve these problems. Give all answers in this order, as \\boxed{{{form}}}.\n\n{lines}"
    return Problem(id, text, list(answers), ", ".join(answers))


class FiveQuestions(Task):
    """Five questions a problem; the score is the part of them that is answered right."""

    answer_tokens = 64  # five answers do not fit into the 16 of a single one

    def score(self, problem: Problem, answer: str) -> float:
        return part_of_answers(answer, problem.expected)


class Gsm8kFive(FiveQuestions):
    """128 problems of five questions of GSM8k's test set, no question twice.

    Args:
        data: a local file with the rows of GSM8k.
    """

    name = "gsm8k-x5"
    title = "GSM8k x 5"
    about = "Five independent word problems of grade school in one prompt; accuracy is counted per question."
    size = 128

    def __init__(self, data: Path | None = None) -> None:
        self.data = data

    @cached_property
    def _problems(self) -> list[Problem]:
        rows = list(enumerate(Gsm8k.source.rows(self.data)))
        random.Random(0).shuffle(rows)  # neighbours in the data set are alike
        groups = [rows[start : start + COUNT] for start in range(0, COUNT * self.size, COUNT)]
        return [
            five_questions(
                f"{self.name}-{number}",
                [row["question"] for _, row in group],
                [gsm8k_answer(row, place) for place, row in group],
            )
            for number, group in enumerate(groups)
            if len(group) == COUNT
        ]

    def problems(self) -> Sequence[Problem]:
        return self._problems


class ArithmeticFive(FiveQuestions):
    """Sums, differences and products of small numbers, made from a seed without any data.

    Args:
        seed: of the random numbers.
    """

    name = "arith-x5"
    title = "Arithmetic x 5"
    about = "Five small sums, differences and products in one prompt; accuracy is counted per question."
    size = 128

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @cached_property
    def _problems(self) -> list[Problem]:
        draws = random.Random(self.seed)
        problems = []
        for number in range(self.size):
            pairs = [_arithmetic(draws) for _ in range(COUNT)]
            questions, answers = zip(*pairs, strict=True)
            problems.append(five_questions(f"{self.name}-{self.seed}-{number}", questions, answers))
        return problems

    def problems(self) -> Sequence[Problem]:
        return self._problems


def _arithmetic(draws: random.Random) -> tuple[str, str]:
    """A question and its answer."""
    a, b = draws.randint(2, 50), draws.randint(2, 50)
    kind = draws.choice("+-*")
    if kind == "+":
        return f"{a} + {b}", str(a + b)
    if kind == "-":
        return f"{max(a, b)} - {min(a, b)}", str(abs(a - b))
    a, b = draws.randint(2, 10), draws.randint(2, 10)
    return f"{a} * {b}", str(a * b)
