"""Lists of answers: what encloses them, where one ends, and which commas only set thousands apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, islice

from hogwild.prompting.latex import plain_spaces, unwrap

_OPENING, _CLOSING = "([{", ")]}"
_AND = r"(?:\\(?:text|mathrm|mbox)\{\s*(?:and|or)\s*\}|(?<![\w\\])(?:and|or)(?!\w))"
_BREAK = r"\\\\(?:\[[\d.]+\w+\])?"
_ENVIRONMENT = r"\\(?P<place>begin|end)\{\w+\*?\}"
_MARK = re.compile(
    rf"{_ENVIRONMENT}|(?:(?<!\\)[,;]|\n|{_BREAK})(?:\s*{_AND})?|{_AND}|[{re.escape(_OPENING + _CLOSING)}]"
)
_LINES = re.compile(r"\\begin\{(aligned|align\*?|gathered|gather\*?|split)\}(.*)\\end\{\1\}", re.DOTALL)
_PAIRS = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)\s*(?=\\?[()\[\]{}])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PLUS_MINUS, _MINUS_PLUS = re.compile(r"\\pm(?![a-zA-Z])|±"), re.compile(r"\\mp(?![a-zA-Z])|∓")
_MOST_READINGS = 16


def split_answers(text: str, brackets: str = "([{") -> list[str]:
    r"""The parts of a list of answers: between commas, semicolons, line breaks and "and" outside of all brackets.

    Args:
        text: the list. `\,` and its like are blanks, and `\\` is a line break.
        brackets: which kinds may enclose the whole list.
    """
    text = peel(text, brackets)
    parts, start, depth = [], 0, 0
    for mark in _MARK.finditer(text):
        if mark[0] in _OPENING or mark["place"] == "begin":
            depth += 1
        elif mark[0] in _CLOSING or mark["place"] == "end":
            depth = max(0, depth - 1)
        elif depth == 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
    parts = [bare(part) for part in [*parts, text[start:]]]
    return (
        parts[:-1] if len(parts) > 1 and not parts[-1] else parts
    )  # what ends in a comma has no further part


def peel(text: str, brackets: str) -> str:
    r"""A list without what encloses all of it: `\text{}`, `\mathbf{}`, `\begin{aligned}`, and one pair of brackets."""
    text = bare(plain_spaces(text))
    inner = unwrap(text)
    if _MARK.search(inner):  # otherwise it is one answer, which is compared as it stands
        text = inner
    if lines := _LINES.fullmatch(text):
        text = lines[2].replace("&", " ")
    opening, inner = _enclosure(text)
    return inner if opening and opening[-1] in brackets else text


def kind_of_list(text: str) -> str:
    r"""What encloses all of a list of several parts: `(`, `[`, `{` or `\{`; "" if nothing does, or it is no list."""
    opening, inner = _enclosure(unwrap(text))
    return opening if opening and len(split_answers(inner, "")) > 1 else ""


def _enclosure(text: str) -> tuple[str, str]:
    """The bracket that opens before all of `text` and closes behind it, and what stands within; "" if none does."""
    sized = _SIZE.sub("", text)
    opening = sized[:2] if sized.startswith(r"\{") else sized[:1]
    closing = _PAIRS.get(opening)
    if closing is None or not sized.endswith(closing):
        return "", text
    inner = sized[len(opening) : len(sized) - len(closing)]
    return (opening, inner) if _is_balanced(inner) else ("", text)


def _is_balanced(text: str) -> bool:
    """Whether every bracket closes, after it has opened."""
    depth = 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return False
    return depth == 0


def readings(text: str, count: int, brackets: str = "([{") -> Iterator[list[str]]:
    """The list's parts, in each way in which they are `count`, if commas may be between thousands: 1,234, 5.

    If there is no such way, the parts as they are; if they are too many, with every comma before three digits
    between thousands.
    """
    parts = split_answers(text, brackets)
    if len(parts) <= count:
        yield parts
        return
    text, found = peel(text, brackets), False
    commas = [match.start() for match in _THOUSANDS.finditer(text)]
    for chosen in islice(combinations(commas, len(parts) - count), _MOST_READINGS):
        dropped = set(chosen)
        if all(_sets_apart(text, place, dropped) for place in chosen):
            parts = split_answers(_without(text, dropped), brackets)
            if len(parts) == count:
                found = True
                yield parts
    if not found:
        yield split_answers(_without(text, set(commas)), brackets)


def _sets_apart(text: str, place: int, chosen: set[int]) -> bool:
    """Whether the comma at `place` continues a number such as 1,234,567 whose other commas are in `chosen`."""
    start = place
    while start and text[start - 1].isdigit():
        start -= 1
    if start - 1 in chosen:
        return True
    return place - start <= 3 and text[start] != "0" and text[start - 1 : start] != "."


def _without(text: str, places: set[int]) -> str:
    return "".join(character for place, character in enumerate(text) if place not in places)


def bare(text: str) -> str:
    """Without dollar signs, emphasis, a full stop and blanks around it."""
    text = text.strip()
    while True:
        inner = re.sub(r"\A(?:\$|\*\*)+|(?:(?<!\\)\$|\*\*)+\Z", "", text).strip().removesuffix(".").strip()
        if inner == text:
            return text
        text = inner


def both_signs(part: str) -> list[str]:
    """The two answers that one with a ± stands for; any other as it is."""
    if not (_PLUS_MINUS.search(part) or _MINUS_PLUS.search(part)):
        return [part]
    return [_MINUS_PLUS.sub(low, _PLUS_MINUS.sub(high, part)) for high, low in ("+-", "-+")]


def parts_of_references(expected: Sequence[str]) -> list[str]:
    """Several formulae with a pair of dollar signs each are several answers; a list inside one pair also is."""
    return [part for text in expected for part in split_answers(text, brackets="") if part]
