"""What a model is told that solves a problem by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hogwild.prompting.answers import AnswerFormat, answer_format
from hogwild.prompting.family import Family, family_for
from hogwild.prompting.plain import encode_filled
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
        problem: what is to be solved; control tokens in it are spelled out.
        tokenizer: a Hugging Face tokenizer.
        family: by default the one that suits the tokenizer.
        answer: how the final answer is to be written.
        examples: base models see the family's examples, without headers.

    Raises:
        ValueError: `problem` is empty, or cannot be written without a control token.
    """
    check_problem(problem)
    family = family or family_for(tokenizer)
    form, separator = answer_format(answer), family.headers.separator
    parts = []
    for example in family.examples if examples and not family.chat else ():
        parts += [family.solo.format(problem=example.problem, final=form.final), *example.texts(form)]

    def fill(texts: Mapping[str, str]) -> str:
        put = family.solo.format(final=form.final, **texts)
        return assistant_start(family, tokenizer, put) if family.chat else separator.join([*parts, put, ""])

    return encode_filled(tokenizer, fill, {"problem": problem.strip()}, add_special_tokens=not family.chat)


def early_line(family: Family, form: AnswerFormat) -> str:
    """The line that makes a model answer at once (paper, Appendix C): it ends where the answer begins."""
    return f"{family.early} {form.conclusion}"
