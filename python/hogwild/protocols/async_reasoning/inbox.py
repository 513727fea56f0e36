"""What is said to a run from outside, by any thread, until the run listens."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hogwild.errors import SessionFinishedError

TARGETS = ("input", "thinker", "writer")
MOMENTS = ("now", "sentence", "paragraph")


@dataclass(frozen=True)
class Push:
    """Text for one of `TARGETS`, at one of `MOMENTS`, with its token ids."""

    text: str
    tokens: tuple[int, ...]
    to: str = "input"
    at: str = "now"


@dataclass(frozen=True)
class Interrupt:
    """The user breaks the answer off: what stands behind `character`, or came after `seconds`, was not heard."""

    character: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Finish:
    """No more input; the writer ends its answer."""


@dataclass(frozen=True)
class Cancel:
    """The run ends now."""


Message = Push | Interrupt | Finish | Cancel


class Inbox:
    """Messages in the order in which they came. All methods may be called from any thread.

    Attributes:
        on_message: called, in the thread of the sender, after each message and when the inbox closes.
    """

    def __init__(self) -> None:
        self.on_message: Callable[[], None] | None = None
        self._messages: deque[Message] = deque()
        self._changed = threading.Condition()
        self._closed = self._finishing = False

    def put(self, message: Message) -> None:
        """Add a message.

        Raises:
            SessionFinishedError: the run has ended; or text is pushed after a `Finish`.
        """
        with self._changed:
            if self._closed:
                raise SessionFinishedError("the session has ended")
            if self._finishing and isinstance(message, Push):
                raise SessionFinishedError("the session is finishing its answer and takes no more input")
            self._finishing = self._finishing or isinstance(message, Finish)
            self._messages.append(message)
            self._changed.notify_all()
        self._tell()

    def take(self) -> Message | None:
        """The oldest message; None: there is none."""
        with self._changed:
            return self._messages.popleft() if self._messages else None

    def peek(self) -> list[Message]:
        """All messages, which stay."""
        with self._changed:
            return list(self._messages)

    def close_if_empty(self) -> bool:
        """Close the inbox unless there is a message that nobody has taken: so none is ever lost."""
        with self._changed:
            if self._messages:
                return False
            self._close()
        self._tell()
        return True

    def close(self) -> list[Message]:
        """Close the inbox; the messages that nobody took."""
        with self._changed:
            self._close()
            messages = list(self._messages)
            self._messages.clear()
        self._tell()
        return messages

    @property
    def has_messages(self) -> bool:
        """Whether there are messages that nobody has taken."""
        return bool(self._messages)

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a message, or for the end; False if neither came in so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._messages) or self._closed, seconds)

    def _close(self) -> None:
        self._closed = True
        self._changed.notify_all()

    def _tell(self) -> None:
        if self.on_message is not None:
            self.on_message()
