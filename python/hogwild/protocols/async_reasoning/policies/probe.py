"""Questions in a side block, of which nothing stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hogwild.engine.checks import check_integer
from hogwild.errors import UnknownNameError
from hogwild.protocols.async_reasoning.modes import ACTIVE, THINKER, THINKER_AND_WRITER, THINKER_ONLY
from hogwild.protocols.async_reasoning.policies.base import (
    Answer,
    Ask,
    Decision,
    Moment,
    Pause,
    Policy,
    Speak,
    check_number,
    check_ride,
)


@dataclass
class ProbePolicy(Policy):
    """Every so often the question is asked behind a stream's text, in a block that is emptied again.

    The score of an answer is the log-odds of yes against no, each a set of tokens. Above `margin` there is
    enough, and the writer speaks; once there is, it takes a score below `margin - hysteresis` to change that,
    and then the writer pauses at the end of its own paragraph.

    Attributes:
        every: forwards between two questions.
        at: "forwards" asks every so many, "paragraph" at the thinker's paragraph ends, "either" at both.
        margin, hysteresis: in nats.
        ask: whose text the question follows: "thinker" or "writer".
        ride: whether the question rides in a forward in which the streams go on: "auto", so that no bit of what
            they compute changes; "always", as cheaply as can be; or "never". See `Ask`.
    """

    name: ClassVar[str] = "probe"

    every: int = 20
    at: str = "forwards"
    margin: float = 0.0
    hysteresis: float = 1.0
    ask: str = THINKER
    ride: str = "auto"
    _since: int = 0
    _enough: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("every", self.every, minimum=1)
        if self.at not in ("forwards", "paragraph", "either"):
            raise UnknownNameError("moment of a probe", self.at, ("forwards", "paragraph", "either"))
        check_number("margin", self.margin)
        check_number("hysteresis", self.hysteresis, minimum=0)
        if self.ask not in ACTIVE[THINKER_AND_WRITER]:
            raise UnknownNameError("stream to ask", self.ask, ACTIVE[THINKER_AND_WRITER])
        check_ride(self.ride)

    def decide(self, moment: Moment) -> Decision:
        self._since += 1
        if moment.mode == THINKER_AND_WRITER and moment.writer_paragraph and not self._enough:
            return Pause()
        due = self.at != "paragraph" and self._since >= self.every
        if due or (self.at != "forwards" and moment.thinker_paragraph):
            self._since = 0
            question = "begin" if moment.mode == THINKER_ONLY else "go on"
            return Ask(question, self.ask, ride=self.ride)
        return None

    def answered(self, ask: Ask, answer: Answer, moment: Moment) -> Decision:
        # compared without a difference: both may be -inf, and then there is not enough
        self._enough = answer.yes > answer.no + self.margin - (self.hysteresis if self._enough else 0.0)
        return Speak() if self._enough and moment.mode == THINKER_ONLY else None
