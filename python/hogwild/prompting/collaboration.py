"""What workers are told before they collaborate: rules for chat models, examples for base models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hogwild.prompting.examples import BASE_HEADERS, base_examples
from hogwild.prompting.headers import Headers, join_names

RULES = """\
# Working together

{names} are {count} instances of you. They solve one problem at the same time, and each of them can read \
what the others write while they write it.

- {history}{progress}
- Every step opens with its author and number, as in {example}. Keep a step to one short paragraph and \
finish it with a full sentence and a blank line.
- Split the work: take different parts, try different approaches, or check each other's results. Say in a \
few words what you take on, and reply to what the others say to you.
- Look at the others' text before you go on. If somebody has done or is doing what you are about to do, say \
so and turn to something else.
- When the problem is solved, whoever sees it first states the final answer as \\boxed{{answer}}.

# The problem

{problem}"""

RULES_ALONE = """\
# Working in steps

Solve the problem in short steps. Every step opens with its author and number, as in {example}; keep it to \
one short paragraph and finish it with a full sentence and a blank line. When the problem is solved, state \
the final answer as \\boxed{{answer}}.

# The problem

{problem}"""

_ORDER = "Finished steps of everybody stand under '{past}', in the order in which they were finished. "
_HISTORY = {
    "combined": _ORDER,
    "interleaved": _ORDER + "A step can be read by the others once it is finished.",
    "contiguous": "First comes everything that the others have written so far, one after the other, then "
    "your own text. The others keep writing at the end of theirs.",
}
_PROGRESS = {
    "combined": "Then come the steps that the others are writing right now, under '{others}' and cut off at "
    "'{unfinished}', and at last your own, under '{own}'.",
    "interleaved": "",
    "contiguous": "",
}


def headers_for(tokenizer: Any) -> Headers:
    """The headers that suit the model of this tokenizer."""
    return Headers() if getattr(tokenizer, "chat_template", None) else BASE_HEADERS


def collaboration_prompt(
    problem: str, workers: Sequence[str], layout: str, tokenizer: Any, headers: Headers | None = None
) -> list[int]:
    """Token ids of what stands before the workers' first steps.

    A tokenizer with a chat template gets the rules and the problem as the user's turn, and the workers write
    the assistant's turn; one without gets worked examples to continue.

    Args:
        problem: what the workers are to solve.
        workers: their names.
        layout: "combined", "interleaved" or "contiguous"; the rules say what the workers see.
        tokenizer: a Hugging Face tokenizer.
        headers: the texts around the workers' own; by default `headers_for(tokenizer)`.

    Raises:
        ValueError: `problem` is empty, or the layout is unknown.
    """
    headers = headers or headers_for(tokenizer)
    if not problem.strip():
        raise ValueError("problem: expected some text, got none")
    if layout not in _HISTORY:
        raise ValueError(f"layout: expected one of {', '.join(_HISTORY)}, got {layout!r}")
    title = "" if layout == "contiguous" else headers.past
    if getattr(tokenizer, "chat_template", None):
        turn = [{"role": "user", "content": chat_rules(problem, workers, layout, headers)}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return list(tokenizer.encode(text + title, add_special_tokens=False))
    return list(tokenizer.encode(base_examples(problem, workers, layout, headers)))


def chat_rules(problem: str, workers: Sequence[str], layout: str, headers: Headers) -> str:
    """The rules and the problem, for the user's turn of a chat."""
    example = headers.step(workers[0], 1)
    if len(workers) == 1:
        return RULES_ALONE.format(example=example, problem=problem.strip())
    texts = {"past": headers.past, "others": headers.others, "own": headers.own}
    texts["unfinished"] = headers.unfinished.strip()
    return RULES.format(
        names=join_names(workers),
        count=len(workers),
        history=_HISTORY[layout].format(**texts),
        progress=_PROGRESS[layout].format(**texts),
        example=example,
        problem=problem.strip(),
    )
