"""Where a reasoning step ends (paper, Appendix C)."""

from __future__ import annotations

import re
from dataclasses import dataclass

SEPARATOR = "\n\n"
SENTENCE_ENDS = ".?!…。？！"
CLOSERS = "\"'”’»)]}*_$`\\"  # the backslash is that of LaTeX's \) and \]

# Indented ones too: in lists they are, and there they may stand behind the item's mark.
_FENCE = re.compile(r"^[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(?:```|~~~)(?!.*(?:```|~~~)).*$", re.MULTILINE)


@dataclass(frozen=True)
class StepRule:
    """A step ends at a separator right after the end of a sentence or of a code block.

    It does not end inside a code block, nor after a comma, a colon, a semicolon or anything else that leaves
    the sentence open. Blanks behind the sentence, and quotes, brackets, formulae and emphasis that close there, are
    overlooked.

    Attributes:
        separator: what stands between two steps.
        sentence_ends: characters that end a sentence.
        closers: characters that may stand between the end of the sentence and the separator.
    """

    separator: str = SEPARATOR
    sentence_ends: str = SENTENCE_ENDS
    closers: str = CLOSERS

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise TypeError(f"{name}: expected text, got {value!r}")
        if not self.separator:
            raise ValueError("separator: expected at least one character, got ''")

    def ends_step(self, text: str, piece: str) -> bool:
        """Whether a step whose text is `text` ends with the next token, which adds `piece`."""
        return self.find_end(text, piece) is not None

    def find_end(self, text: str, piece: str) -> int | None:
        """Where in `text + piece` the separator stands that ends the step; None if it goes on."""
        joined = text + piece
        place = joined.find(self.separator, max(0, len(text) - len(self.separator) + 1))
        while place >= 0:
            if self._is_complete(joined[:place]):
                return place
            place = joined.find(self.separator, place + 1)
        return None

    def _is_complete(self, text: str) -> bool:
        text = text.rstrip()
        fences = list(_FENCE.finditer(text))
        if len(fences) % 2:
            return False
        if fences and fences[-1].end() == len(text):
            return True
        text = text.rstrip(self.closers + " \t\n")
        return text.endswith(tuple(self.sentence_ends))


class StepDetector:
    """Applies a `StepRule` to one worker's text as it comes, token by token.

    It makes no difference whether the separator is a token of its own, two tokens, or the end of a token with
    more in it.

    Attributes:
        text: the step so far.
    """

    def __init__(self, rule: StepRule | None = None) -> None:
        self.rule = rule or StepRule()
        self.text = ""

    def push(self, piece: str) -> bool:
        """Add the text of a token; whether the step ends with it."""
        ends = self.rule.ends_step(self.text, piece)
        self.text += piece
        return ends

    def reset(self) -> None:
        """Begin a new step."""
        self.text = ""
