"""Token ids of text that goes on after other text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

# Where nothing is known of what is before, or it melts into one token with the text: these do not, as a rule.
_SOMETHING = ("x", "\n", ".")
_NEAR = 64  # characters of what is before that are looked at: tokens do not reach further, as a rule
_REMEMBERED = 256  # short texts


class AfterEncoder:
    """Gives what `encode_after` gives, for one run: it remembers what it has encoded.

    Between two forwards a run encodes the same few texts behind the same few others again and again.

    Args:
        tokenizer: a Hugging Face tokenizer, which must stay as it is.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

        @lru_cache(maxsize=_REMEMBERED)
        def encode(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False))

        self._encode = encode

    def encode(self, before: str, text: str) -> list[int]:
        """See `encode_after`."""
        near = before[-_NEAR:]
        tokens = next(filter(None, (self._behind(ahead, text) for ahead in (near, *_SOMETHING))), None)
        if tokens is None:
            tokens = self._encode(text).copy()
        written = self._tokenizer.decode(tokens, skip_special_tokens=False)
        if text.strip() not in written or (not text.strip() and text not in written):
            raise ValueError(f"tokenizer: it cannot write {text!r}, only {written!r}")
        return tokens

    def _behind(self, before: str, text: str) -> list[int]:
        """The tokens of `text` behind those of `before`; none where there is nothing before, or both melt together."""
        if not before:
            return []
        head, both = self._encode(before), self._encode(before + text)
        return both[len(head) :] if both[: len(head)] == head else []


def encode_after(tokenizer: Any, before: str, text: str) -> list[int]:
    """Token ids of `text` as it stands directly behind `before`, without special tokens.

    Some tokenizers put a blank before whatever they encode, which must not appear in the middle of a text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        before: the text before it, of which the end is looked at; "" if it is behind something that is not known.
        text: what is encoded.

    Raises:
        ValueError: the tokenizer has no tokens for `text`.
    """
    return AfterEncoder(tokenizer).encode(before, text)
