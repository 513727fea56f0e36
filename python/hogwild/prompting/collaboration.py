"""What workers are told before they collaborate: rules for chat models, examples for base models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hogwild.errors import UnknownNameError
from hogwild.prompting.answers import AnswerFormat, answer_format
from hogwild.prompting.examples import worked
from hogwild.prompting.family import Family, family_for
from hogwild.prompting.headers import Headers, join_names
from hogwild.prompting.plain import encode_filled
from hogwild.prompting.turns import assistant_start, check_problem

LAYOUTS = ("combined", "contiguous", "interleaved")
PERSONS = ("second", "first")


def headers_for(tokenizer: Any) -> Headers:
    """The headers that suit the model of this tokenizer."""
    return family_for(tokenizer).headers


def collaboration_prompt(
    problem: str,
    workers: Sequence[str],
    layout: str,
    tokenizer: Any,
    family: Family | None = None,
    *,
    answer: str | AnswerFormat = "boxed",
    examples: bool = True,
    person: str = "second",
) -> list[int]:
    """Token ids of what stands before the workers' first steps (paper, section 3.3 and Appendix C).

    Chat models get the rules and the problem in the family's turns, and the workers write the assistant's turn,
    in which a reasoning model's thoughts are open; base models get worked examples to continue. The last words
    are the title of the finished steps, where the layout has them.

    Args:
        problem: what the workers are to solve; control tokens in it are spelled out.
        workers: their names.
        layout: "combined", "interleaved" or "contiguous"; the rules say what the workers see.
        tokenizer: a Hugging Face tokenizer.
        family: by default the one that suits the tokenizer.
        answer: how the final answer is to be written.
        examples: show the family's examples of working together.
        person: the rules speak to the workers ("second") or as the workers ("first").

    Raises:
        ValueError: `problem` is empty or cannot be written without a control token, or the layout or the person
            is unknown.
    """
    check_problem(problem)
    for name, value, known in (("layout", layout, LAYOUTS), ("person", person, PERSONS)):
        if value not in known:
            raise UnknownNameError(name, value, known)
    family = family or family_for(tokenizer)
    form, headers = answer_format(answer), family.headers
    title = "" if layout == "contiguous" else headers.past
    rules = [_rules(family, workers, layout, form, person)]
    if examples and not family.chat:
        rules += _patterns(family, workers, layout, form)
    elif examples and len(workers) > 1 and family.examples:
        rules += [family.examples_title, *_shown(family, workers, layout, form)]

    def fill(texts: Mapping[str, str]) -> str:
        task = family.task.format(**texts)
        if family.chat:
            return assistant_start(family, tokenizer, task, rules="\n\n".join(rules)) + title
        return headers.separator.join([*rules, task, *([title] if title else [])])

    return encode_filled(tokenizer, fill, {"problem": problem.strip()}, add_special_tokens=not family.chat)


def _rules(family: Family, workers: Sequence[str], layout: str, form: AnswerFormat, person: str) -> str:
    rules, headers = family.rules[person], family.headers
    history = rules.contiguous if layout == "contiguous" else rules.order
    progress = {"combined": rules.progress, "interleaved": rules.private, "contiguous": ""}[layout]
    titles = {"past": headers.past, "others": headers.others, "own": headers.own}
    titles["unfinished"] = headers.unfinished.strip()
    return (rules.together if len(workers) > 1 else rules.alone).format(
        names=join_names(workers),
        count=len(workers),
        history=history.format(**titles),
        progress=progress.format(**titles),
        example=headers.step(workers[0], 1),
        final=form.final,
    )


def _patterns(family: Family, workers: Sequence[str], layout: str, form: AnswerFormat) -> list[str]:
    """Each example as the problem itself is put, solved."""
    parts = []
    for number, example in enumerate(family.examples):
        parts.append(family.task.format(problem=example.problem))
        parts += worked(example, number, workers, layout, family.headers, form)
    return parts


def _shown(family: Family, workers: Sequence[str], layout: str, form: AnswerFormat) -> list[str]:
    """Each example for who has read the rules: the problem in one line, then the steps."""
    parts = []
    for number, example in enumerate(family.examples):
        parts.append(f"Problem: {example.problem}")
        parts += worked(example, number, workers, layout, family.headers, form)
    return parts
