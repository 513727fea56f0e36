"""Five questions in one prompt, which workers can share out (paper, section 4.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from hogwild.evaluation.grading.answers import part_of_answers, same_result
from hogwild.evaluation.grading.lists import split_answers
from hogwild.evaluation.tasks.math import Gsm8k, gsm8k_answer
from hogwild.evaluation.tasks.source import TaskError
from hogwild.evaluation.tasks.task import Problem, Task
from hogwild.prompting import join_names

COUNT = 5
LIST = "Put all their answers into one box, in this order and separated by commas."
SIZES = (9, 20, 50, 100, 500)  # of the numbers in a problem of arithmetic: from easy to hard


def five_questions(id: str, questions: Sequence[str], answers: Sequence[str]) -> Problem:
    """One problem of several numbered questions, whose answers are wanted in their order."""
    lines = "\n".join(f"{number}. {question.strip()}" for number, question in enumerate(questions, start=1))
    return Problem(id, f"Solve these problems. {LIST}\n\n{lines}", list(answers), ", ".join(answers))


class FiveQuestions(Task):
    """Five questions a problem; the score is the part of them that is answered right."""

    answer_tokens = 64  # five answers do not fit into the 16 of a single one

    def find(self, text: str) -> str | None:
        """Models box each answer as they come to it: a run goes on until it gives all of them in one box."""
        answer = super().find(text)
        return answer if answer is not None and len(split_answers(answer)) >= COUNT else None

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
        if len(rows) < COUNT:
            raise TaskError(f"{self.data}: expected at least {COUNT} rows, got {len(rows)}")
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
    """Sums, differences and products, made from a seed without any data.

    Args:
        seed: of the random numbers.
    """

    name = "arith-x5"
    usual_budgets = (32, 64, 128)
    usual_samples = 16
    title = "Arithmetic x 5"
    about = "Five sums, differences or products in one prompt, from easy to hard; accuracy is counted per question."
    size = 128

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @cached_property
    def _problems(self) -> list[Problem]:
        draws = random.Random(self.seed)
        problems = []
        for number in range(self.size):
            pairs = [_arithmetic(draws, size) for size in SIZES]
            questions, answers = zip(*pairs, strict=True)
            text = f"Calculate {join_names(questions)}."  # one short sentence, for models that only go on writing
            id = f"{self.name}-{self.seed}-{number}"
            problems.append(Problem(id, text, list(answers), ", ".join(answers)))
        return problems

    def problems(self) -> Sequence[Problem]:
        return self._problems

    def score(self, problem: Problem, answer: str) -> float:
        """Who only writes a question down again has not answered it, although its value is the same."""
        return part_of_answers(answer, problem.expected, same_result)


def _arithmetic(draws: random.Random, size: int) -> tuple[str, str]:
    """A question with numbers up to `size`, and its answer."""
    kind = draws.choice("+-*")
    largest = max(9, size // 10) if kind == "*" else size
    a, b = sorted((draws.randint(2, largest), draws.randint(2, largest)), reverse=True)
    result = {"+": a + b, "-": a - b, "*": a * b}[kind]
    return f"{a} {kind} {b}", str(result)
