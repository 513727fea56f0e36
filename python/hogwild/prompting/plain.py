"""Text by other people as tokens: whatever it spells, it never becomes a control token."""

from __future__ import annotations

import re
from typing import Any

_BEFORE = "\n"  # some tokenizers put a blank before what they encode; behind a newline it can be cut off


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Ids and texts of the tokens that are more than text: special ones, and added ones such as `<think>`.

    Added tokens that are nothing but white space count as text.
    """
    added = {
        index: str(token.content)
        for index, token in getattr(tokenizer, "added_tokens_decoder", {}).items()
        if str(token.content).strip()
    }
    special = zip(
        getattr(tokenizer, "all_special_ids", ()), getattr(tokenizer, "all_special_tokens", ()), strict=False
    )
    return {**added, **{int(index): str(text) for index, text in special}}


def encode_plain(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` as it stands in the middle of other text, control tokens spelled out.

    Raises:
        ValueError: the tokenizer cannot write it without one of its control tokens.
    """
    control = control_tokens(tokenizer)
    ids = encode_inside(tokenizer, text)
    if not control.keys() & set(ids):
        return ids
    spelled = sorted((t for t in control.values() if len(t) > 1), key=len, reverse=True)
    pieces, start = [], 0
    for match in re.finditer("|".join(map(re.escape, spelled)), text):
        pieces.append(text[start : match.start() + 1])  # cut behind its first character
        start = match.start() + 1
    pieces.append(text[start:])
    ids = [token for piece in pieces if piece for token in encode_inside(tokenizer, piece)]
    if found := control.keys() & set(ids):
        raise ValueError(f"text: the tokenizer writes {control[min(found)]!r} in it as a control token only")
    return ids


def encode_template(tokenizer: Any, template: str, problem: str) -> list[int]:
    """Token ids of `template` with `problem`, as plain text, in the place of `{problem}`."""
    before, found, after = template.partition("{problem}")
    if not found or not any(text in problem for text in control_tokens(tokenizer).values()):
        whole = before + problem + after if found else template
        return list(tokenizer.encode(whole, add_special_tokens=False)) if whole else []
    ids = list(tokenizer.encode(before, add_special_tokens=False)) + encode_plain(tokenizer, problem)
    return ids + encode_inside(tokenizer, after)


def encode_inside(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` as it stands in the middle of other text; control tokens in it are such."""
    if not text:
        return []
    head = list(tokenizer.encode(_BEFORE, add_special_tokens=False))
    both = list(tokenizer.encode(_BEFORE + text, add_special_tokens=False))
    if both[: len(head)] == head:
        return both[len(head) :]
    return list(tokenizer.encode(text, add_special_tokens=False))
