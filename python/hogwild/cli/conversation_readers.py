"""Who shows a conversation: live panes on a terminal, the answer as plain text elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.text import Text

from hogwild.cli.conversation import ConversationState
from hogwild.cli.keyboard import Keyboard, Line
from hogwild.cli.live import LiveReader
from hogwild.cli.panes import draw, figures
from hogwild.cli.plain import JsonReader
from hogwild.cli.readers import Reader, on_terminal
from hogwild.cli.text import printable
from hogwild.engine.events import AnswerEvent, Event, FinishEvent, TokenEvent


class LiveConversation(LiveReader):
    """Live panes, and a line to type in; the conversation is printed once it is over.

    Args:
        console: the terminal.
        line: what the user types; None: nobody types.
        thoughts: whether the thoughts are shown.
    """

    def __init__(self, console: Console, line: Line | None, thoughts: bool) -> None:
        self.conversation = ConversationState()
        self._line, self._thoughts = line, thoughts
        super().__init__(console)

    def read(self, event: Event) -> None:
        with self._lock:
            self.conversation.apply(event)

    def __enter__(self) -> LiveConversation:
        super().__enter__()
        if self._line is not None:
            self._stack.enter_context(Keyboard(self._line))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if self.conversation.start is not None:
            self.console.print(_transcript(self.conversation))
        sys.stderr.write(self._stderr.getvalue())

    def _frame(self) -> RenderableType:
        typed = None if self._line is None else self._line.text
        with self._lock:
            return draw(self.conversation, *self.console.size, typed=typed, thoughts=self._thoughts)


def make_conversation_reader(as_json: bool, line: Line | None = None, thoughts: bool | None = None) -> Reader:
    """The reader for where stdout goes.

    Args:
        as_json: whether events are wanted, not a display.
        line: what the user types; None: nobody types.
        thoughts: whether the thoughts are shown; None: on a terminal they are.
    """
    if as_json:
        return JsonReader(sys.stdout)
    if on_terminal():
        return LiveConversation(Console(), line, thoughts is not False)
    return PlainConversation(sys.stdout, sys.stderr, bool(thoughts))


def _transcript(state: ConversationState) -> RenderableType:
    lines = [
        Text(("> " if who == "user" else "") + printable(text.strip()), "bold" if who == "user" else "")
        for who, text in state.said
    ]
    if state.text.strip():
        lines.append(Text(printable(state.text.strip())))
    return Group(*(part for line in lines for part in (line, Text())), figures(state))


class PlainConversation:
    """The answer of each turn, and nothing else, on `out`; the figures, and thoughts if wanted, on `log`."""

    def __init__(self, out: TextIO, log: TextIO, thoughts: bool) -> None:
        self.out, self.log, self._thoughts = out, log, thoughts
        self.conversation = ConversationState()

    def read(self, event: Event) -> None:
        """Takes one event."""
        if isinstance(event, AnswerEvent):
            self._answer()
        self.conversation.apply(event)
        if isinstance(event, TokenEvent) and self._thoughts and event.worker == "thinker":
            self.log.write(printable(event.text))
            self.log.flush()
        elif isinstance(event, FinishEvent):
            self._answer()
            self.log.write(f"{chr(10) if self._thoughts else ''}{figures(self.conversation).plain}\n")
            self.log.flush()

    def _answer(self) -> None:
        if text := self.conversation.text.strip():
            self.out.write(printable(text) + "\n")
            self.out.flush()

    def __enter__(self) -> PlainConversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.out.flush()
