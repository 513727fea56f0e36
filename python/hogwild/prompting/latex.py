"""Answers as text: the wrappers and spacing that LaTeX and Markdown put around what is meant."""

from __future__ import annotations

import re

_STYLE = r"(?:text|math)(?:bf|it|rm|sf|tt|normal|md|up|sl|sc|bb|cal)?|mbox|hbox|boldsymbol|bm|emph|underline"
# `\left(` and the like are brackets; a size or style that holds for the rest of a group has no braces of its own
_SWITCH = r"\\(?:displaystyle|textstyle|rm|bf|it|sf|tt|large|Large|huge|boldmath)(?![a-zA-Z])"
_BLANK = r"\\(?:q?quad|enspace|thinspace|hfill)(?![a-zA-Z])|\\[,;:! ]|~|\s"
_WRAPPED = re.compile(rf"\\(?:{_STYLE})\s*(?=\{{)")
_EMPHASIS = re.compile(r"(\*\*|__|`)((?:(?!\1).)+)\1", re.DOTALL)
_FRONT = re.compile(rf"(?:{_BLANK}|{_SWITCH}|\$)+")
_BACK = re.compile(rf"(?:{_BLANK}|(?<!\\)\$|\\)\Z")
_LONGEST = 12  # characters of what `_BACK` takes
_MATHS = ((r"\(", r"\)"), (r"\[", r"\]"))
_THIN = re.compile(r"\\\\|\\[,;:!]|~")
_MARKS = re.compile(
    r"\\(?:text|math)(?:bf|it|rm|sf|tt|normal)?\s*\{([^{}]*)\}|\\(?:mbox|hbox)\s*\{([^{}]*)\}"
)
_DEEPEST = 16  # wrappers within each other; what holds more of them is no answer
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def plain_spaces(text: str) -> str:
    r"""With `\,`, `\;`, `\:` and `~` as blanks; as nothing where they set thousands apart. `\!` is nothing."""

    def space(match: re.Match[str]) -> str:
        if match[0] == r"\\":  # a line break, whatever follows it
            return match[0]
        if match[0] == r"\!":  # less than no space, as in 32,\!348
            return ""
        after = text[match.end() : match.end() + 4]
        grouped = match.start() and text[match.start() - 1].isdigit() and re.match(r"\d{3}(?!\d)", after)
        return "" if grouped else " "

    return _THIN.sub(space, text)


def plain_words(text: str) -> str:
    r"""With what stands in `\text{}` and the like as it reads, a blank on both sides."""
    return _MARKS.sub(lambda match: f" {match[1] if match[1] is not None else match[2]} ", text)


def unwrap(text: str) -> str:
    r"""Without dollar signs, blanks, `\text{}`, `\mathbf{}`, `**` and braces that enclose all of it."""
    for _ in range(_DEEPEST):
        inner = _trim(text)
        if wrapper := _WRAPPED.match(inner):
            inner = _or(enclosed(inner, wrapper.end()), inner)
        elif inner.startswith("{"):
            inner = _or(enclosed(inner, 0), inner)
        elif emphasis := _EMPHASIS.fullmatch(inner):
            inner = emphasis[2]
        for opening, closing in _MATHS:
            if inner.startswith(opening) and inner.endswith(closing):
                inner = inner[len(opening) : -len(closing)]
        if inner == text:
            break
        text = inner
    return text


def _trim(text: str) -> str:
    """Without blanks, dollar signs and switches at both ends."""
    text = text.strip()
    if front := _FRONT.match(text):
        text = text[front.end() :]
    while text and (back := _BACK.search(text, max(0, len(text) - _LONGEST))):
        text = text[: back.start()].rstrip()
    return text


def _or(text: str | None, other: str) -> str:
    return other if text is None else text


def enclosed(text: str, start: int) -> str | None:
    """What stands in the braces that open at `start`, if they close at the end of `text`."""
    end = closing_brace(text, start)
    return text[start + 1 : end] if end is not None and end == len(text) - 1 else None


def closing_brace(text: str, start: int) -> int | None:
    """Where the brace closes that opens at `start`; None if it does not. Those behind a backslash do not count."""
    depth = 0
    for mark in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0 and mark[0] == "}":
            return mark.start()
    return None
