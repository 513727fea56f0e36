"""Text by other people as tokens: whatever it spells, it never becomes a control token."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_BEFORE = "\n"  # some tokenizers put a blank before what they encode; behind a newline it can be cut off


def control_tokens(tokenizer: Any) -> dict[int, str]:
    """Ids and texts of the tokens that are more than text: special ones, and added ones such as `<think>`.

    Added tokens that are not special count as text if they are nothing but white space, or a single letter, as some
    tokenizers have them.
    """
    added = {
        index: str(token.content)
        for index, token in getattr(tokenizer, "added_tokens_decoder", {}).items()
        if len(text := str(token.content).strip()) > 1 or (text and token.special)
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
    if found := (control.keys() & set(ids)) - _unknown(tokenizer):
        raise ValueError(f"text: the tokenizer writes {control[min(found)]!r} in it as a control token only")
    return ids


def encode_template(tokenizer: Any, template: str, problem: str) -> list[int]:
    """Token ids of `template` with `problem`, as plain text, in the place of `{problem}`."""

    def fill(texts: Mapping[str, str]) -> str:
        return template.replace("{problem}", texts["problem"], 1)

    return encode_filled(tokenizer, fill, {"problem": problem}) if template else []


def encode_filled(
    tokenizer: Any,
    fill: Callable[[Mapping[str, str]], str],
    texts: Mapping[str, str],
    add_special_tokens: bool = False,
) -> list[int]:
    """Token ids of what `fill` makes of `texts`, which are by other people; control tokens in the rest are such.

    Where no text spells a control token, the whole is encoded in one piece.

    Args:
        tokenizer: a Hugging Face tokenizer.
        fill: puts texts of these names into a template, such as a chat template, which leaves them as they are.
        texts: by name.
        add_special_tokens: with the tokens that the tokenizer puts around a text by itself.

    Raises:
        ValueError: the tokenizer cannot write a text without one of its control tokens, or `fill` changes texts.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=add_special_tokens))

    whole = fill(texts)
    mark = "Bodensee"
    while mark in whole:
        mark += "e"
    marks = {name: f"{mark}{chr(ord('A') + place)}" for place, name in enumerate(texts)}
    template = fill(marks)
    control, ids = control_tokens(tokenizer), encode(whole)
    if not any(spelled in text for text in texts.values() for spelled in control.values()):
        # A token can also be spelled in part by a text and in part by what surrounds it, or in other letters.
        meant = control.keys() - _unknown(tokenizer)
        if [i for i in ids if i in meant] == [i for i in encode(template) if i in meant]:
            return ids
    by_mark = {mark: texts[name] for name, mark in marks.items()}
    first, *pieces = re.split("|".join(by_mark), template)
    if not pieces:
        raise ValueError("tokenizer: its chat template does not write the texts of a turn as they are")
    found = re.findall("|".join(by_mark), template)
    ids = list(tokenizer.encode(first, add_special_tokens=False)) if first else []
    for name, piece in zip(found, pieces, strict=True):
        ids += encode_plain(tokenizer, by_mark[name]) + encode_inside(tokenizer, piece)
    if not add_special_tokens:
        return ids
    before, after = _around(tokenizer, template)
    return [*before, *ids, *after]


def encode_inside(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` as it stands in the middle of other text; control tokens in it are such."""
    if not text:
        return []
    head = list(tokenizer.encode(_BEFORE, add_special_tokens=False))
    both = list(tokenizer.encode(_BEFORE + text, add_special_tokens=False))
    if both[: len(head)] == head:
        return both[len(head) :]
    return list(tokenizer.encode(text, add_special_tokens=False))


def _around(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer puts before and behind a text by itself."""
    bare = list(tokenizer.encode(text, add_special_tokens=False))
    full = list(tokenizer.encode(text))
    for place in range(len(full) - len(bare) + 1):
        if full[place : place + len(bare)] == bare:
            return full[:place], full[place + len(bare) :]
    return [], []


def _unknown(tokenizer: Any) -> set[int]:
    """The token for characters that the tokenizer lacks, which stands for text, where it stands for nothing else."""
    others = {
        getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad", "sep", "cls", "mask")
    }
    unknown = getattr(tokenizer, "unk_token_id", None)
    return set() if unknown is None or unknown in others else {int(unknown)}
