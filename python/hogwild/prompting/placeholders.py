"""What workers write where an answer will stand, when they only speak of the task."""

from __future__ import annotations

import re

from hogwild.prompting.latex import plain_spaces, plain_words, unwrap

_DOTS = r"(?:\.\.\.+|…|\\[lcv]?dots[cbmio]?|_+|\?+)"
_NAME = r"(?:(?:the|your|my|our|final|correct)\s+)*answer(?:\s?_?\s?\{?\d+\}?|s)?(?:\s+(?:here|goes\s+here))?"
_ITEM = re.compile(rf"(?:<\s*)?(?:{_NAME}|ans[_\s]?\{{?\d+\}}?|{_DOTS})?(?:\s*>)?", re.IGNORECASE)
# letters for five answers; a single one, or a few, may be the answer to a problem of algebra
_FIVE = re.compile(
    r"a,b,c,d,e|(?:([a-z])_?\{?1\}?),(?:\1_?\{?2\}?),(?:\1_?\{?3\}?),(?:\1_?\{?4\}?),(?:\1_?\{?5\}?)"
)
_BRACKETS = (("[", "]"), ("(", ")"), (r"\{", r"\}"), (r"\left[", r"\right]"), (r"\left(", r"\right)"))
_MOST = 200  # characters; what is longer says something


def is_placeholder(content: str) -> bool:
    r"""Whether a box holds nothing, or "answer", "your answer", `\text{...}`, "[answer]", "answer1, ..., answer5"."""
    if len(content) > _MOST:
        return False
    text = unwrap(plain_spaces(content))
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing):
            inner = unwrap(text[len(opening) : len(text) - len(closing)])
            text = inner or text  # empty brackets are an answer: the empty set
            break
    items = [unwrap(part) for part in re.split("[,;]", plain_words(text))]
    return all(_ITEM.fullmatch(item) for item in items) or _FIVE.fullmatch(",".join(items)) is not None
