"""When the writer speaks: the contract between the protocol and the policies that decide it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from hogwild.engine.checks import check_integer
from hogwild.errors import UnknownNameError
from hogwild.protocols.async_reasoning.modes import THINKER, THINKER_ONLY, WRITER

LONGEST_SILENCE = 400  # forwards
RIDES = ("auto", "always", "never")
_IN_STREAM = ("begin", "go on")  # questions that may also be asked there
_ASIDE = ("unsure", "request", "answer")


@dataclass(frozen=True)
class Moment:
    """What a policy knows after a forward.

    Attributes:
        mode: "thinker_only" or "thinker_and_writer"; in other modes there is nothing to decide.
        in_mode: forwards since the mode began.
        thinker_paragraph, writer_paragraph: whether that stream's newest token ended a paragraph.
    """

    mode: str
    in_mode: int
    thinker_paragraph: bool = False
    writer_paragraph: bool = False


@dataclass(frozen=True)
class Ask:
    """Ask something with the next forward, and decide by the answer.

    Attributes:
        question: "begin" or "go on" (writing), asked in words; "unsure": how sure the writer is of its next
            token. The safety mode has "request" and "answer" of its own.
        worker: behind whose text the question is asked.
        in_stream: the question and its answer stay in that stream; otherwise nothing of them stays.
        ride: whether a question that is not asked in the stream rides in a forward in which the streams go on.
            "auto": yes, as a guest (`Feed.guest`): every byte of every block is what it would be without it.
            "always": in the others' matrix products, by which their last bits may change. "never": it has a
            forward of its own, before they go on, after which the policy is not asked to decide: nothing else has
            happened.

    Raises:
        UnknownNameError: `question`, `worker` or `ride` is none of these.
        ValueError: `in_stream`, of what is not asked there.
    """

    question: str
    worker: str
    in_stream: bool = False
    ride: str = "auto"

    def __post_init__(self) -> None:
        if self.question not in (*_IN_STREAM, *_ASIDE):
            raise UnknownNameError("question", self.question, (*_IN_STREAM, *_ASIDE))
        if self.worker not in (THINKER, WRITER):
            raise UnknownNameError("worker", self.worker, (THINKER, WRITER))
        if self.in_stream and self.question not in _IN_STREAM:
            raise ValueError(f"in_stream: expected False for the question {self.question!r}, got True")
        check_ride(self.ride)

    @property
    def alone(self) -> bool:
        """Whether nothing else happens in the forward that asks."""
        return self.ride == "never" and not self.in_stream


@dataclass(frozen=True)
class Speak:
    """The writer begins, or goes on."""


@dataclass(frozen=True)
class Pause:
    """The writer is silent; the thinker goes on."""


Decision = Ask | Speak | Pause | None


@dataclass(frozen=True)
class Answer:
    """What came of an `Ask`: natural logs of the probabilities of yes and no, or an entropy in nats."""

    yes: float = 0.0
    no: float = 0.0
    entropy: float = 0.0


@dataclass
class Policy(ABC):
    """Says when the writer speaks. A policy object belongs to one run; the protocol makes its own copy.

    A subclass is a dataclass: its public fields are settings, those with a leading underscore its state,
    JSON values both.

    Attributes:
        name: what it is called on the command line and in traces.
        first_mode: the mode in which a turn begins.
        forbids_closing: whether the thinker may not end its thoughts. If it may, the run is writer_only then.
        in_order: whether the answer begins only when the thoughts have ended, so that nothing of it needs to
            be written before.
        longest_silence: so many forwards after the writer last wrote it goes on, whatever the policy says,
            until the end of a paragraph at least. None: it can be silent for ever.
    """

    name: ClassVar[str]
    first_mode: ClassVar[str] = THINKER_ONLY
    forbids_closing: ClassVar[bool] = False
    in_order: ClassVar[bool] = False

    longest_silence: int | None = LONGEST_SILENCE

    def __post_init__(self) -> None:
        if self.longest_silence is not None:
            check_integer("longest_silence", self.longest_silence, minimum=1)

    @abstractmethod
    def decide(self, moment: Moment) -> Decision:
        """What is to be done after a forward. Not asked while a question is open or the writer is held."""

    def answered(self, ask: Ask, answer: Answer, moment: Moment) -> Decision:
        """What follows from the answer to a question of this policy. An `Ask` is not heeded here."""
        return None

    @property
    def wants_entropy(self) -> bool:
        """Whether `is_unsure` looks at the entropy of the writer's next token."""
        return False

    def is_unsure(self, entropy: float) -> bool:
        """Whether the writer pauses instead of saying the token that it drew with this entropy (nats)."""
        return False

    def restart(self) -> None:
        """A new turn begins: forget what was found out in the last one."""
        for f in fields(self):
            if f.name.startswith("_"):
                setattr(self, f.name, f.default)

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}

    def state(self) -> dict[str, Any]:
        """What has changed since it was made, as JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name.startswith("_")}

    def load_state(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        for name, value in state.items():
            setattr(self, name, value)


def check_ride(ride: object) -> None:
    """Refuse what does not say whether a question rides, see `Ask`: UnknownNameError."""
    if ride not in RIDES:
        raise UnknownNameError("ride", str(ride), RIDES)


def check_number(name: str, value: object, minimum: float | None = None) -> None:
    """Refuse what is not a finite number of at least `minimum`.

    Raises:
        TypeError: not a number.
        ValueError: not finite, or too small.
    """
    expected = "a finite number" if minimum is None else f"a finite number >= {minimum}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if not abs(value) < float("inf") or (minimum is not None and value < minimum):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
