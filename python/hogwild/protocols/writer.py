"""One worker of a collaboration, and the step that it is writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hogwild.cache.view import ViewSpec
from hogwild.engine.detokenize import Detokenizer
from hogwild.engine.events import TokenEvent
from hogwild.engine.feed import Feed
from hogwild.prompting import StepDetector


@dataclass(frozen=True)
class Cut:
    """Where a finished step is cut from what follows it.

    Attributes:
        kept: how many of the step's sampled tokens are written and belong to it entirely.
        before: their text.
        rest: what the step has behind them: text of tokens that also hold a part of the separator.
        behind: what follows the separator, without blanks; it belongs to the next step.
        at_separator: there is a separator; otherwise the last token is taken for one.
    """

    kept: int
    before: str
    rest: str = ""
    behind: str = ""
    at_separator: bool = True

    @property
    def text(self) -> str:
        """The whole step."""
        return self.before + self.rest


class Writer:
    """A worker's name, its unfinished step, and what it writes next.

    Args:
        name: of the worker.
        tokenizer: of the model.
        step: finds the ends of its steps; holds the text that was sampled for the current one.

    Attributes:
        index: number of the current step, from 1.
        pending: tokens that go into its block with the next forward; none when it has stopped.
        shown: the text of its current step, header and all.
        written: how many sampled tokens of the step stand in its block.
    """

    def __init__(self, name: str, tokenizer: Any, step: StepDetector) -> None:
        self.name, self.step = name, step
        self.index, self.written = 0, 0
        self.pending: tuple[int, ...] = ()
        self.shown = ""
        self._text = Detokenizer(tokenizer)
        self._pieces: list[str] = []  # texts of the step's sampled tokens

    def feed(self, view: ViewSpec) -> Feed:
        """What it writes next."""
        return Feed(self.name, self.pending, view)

    def insert(self, tokens: Sequence[int]) -> list[TokenEvent]:
        """Put tokens of the protocol behind what it writes next."""
        self.pending = (*self.pending, *tokens)
        events = [self._say(token, "inserted") for token in tokens]
        self.shown += "".join(event.text for event in events)
        return events

    def sample(self, token: int) -> tuple[TokenEvent, bool]:
        """Go on behind the sampled token; its event, and whether the step ends with it."""
        event = self._say(token, "sampled")
        self.written = len(self._pieces)
        self._pieces.append(event.text)
        self.pending = (token,)
        self.shown += event.text
        return event, self.step.push(event.text)

    def stop(self, token: int) -> TokenEvent:
        """End its text with a token that is never written."""
        self.written = len(self._pieces)
        self.pending = ()
        return self._say(token, "sampled")

    def cut(self) -> Cut:
        """Where the step ends that the last sampled token has ended."""
        *pieces, last = self._pieces
        before = "".join(pieces)
        end = self.step.rule.find_end(before, last)
        if end is None:  # a rule of the user's own
            return Cut(self.written, before, at_separator=False)
        kept, length = 0, 0
        while kept < len(pieces) and length + len(pieces[kept]) <= end:
            length += len(pieces[kept])
            kept += 1
        text = before + last
        behind = text[end + len(self.step.rule.separator) :].strip()
        return Cut(kept, text[:length], text[length:end], behind)

    def leave_step(self) -> None:
        """Its step has been taken away; nothing is pending."""
        self.pending, self.shown, self.written = (), "", 0
        self._pieces.clear()
        self.step.reset()

    def _say(self, token: int, source: str) -> TokenEvent:
        return TokenEvent(worker=self.name, token=token, text=self._text.push(token), source=source)
