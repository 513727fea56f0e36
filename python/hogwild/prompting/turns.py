"""The text up to the point where a model begins to write, by its chat template if it has one."""

from __future__ import annotations

from typing import Any

from hogwild.prompting.family import Family


def check_problem(problem: str) -> None:
    """Refuse a problem without text."""
    if not problem.strip():
        raise ValueError("problem: expected some text, got none")


def assistant_start(family: Family, tokenizer: Any, content: str, rules: str = "", think: bool = True) -> str:
    """The user's turn, and the beginning of the assistant's.

    Args:
        family: of a chat model.
        tokenizer: its tokenizer, with a chat template.
        content: the user's turn.
        rules: stand before the content, or in a system turn, as the family has it.
        think: a reasoning model's thoughts are open at the end, whether its template opens them or not; False:
            they are closed, so that what follows is for the reader.

    Raises:
        ValueError: the tokenizer has no chat template, or one that cannot write these turns.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"family: {family.name!r} is for models with a chat template, and the tokenizer has none; "
            "'generic' is for such models"
        )
    if rules and family.rules_in == "system":
        turns = [{"role": "system", "content": rules}, {"role": "user", "content": content}]
    else:
        turns = [{"role": "user", "content": f"{rules}\n\n{content}" if rules else content}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates are programs; some refuse system turns, for example
        roles = " and ".join(turn["role"] for turn in turns)
        raise ValueError(
            f"family: {family.name!r} needs turns of {roles}, and the tokenizer's chat template says: {error}"
        ) from error
    if not family.think:
        return text
    opened = text.rstrip().endswith(family.think.strip())
    if think:
        return text if opened else text + family.think
    return f"{text.rstrip()}\n{family.unthink}\n\n" if opened else text
