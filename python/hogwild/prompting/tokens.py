"""Token ids of text that goes on after other text."""

from __future__ import annotations

from typing import Any

# Where nothing is known of what is before, or it melts into one token with the text: these do not, as a rule.
_SOMETHING = ("x", "\n", ".")


def encode_after(tokenizer: Any, before: str, text: str) -> list[int]:
    """Token ids of `text` as it stands directly behind `before`, without special tokens.

    Some tokenizers put a blank before whatever they encode, which must not appear in the middle of a text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        before: the text before it; "" if it is behind something that is not known.
        text: what is encoded.

    Raises:
        ValueError: the tokenizer has no tokens for `text`.
    """
    tokens = next(filter(None, (_behind(tokenizer, ahead, text) for ahead in (before, *_SOMETHING))), None)
    if tokens is None:
        tokens = list(tokenizer.encode(text, add_special_tokens=False))
    written = tokenizer.decode(tokens, skip_special_tokens=False)
    if text.strip() not in written or (not text.strip() and text not in written):
        raise ValueError(f"tokenizer: it cannot write {text!r}, only {written!r}")
    return tokens


def _behind(tokenizer: Any, before: str, text: str) -> list[int]:
    """The tokens of `text` behind those of `before`; none where there is nothing before, or both melt together."""
    if not before:
        return []
    head = list(tokenizer.encode(before, add_special_tokens=False))
    both = list(tokenizer.encode(before + text, add_special_tokens=False))
    return both[len(head) :] if both[: len(head)] == head else []
