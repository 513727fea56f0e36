"""What a model is told that solves a problem by itself."""

from __future__ import annotations

from typing import Any

from hogwild.prompting.answers import AnswerFormat, answer_format
from hogwild.prompting.family import Family, family_for
from hogwild.prompting.turns import assistant_start, check_problem


def solo_prompt(
    problem: str,
    tokenizer: Any,
    family: Family | None = None,
    *,
    answer: str | AnswerFormat = "boxed",
    examples: bool = True,
) -> list[int]:
    """Token ids of the prompt of the sequential baselines.

    Args:
        problem: what is to be solved.
        tokenizer: a Hugging Face tokenizer.
        family: by default the one that suits the tokenizer.
        answer: how the final answer is to be written.
        examples: base models see the family's examples, without headers.

    Raises:
        ValueError: `problem` is empty.
    """
    check_problem(problem)
    family = family or family_for(tokenizer)
    form, separator = answer_format(answer), family.headers.separator
    put = family.solo.format(problem=problem.strip(), final=form.final)
    if family.chat:
        return list(tokenizer.encode(assistant_start(family, tokenizer, put), add_special_tokens=False))
    parts = []
    for example in family.examples if examples else ():
        parts += [family.solo.format(problem=example.problem, final=form.final), *example.texts(form)]
    return list(tokenizer.encode(separator.join([*parts, put]) + separator))


def early_line(family: Family, form: AnswerFormat) -> str:
    """The line that makes a model answer at once (paper, Appendix C): it ends where the answer begins."""
    return f"{family.early} {form.conclusion}"
