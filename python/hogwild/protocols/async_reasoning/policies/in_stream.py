"""Questions in the streams themselves, as in the published notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hogwild.protocols.async_reasoning.modes import THINKER, THINKER_ONLY, WRITER
from hogwild.protocols.async_reasoning.policies.base import (
    Answer,
    Ask,
    Decision,
    Moment,
    Pause,
    Policy,
    Speak,
)


@dataclass
class InStreamPolicy(Policy):
    """At the end of a paragraph the stream is asked, and question and answer stay in it.

    While the writer is silent the thinker is asked at each of its paragraph ends whether to begin; while it
    writes, the writer is asked at each of its own whether to go on. The likelier of yes and no counts. The
    thinker cannot end its thoughts. Use it to repeat the published method; the streams fill with questions.
    """

    name: ClassVar[str] = "in-stream"
    forbids_closing: ClassVar[bool] = True

    def decide(self, moment: Moment) -> Decision:
        if moment.mode == THINKER_ONLY:
            return Ask("begin", THINKER, in_stream=True) if moment.thinker_paragraph else None
        return Ask("go on", WRITER, in_stream=True) if moment.writer_paragraph else None

    def answered(self, ask: Ask, answer: Answer, moment: Moment) -> Decision:
        return Speak() if answer.yes > answer.no else Pause()
