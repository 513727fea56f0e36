"""Policies that look at nothing but the count of forwards: the baselines of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hogwild.engine.checks import check_integer
from hogwild.protocols.async_reasoning.modes import THINKER_AND_WRITER, THINKER_ONLY, WRITER_ONLY
from hogwild.protocols.async_reasoning.policies.base import Decision, Moment, Pause, Policy, Speak


@dataclass
class FixedRatioPolicy(Policy):
    """So many forwards of thinking alone, so many of thinking and writing, and so on.

    Attributes:
        think, write: forwards of each.
    """

    name: ClassVar[str] = "fixed-ratio"

    think: int = 60
    write: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("think", self.think, minimum=1)
        check_integer("write", self.write, minimum=1)

    def decide(self, moment: Moment) -> Decision:
        if moment.mode == THINKER_ONLY:
            return Speak() if moment.in_mode >= self.think else None
        return Pause() if moment.in_mode >= self.write else None


@dataclass
class AlwaysOnPolicy(Policy):
    """The writer writes from the first forward on and never pauses."""

    name: ClassVar[str] = "always-on"
    first_mode: ClassVar[str] = THINKER_AND_WRITER

    def decide(self, moment: Moment) -> Decision:
        return Speak() if moment.mode == THINKER_ONLY else None  # after an interruption


@dataclass
class ThinkFirstPolicy(Policy):
    """Think, then answer: the writer is silent until the thinker ends its thoughts. A baseline."""

    name: ClassVar[str] = "think-first"
    in_order: ClassVar[bool] = True

    longest_silence: int | None = None

    def decide(self, moment: Moment) -> Decision:
        return Pause() if moment.mode == THINKER_AND_WRITER else None  # it thinks again about new input


@dataclass
class NoThinkingPolicy(Policy):
    """The answer at once, without any thoughts. A baseline."""

    name: ClassVar[str] = "no-thinking"
    first_mode: ClassVar[str] = WRITER_ONLY
    in_order: ClassVar[bool] = True

    longest_silence: int | None = None

    def decide(self, moment: Moment) -> Decision:
        return None
