"""The answer in a text that has no box: what a public answer says in a sentence."""

from __future__ import annotations

import re

_SAYS = re.compile(r"(?:answer|result|total)\b[^.!?\n]{0,40}?(?:\bis\b|\bare\b|:|=)", re.IGNORECASE)
_FRACTION = r"\\[dt]?frac\s*(?:\{\d+\}|\d)\s*(?:\{\d+\}|\d)"
_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\})\d{3})+(?!\d)|\d+)"
_EXPONENT = r"\^(?:-?\d+|\{-?\d+\})"
_POWER = rf"(?:{_EXPONENT}|[eE][-+]?\d+(?!\w)|\s?(?:\\times|\\cdot|[×·*])\s?10{_EXPONENT})"
_VALUE = (
    rf"(?:{_FRACTION}|\d+(?:\s?{_FRACTION}|\s\d+/\d+)|\d+\s?/\s?\d+"
    rf"|(?:{_DIGITS}(?:\.\d+)?|\.\d+){_POWER}?)(?:\s?\\?%)?"
)
_SIGNED = rf"[-−]?(?:\\?\$|[€£¥])?\s?{_VALUE}"
_NUMBER = re.compile(rf"(?<![\w.^_]){_SIGNED}")
_TERM = re.compile(_SIGNED)
# behind a number, or its unit, in a calculation: "10 + 7 =", "3 boxes * 4 ="
_OPERATOR = re.compile(
    r"(?:\s?(?!x\s)[a-zA-Z]+)?[\s)]*(?:[-−+*/×·÷]|x(?=\s)|\\(?:times|cdot|div)(?![a-zA-Z]))[\s(]*"
)
_EQUALS = re.compile(r"(?:\s?[a-zA-Z]+)?[\s)]*=\s*(?=[-−$€£¥\\.\d(])")
_ALONE = r"(?:[B-HJ-Z](?![\w'’])|[AI](?![\w'’]|\s+[a-z]))"  # "A cat" and "I think" are no choices
_LETTER = re.compile(
    r"\((?P<bracket>[A-Z])\)|\*\*\(?(?P<bold>[A-Z])\)?[.:]?\*\*|^[ \t]*(?P<line>[A-Z])[.)]?[ \t]*$"
    r"|\b(?i:(?:answer|option|choice|letter)(?:\s+is)?:?\s*(?:\*\*|\$|\()*(?:option\s+)?)"
    rf"(?P<named>{_ALONE})",
    re.MULTILINE,
)


def number_in_prose(text: str) -> str | None:
    """The number behind the last "the answer is"; if there is none, the last number. None without numbers.

    Of "the total is 10 + 7 = 17" it is 17.
    """
    says = list(_SAYS.finditer(text))
    stated = _NUMBER.search(text, says[-1].end()) if says else None
    while stated and (result := _result(text, stated.end())):
        stated = _NUMBER.search(text, result)
    if stated:
        return stated[0].strip()
    numbers = _NUMBER.findall(text)
    return numbers[-1].strip() if numbers else None


def _result(text: str, place: int) -> int | None:
    """Where the result stands of the calculation whose first number ends at `place`; None if it is none."""
    start = place
    while (operator := _OPERATOR.match(text, place)) and (term := _TERM.match(text, operator.end())):
        place = term.end()
    equals = _EQUALS.match(text, place) if place > start else None
    return equals.end() if equals else None


def letter_in_prose(text: str) -> str | None:
    """The last letter that stands as a choice: "(B)", "**B**", "option B", "the answer is B"; None without one."""
    letters = [match[match.lastgroup or 0] for match in _LETTER.finditer(text)]
    return letters[-1] if letters else None
