"""Tokens of which it is known beforehand that nothing ends with them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hogwild.prompting import StepRule

__all__ = ["PlainTokens", "characters_of_ends"]


class PlainTokens:
    """Token ids whose text has none of some characters; each is looked at when it is first asked for.

    Args:
        tokenizer: a Hugging Face tokenizer.
        without: the characters.
        besides: ids that are not among them, whatever their text.
    """

    __slots__ = ("_known", "_tokenizer", "_without")

    def __init__(self, tokenizer: Any, without: str, besides: Collection[int] = ()) -> None:
        self._tokenizer, self._without = tokenizer, frozenset(without)
        self._known = dict.fromkeys(besides, False)

    def __contains__(self, token: object) -> bool:
        if not isinstance(token, int):
            return False
        known = self._known.get(token)
        if known is None:
            text = self._tokenizer.decode(
                [token], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            known = self._known[token] = self._without.isdisjoint(text)
        return known


def characters_of_ends(rule: StepRule) -> str | None:
    """Characters one of which the last token of a step has; None where that is not known: a rule of the user's own."""
    return rule.separator[-1] if type(rule) is StepRule else None
