"""The safety mode: the request is checked before the writer may speak, and the answer while it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hogwild.engine.checks import check_integer
from hogwild.errors import UnknownNameError
from hogwild.protocols.async_reasoning.modes import THINKER, THINKER_ONLY, WRITER
from hogwild.protocols.async_reasoning.policies.base import Answer, Ask, check_number, check_ride


@dataclass
class Safety:
    """Settings and state of the safety mode.

    The writer is held while the thinker considers the request. At the thinker's paragraph ends, and when the
    hold is over, it is asked in a side block whether the request is harmless. Yes releases the writer. No
    makes the thinker note that the request is to be declined, which the writer then does. While the writer
    writes it is asked every so often whether the answer is harmless; if not, the writer is stopped, its
    unfinished paragraph is rolled back, and it goes on by declining.

    Attributes:
        hold: forwards for which the writer is held at most.
        every: forwards between two questions while it writes.
        margin: log-odds of yes against no, in nats, above which something counts as harmless.
        doubt: log-odds no further than this from the margin are undecided: the writer is held on.
        undecided: what is done if the check is still undecided when the hold is over: "answer" or "decline".
        ride: as in `ProbePolicy`.
    """

    hold: int = 64
    every: int = 48
    margin: float = 0.0
    doubt: float = 0.0
    undecided: str = "decline"
    ride: str = "auto"
    _checked: bool = False
    _declined: bool = False
    _held: int = 0
    _since: int = 0

    def __post_init__(self) -> None:
        check_integer("hold", self.hold, minimum=1)
        check_integer("every", self.every, minimum=1)
        check_number("margin", self.margin)
        check_number("doubt", self.doubt, minimum=0)
        if self.undecided not in ("answer", "decline"):
            raise UnknownNameError("outcome of an undecided check", self.undecided, ("answer", "decline"))
        check_ride(self.ride)

    @property
    def holds(self) -> bool:
        """Whether the writer may not speak yet."""
        return not self._checked

    @property
    def request(self) -> Ask:
        """The question whether the request is harmless."""
        return Ask("request", THINKER, ride=self.ride)

    @property
    def due(self) -> bool:
        """Whether the next forward is the last for which the writer may be held."""
        return self._held >= self.hold - 1

    def pass_forward(self) -> None:
        """One more forward of a turn."""
        self._held += not self._checked

    def ask(self, mode: str, thinker_paragraph: bool, thinker_ended: bool) -> Ask | None:
        """The question that is due after a forward, if any."""
        if not self._checked:
            return self.request if thinker_paragraph or thinker_ended or self.due else None
        if mode == THINKER_ONLY or self._declined:
            return None
        self._since += 1
        if self._since < self.every:
            return None
        self._since = 0
        return Ask("answer", WRITER, ride=self.ride)

    def judge(self, ask: Ask, answer: Answer | None, thinker_ended: bool) -> bool | None:
        """Whether it is harmless; None: it is not known yet, and the writer is held on.

        Args:
            ask: the question.
            answer: to it; None: it could not be asked, as there was no room for it. That is undecided.
            thinker_ended: the thoughts are over.
        """
        harmless = answer is not None and answer.yes > answer.no + self.margin
        over = thinker_ended or self._held >= self.hold
        if ask.question == "request":
            unclear = answer is None or not abs(answer.yes - answer.no - self.margin) > self.doubt
            if unclear and not over:
                return None
            if answer is None or (unclear and self.doubt > 0):
                harmless = self.undecided == "answer"
            self._checked = True
        self._declined = self._declined or not harmless
        return harmless

    def restart(self) -> None:
        """A new request: it is checked again."""
        self._checked = self._declined = False
        self._held = self._since = 0

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def to_dict(self) -> dict[str, Any]:
        """Settings and state as JSON values; the arguments of the class."""
        return dict(vars(self))
