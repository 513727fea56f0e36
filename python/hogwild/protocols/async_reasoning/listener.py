"""A protocol that can be spoken to, from any thread, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hogwild.engine.checks import check_integer, check_text
from hogwild.engine.protocol import Protocol
from hogwild.errors import UnknownNameError
from hogwild.prompting import encode_plain
from hogwild.protocols.async_reasoning.inbox import (
    MOMENTS,
    TARGETS,
    Cancel,
    Finish,
    Inbox,
    Interrupt,
    Message,
    Push,
)


class Listener(Protocol):
    """The user's side of a protocol. All methods check what they are given and put it into the inbox.

    Args:
        tokenizer: writes what is pushed.

    Attributes:
        inbox: what has come from outside and was not heard yet.
        undelivered: texts that were pushed but that the end of the run came before.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.inbox = Inbox()
        self.undelivered: tuple[str, ...] = ()

    def push(self, text: str, to: str = "input", at: str = "now") -> None:
        """Say something to the run while it goes on.

        The token that each stream has sampled last is written first. From the next forward on both streams
        see the text. Texts for one target take effect in the order in which they were pushed: a later one
        that is due takes earlier ones along. Between two turns, text for the input is the next turn.

        Args:
            text: any text; what spells a control token is written in ordinary ones.
            to: "input": the user adds to the request, and the thinker is told so. "thinker", "writer": the
                text goes on where that stream stands, as if the stream had said it.
            at: "now", or when the stream next ends a "sentence" or a "paragraph"; for the input, the thinker,
                or the writer once the thoughts have ended. In the middle of a character all wait for its end.

        Raises:
            SessionFinishedError: the run has ended, or `finish` was called.
            UnknownNameError: no such target or moment.
            ValueError, TypeError: not text, no text, or text that is not Unicode or cannot be written without
                control tokens; or that would not fit into the model's context even behind the prompt alone.
        """
        check_text("text", text)
        if to not in TARGETS:
            raise UnknownNameError("target of a push", to, TARGETS)
        if at not in MOMENTS:
            raise UnknownNameError("moment of a push", at, MOMENTS)
        tokens = tuple(encode_plain(self._tokenizer, text))
        if self.max_length is not None and len(tokens) > (room := self.max_length - self._prompt_length):
            raise ValueError(
                f"text: expected at most {max(room, 0)} tokens, as the model has positions for {self.max_length} and "
                f"the prompt takes {self._prompt_length}, got {len(tokens)}"
            )
        self.inbox.put(Push(text, tokens, to, at))

    @property
    def _prompt_length(self) -> int:
        """Tokens that stand before a text that is pushed, wherever that is, and never go away."""
        return 0

    def interrupt(self, character: int | None = None, *, seconds: float | None = None) -> None:
        """Break the answer off. The writer stops at once, what was not heard is rolled back, thinking goes on.

        The writer stays silent until there is new input, or for `hold_after_interrupt` forwards; then the
        policy decides. Before the first word of an answer this does nothing.

        Args:
            character: so many characters of the turn's public text were heard; a token that begins among them
                is kept whole. None: that does not limit it.
            seconds: what was written until then was heard, in seconds since the run began, as in events.

        Raises:
            SessionFinishedError: the run has ended.
            ValueError, TypeError: not a number from 0 on.
        """
        if character is not None:
            check_integer("character", character, minimum=0)
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise TypeError(f"seconds: expected a number >= 0, got {seconds!r}")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"seconds: expected a number >= 0, got {seconds!r}")
        self.inbox.put(Interrupt(character, seconds))

    def finish(self) -> None:
        """End the thoughts and let the writer end its answer; nothing more is taken in. Between turns: the end.

        Raises:
            SessionFinishedError: the run has ended.
        """
        self.inbox.put(Finish())

    def cancel(self) -> None:
        """End the run before the next forward; nothing happens if it has ended."""
        if not self.inbox.closed:
            self.inbox.put(Cancel())

    @property
    def has_messages(self) -> bool:
        return self.inbox.has_messages

    def notify(self, callback: Callable[[], None]) -> None:
        self.inbox.on_message = callback

    def _lose(self, messages: Sequence[Message]) -> None:
        """Note the texts of messages that come too late."""
        texts = [message.text for message in messages if isinstance(message, Push)]
        self.undelivered = (*self.undelivered, *texts)
