"""What workers wrote, rearranged for the judge: each one's text together, whatever the layout was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hogwild.engine.events import Event, StartEvent, TokenEvent
from hogwild.engine.trace import TraceError, read_trace

NO_SYNC, STEP_WISE, TOKEN_WISE = "no sync", "step-wise", "token-wise"
MODES = (NO_SYNC, STEP_WISE, TOKEN_WISE)  # how soon workers see each other's text (paper, Figure 7)


class NoConversationError(TraceError):
    """A run in which nobody could have talked to anybody."""


@dataclass(frozen=True)
class Conversation:
    """One run, as the judge sees it.

    Attributes:
        name: where it comes from.
        mode: one of `MODES`.
        problem: what was to be solved.
        texts: per worker all that it wrote.
    """

    name: str
    mode: str
    problem: str
    texts: dict[str, str]

    @property
    def text(self) -> str:
        """The workers' texts one after the other, each under the worker's name.

        Scores then do not depend on how finely the steps of a run were mixed.
        """
        parts = [f"=== {worker} ===\n\n{text.strip()}" for worker, text in self.texts.items()]
        return "\n\n".join(parts)

    @property
    def digest(self) -> str:
        """What tells it from another run that was recorded under the same name."""
        return hashlib.sha256(f"{self.problem}\n{self.text}".encode()).hexdigest()[:16]


def read_conversation(path: Path) -> Conversation:
    """The conversation of a trace.

    Raises:
        NoConversationError: its run had fewer than two workers, or was of a method without conversation.
        TraceError: the file is not a trace.
        OSError: it cannot be opened.
    """
    conversation = rearrange(str(path), read_trace(path))
    count = len(conversation.texts)
    if not conversation.mode or count < 2:
        raise NoConversationError(
            f"{path}: a conversation is a run of Hogwild! or self-consistency with at least two workers, and this "
            f"run had {count}"
        )
    return conversation


def rearrange(name: str, events: Iterable[Event]) -> Conversation:
    """The conversation of a run's events."""
    start = StartEvent(protocol="")
    texts: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, StartEvent):
            start = event
            texts = {worker: [] for worker in event.workers}
        elif isinstance(event, TokenEvent):
            texts.setdefault(event.worker, []).append(event.text)
    joined = {worker: "".join(parts) for worker, parts in texts.items()}
    return Conversation(name, _mode(start), start.problem, joined)


def _mode(start: StartEvent) -> str:
    """How the workers of a run see each other; "" for a method that is nobody's conversation."""
    if start.protocol == "collaboration":
        return STEP_WISE if start.layout == "interleaved" else TOKEN_WISE
    return NO_SYNC if start.protocol == "self-consistency" else ""
