"""Mathematics with one short answer: GSM8k, MATH-500, LIMO and AIME 2025 (paper, Appendix D.3)."""

from __future__ import annotations

from hogwild.evaluation.tasks.dataset import DataSetTask, id_of, short_problem
from hogwild.evaluation.tasks.source import Row, Source, TaskError
from hogwild.evaluation.tasks.task import Problem

_MARK = "####"  # stands before the answer in GSM8k's solutions


def gsm8k_answer(row: Row, number: int) -> str:
    """The number at the end of a solution of GSM8k.

    Raises:
        TaskError: the solution does not end in one.
    """
    _, mark, answer = str(row["answer"]).rpartition(_MARK)
    if not mark:
        raise TaskError(f"row {number + 1}: field 'answer': expected '{_MARK} ' and a number at its end")
    return answer.strip().replace(",", "")


class Gsm8k(DataSetTask):
    name = "gsm8k"
    title = "GSM8k"
    about = "Word problems of grade school, each with a whole number as its answer."
    source = Source("openai/gsm8k", "test", ("question", "answer"), config="main")

    def problem(self, row: Row, number: int) -> Problem:
        return short_problem(f"gsm8k-{number}", row["question"], gsm8k_answer(row, number))


class Math500(DataSetTask):
    name = "math500"
    title = "MATH-500"
    about = "500 problems from mathematics competitions of high schools."
    answer_tokens = 64  # formulae, matrices and lists
    source = Source("HuggingFaceH4/MATH-500", "test", ("problem", "answer"))

    def problem(self, row: Row, number: int) -> Problem:
        return short_problem(row.get("unique_id") or f"math500-{number}", row["problem"], row["answer"])


class Limo(DataSetTask):
    name = "limo"
    title = "LIMO"
    about = "817 competition problems that take reasoning models thousands of tokens."
    source = Source("GAIR/LIMO", "train", ("question", "answer"))

    def problem(self, row: Row, number: int) -> Problem:
        return short_problem(f"limo-{number}", row["question"], row["answer"])


class Aime25(DataSetTask):
    name = "aime25"
    title = "AIME 2025"
    about = "The 30 problems of the American Invitational Mathematics Examination of 2025."
    source = Source("math-ai/aime25", "test", ("problem", "answer"))

    def problem(self, row: Row, number: int) -> Problem:
        return short_problem(f"aime25-{id_of(row, number)}", row["problem"], row["answer"])
