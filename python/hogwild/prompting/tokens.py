"""Token ids of text that goes on after other text."""

from __future__ import annotations

from typing import Any


def encode_after(tokenizer: Any, before: str, text: str) -> list[int]:
    """Token ids of `text` as it stands directly behind `before`, without special tokens.

    Some tokenizers put a blank before whatever they encode, which must not appear in the middle of a text.

    Raises:
        ValueError: the tokenizer has no tokens for `text`.
    """
    head = list(tokenizer.encode(before, add_special_tokens=False))
    both = list(tokenizer.encode(before + text, add_special_tokens=False))
    # Where the two melt into one token, or the blank is no matter, `text` is encoded by itself.
    tokens = both[len(head) :] if both[: len(head)] == head else []
    tokens = tokens or list(tokenizer.encode(text, add_special_tokens=False))
    written = tokenizer.decode(tokens, skip_special_tokens=False)
    if text.strip() not in written or (not text.strip() and text not in written):
        raise ValueError(f"tokenizer: it cannot write {text!r}, only {written!r}")
    return tokens
