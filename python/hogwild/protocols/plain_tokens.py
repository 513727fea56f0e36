"""Tokens of which it is known beforehand that nothing ends with them."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any

import torch

from hogwild.engine.detokenize import INCOMPLETE
from hogwild.prompting import StepRule

__all__ = ["characters_of_ends", "plain_tokens"]

_KNOWN: weakref.WeakKeyDictionary[Any, dict[tuple[str, frozenset[int]], torch.Tensor]]
_KNOWN = weakref.WeakKeyDictionary()  # by tokenizer: the same tensors for all sessions
_AT_A_TIME = 1 << 14


def plain_tokens(tokenizer: Any, without: str, besides: Collection[int] = ()) -> torch.Tensor:
    """Tokens whose text has none of some characters: [V] bool, as `Protocol.plain_tokens` says.

    The whole vocabulary is looked at once for each set of characters, which takes a second or so.

    Args:
        tokenizer: a Hugging Face tokenizer.
        without: the characters.
        besides: ids that are not among them, whatever their text.
    """
    known = _KNOWN.setdefault(tokenizer, {})
    key = ("".join(sorted(set(without))), frozenset(besides))
    if key not in known:
        size = len(tokenizer)
        # of several bytes, the last of which may be a token's that has no text of its own
        characters = frozenset(without if without.isascii() else without + INCOMPLETE)
        plain: list[bool] = []
        for first in range(0, size, _AT_A_TIME):
            texts = tokenizer.batch_decode(
                [[token] for token in range(first, min(first + _AT_A_TIME, size))],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
            plain += [characters.isdisjoint(text) for text in texts]
        for token in besides:
            if 0 <= token < size:
                plain[token] = False
        known[key] = torch.tensor(plain, dtype=torch.bool)
    return known[key]


def characters_of_ends(rule: StepRule) -> str | None:
    """Characters one of which the last token of a step has; None where that is not known: a rule of the user's own."""
    return rule.separator[-1] if type(rule) is StepRule else None
