"""The writer's own doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hogwild.engine.checks import check_integer
from hogwild.protocols.async_reasoning.modes import THINKER_ONLY, WRITER
from hogwild.protocols.async_reasoning.policies.base import (
    Answer,
    Ask,
    Decision,
    Moment,
    Policy,
    Speak,
    check_number,
    check_ride,
)


@dataclass
class EntropyPolicy(Policy):
    """The writer pauses where it does not know how to go on, and goes on where it does.

    A token drawn from a distribution with an entropy above `threshold` is not said: the writer pauses before
    it. From then on its next-token entropy is measured every `every` forwards, after the thoughts that there
    are by then, and at most `threshold - hysteresis` lets it go on. The first measurement comes after `every`
    forwards of a turn.

    Attributes:
        threshold, hysteresis: in nats; the second at most as large as the first.
        every: forwards between two measurements.
        ride: as in `ProbePolicy`.
    """

    name: ClassVar[str] = "entropy"

    threshold: float = 2.0
    hysteresis: float = 0.5
    every: int = 20
    ride: str = "auto"
    _since: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("every", self.every, minimum=1)
        check_number("threshold", self.threshold, minimum=0)
        check_number("hysteresis", self.hysteresis, minimum=0)
        if self.hysteresis > self.threshold:
            raise ValueError(
                f"hysteresis: expected at most the threshold of {self.threshold}, got {self.hysteresis}"
            )
        check_ride(self.ride)

    @property
    def wants_entropy(self) -> bool:
        return True

    def is_unsure(self, entropy: float) -> bool:
        return entropy > self.threshold

    def decide(self, moment: Moment) -> Decision:
        if moment.mode != THINKER_ONLY:
            self._since = 0
            return None
        self._since += 1
        if self._since < self.every:
            return None
        self._since = 0
        return Ask("unsure", WRITER, ride=self.ride)

    def answered(self, ask: Ask, answer: Answer, moment: Moment) -> Decision:
        return Speak() if answer.entropy <= self.threshold - self.hysteresis else None
