"""Finding the answer in what a worker wrote."""

from __future__ import annotations

BOXED = "\\boxed"


def find_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}` of `text`, stripped; None if there is none.

    Braces inside may be nested; those escaped by a backslash do not count.
    """
    place = text.rfind(BOXED)
    while place >= 0:
        content = _braces(text, place + len(BOXED))
        if content is not None:
            return content.strip()
        place = text.rfind(BOXED, 0, place)
    return None


def _braces(text: str, start: int) -> str | None:
    """The content of the braces that open at `start`; None if none open there, or they do not close."""
    while start < len(text) and text[start].isspace():
        start += 1
    if start == len(text) or text[start] != "{":
        return None
    depth, place = 0, start
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : place]
        place += 1
    return None
