"""Tokens of which it is known beforehand that nothing ends with them."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Collection
from typing import Any

import torch

from hogwild.engine.detokenize import INCOMPLETE
from hogwild.prompting import StepRule

__all__ = ["characters_of_ends", "plain_tokens"]

_LOG = logging.getLogger(__name__)
_AT_A_TIME = 1 << 14


class _Vocabulary:
    """The texts of a tokenizer's tokens, and what was found out about them: for all sessions."""

    def __init__(self, tokenizer: Any) -> None:
        self.texts: list[str] = []
        for first in range(0, len(tokenizer), _AT_A_TIME):
            self.texts += tokenizer.batch_decode(
                [[token] for token in range(first, min(first + _AT_A_TIME, len(tokenizer)))],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
        self.plain: dict[tuple[frozenset[str], frozenset[int]], torch.Tensor] = {}


_KNOWN: weakref.WeakKeyDictionary[Any, _Vocabulary | None] = weakref.WeakKeyDictionary()


def plain_tokens(tokenizer: Any, without: str, besides: Collection[int] = ()) -> torch.Tensor | None:
    """Tokens whose text has none of some characters: [V] bool, as `Protocol.plain_tokens` says.

    All tokens are looked at when a tokenizer is seen for the first time, which takes up to a second.

    Args:
        tokenizer: a Hugging Face tokenizer.
        without: the characters.
        besides: ids that are not among them, whatever their text.

    Returns:
        None if the tokenizer cannot tell the text of every token by itself; that is logged once.
    """
    try:
        if tokenizer not in _KNOWN:
            _KNOWN[tokenizer] = None
            _KNOWN[tokenizer] = _Vocabulary(tokenizer)
        vocabulary = _KNOWN[tokenizer]
    except Exception as error:  # a tokenizer of the user's own, perhaps; it serves for everything else
        _LOG.warning(
            "no forward is launched before its tokens are known: %s: %s", type(error).__name__, error
        )
        return None
    if vocabulary is None:
        return None
    # of several bytes, the last of which may be a token's that has no text of its own
    characters = frozenset(without if without.isascii() else without + INCOMPLETE)
    key = (characters, frozenset(besides))
    if key not in vocabulary.plain:
        plain = torch.tensor([characters.isdisjoint(text) for text in vocabulary.texts], dtype=torch.bool)
        plain[[token for token in besides if 0 <= token < len(plain)]] = False
        vocabulary.plain[key] = plain
    return vocabulary.plain[key]


def characters_of_ends(rule: StepRule) -> str | None:
    """Characters one of which the last token of a step has; None where that is not known: a rule of the user's own."""
    return rule.separator[-1] if type(rule) is StepRule else None
