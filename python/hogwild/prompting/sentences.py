"""Where a sentence ends, as far as the text that is there can tell."""

from __future__ import annotations

import re

from hogwild.prompting.steps import CLOSERS

_CLOSERS = re.escape(CLOSERS)
# A full stop behind a digit may stand in a number that goes on; white space behind it says that it does not.
_END = re.compile(rf"(?:[?!…。？！]|(?<!\d)\.)[{_CLOSERS}]*\s*$|\.[{_CLOSERS}]*\s+$|\n\s*$")


def ends_sentence(text: str) -> bool:
    """Whether `text` stops where a sentence, or a line, ends."""
    return bool(_END.search(text[-64:]))
