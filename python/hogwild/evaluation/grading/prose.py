"""The answer in a text that has no box: what a public answer says in a sentence."""

from __future__ import annotations

import re

_SAYS = re.compile(r"(?:answer|result|total)\b[^.!?\n]{0,40}?(?:\bis\b|\bare\b|:|=)", re.IGNORECASE)
_FRACTION = r"\\[dt]?frac\{\d+\}\{\d+\}"
_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\})\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    rf"(?<![\w.^_])[-−]?(?:\\?\$|[€£¥])?\s?(?:{_FRACTION}|(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?)(?:\s?\\?%)?"
)
_ALONE = r"(?:[B-HJ-Z](?![\w'’])|[AI](?![\w'’]|\s+[a-z]))"  # "A cat" and "I think" are no choices
_LETTER = re.compile(
    r"\((?P<bracket>[A-Z])\)|\*\*\(?(?P<bold>[A-Z])\)?[.:]?\*\*|^[ \t]*(?P<line>[A-Z])[.)]?[ \t]*$"
    r"|\b(?i:(?:answer|option|choice|letter)(?:\s+is)?:?\s*(?:\*\*|\$|\()*(?:option\s+)?)"
    rf"(?P<named>{_ALONE})",
    re.MULTILINE,
)


def number_in_prose(text: str) -> str | None:
    """The number behind the last "the answer is"; if there is none, the last number. None without numbers."""
    says = list(_SAYS.finditer(text))
    stated = _NUMBER.search(text, says[-1].end()) if says else None
    if stated:
        return stated[0].strip()
    numbers = _NUMBER.findall(text)
    return numbers[-1].strip() if numbers else None


def letter_in_prose(text: str) -> str | None:
    """The last letter that stands as a choice: "(B)", "**B**", "option B", "the answer is B"; None without one."""
    letters = [match[match.lastgroup or 0] for match in _LETTER.finditer(text)]
    return letters[-1] if letters else None
