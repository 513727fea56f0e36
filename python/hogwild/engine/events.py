"""What happens in a session, as data: the one stream that command line, server, evaluation and traces read.

Every event says when it happened, in seconds and in forwards of its session. Events are frozen dataclasses
that survive a round trip through JSON: a trace of them replays a run (see `hogwild.engine.trace`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from hogwild.errors import UnknownNameError

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

SOURCES = ("sampled", "inserted", "pushed")
FINISH_REASONS = ("answer", "eos", "max_forwards", "max_length", "cancelled", "error")


def _is_number(value: object) -> bool:
    """A finite float, or an integer that is one without loss."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53


# annotation of a field -> what is expected, and the test of a JSON value
_FIELD_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("text", lambda value: isinstance(value, str)),
    "int": ("an integer", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a finite number", _is_number),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str | None": ("text or null", lambda value: value is None or isinstance(value, str)),
    "list[str]": (
        "a list of texts",
        lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    ),
    "dict[str, Any]": ("an object", lambda value: isinstance(value, dict)),
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected finite numbers, got {name}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events.

    `forward` counts the forwards that the session had taken part in (0: before the first); `time` is in
    seconds since the session was opened. Protocols leave both alone: the session fills them in.
    """

    type: ClassVar[str]
    forward: int = 0
    time: float = 0.0

    def stamped(self, forward: int, time: float) -> Self:
        """This event with `forward` and `time` set."""
        twin = object.__new__(type(self))  # dataclasses.replace takes five times as long, for every token
        twin.__dict__.update(self.__dict__, forward=forward, time=time)
        return twin

    def to_dict(self) -> dict[str, Any]:
        """The event as a dict of JSON values, `type` first."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"type": self.type, **values}

    def to_json(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Event:
        """Undo `to_dict`.

        Raises:
            UnknownNameError: `type` is not the type of an event.
            ValueError: `type` or a field is missing, or a field is not one of that event.
            TypeError: a field is of the wrong type.
        """
        values = dict(values)
        if "type" not in values:
            raise ValueError(f"an event needs a 'type', got only {sorted(values)}")
        name = values.pop("type")
        cls = EVENT_TYPES.get(name) if isinstance(name, str) else None
        if cls is None:
            raise UnknownNameError("event type", name, EVENT_TYPES)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - fields.keys())
        missing = sorted(
            name
            for name, f in fields.items()
            if name not in values
            and f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
        )
        if unknown or missing:
            raise ValueError(f"event {name!r}: unknown fields {unknown}, missing fields {missing}")
        for field_name, value in values.items():
            expected, fits = _FIELD_TYPES[str(fields[field_name].type)]
            if not fits(value):
                raise TypeError(f"event {name!r}: {field_name}: expected {expected}, got {value!r}")
        return cls(**values)

    @staticmethod
    def from_json(text: str) -> Event:
        """Undo `to_json`; errors as `from_dict`, and ValueError for what is not a JSON object of Unicode text."""
        values = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(values, dict):
            raise ValueError(f"an event is a JSON object, got {type(values).__name__}")
        if "\\u" in text:  # which may stand for half of a character
            try:
                json.dumps(values, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                half = error.object[error.start]
                raise ValueError(f"an event is Unicode text, got {half!r} by itself") from None
        return Event.from_dict(values)


@dataclass(frozen=True, kw_only=True)
class StartEvent(Event):
    """A session begins. `prompt` is the text of what the workers share before they write anything."""

    type: ClassVar[str] = "start"
    protocol: str
    problem: str = ""
    workers: list[str] = field(default_factory=list)
    layout: str = ""
    model: str = ""
    prompt: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class TokenEvent(Event):
    """A token of a worker's text: sampled by the worker, inserted by the protocol (a header, a question), or
    pushed by the user.

    `text` is what this token adds to the worker's text; empty while a character is still incomplete. The
    texts of a worker's token events, joined, are the worker's text, as far as no `RollbackEvent` takes some back.
    """

    type: ClassVar[str] = "token"
    worker: str
    token: int
    text: str = ""
    source: str = "sampled"

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UnknownNameError("source of a token", self.source, SOURCES)


@dataclass(frozen=True, kw_only=True)
class StepEvent(Event):
    """A worker finished its reasoning step `index` (from 1); it now stands in the shared history."""

    type: ClassVar[str] = "step"
    worker: str
    index: int
    text: str


@dataclass(frozen=True, kw_only=True)
class InterventionEvent(Event):
    """The protocol put `text` into a worker's stream, as the redundancy question (paper, section 3.3)."""

    type: ClassVar[str] = "intervention"
    worker: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ModeEvent(Event):
    """The protocol changed its mode, for example from thinking to thinking and writing."""

    type: ClassVar[str] = "mode"
    mode: str


@dataclass(frozen=True, kw_only=True)
class InputEvent(Event):
    """Text that came from outside took effect; `to` says where: "input", or the name of a worker."""

    type: ClassVar[str] = "input"
    text: str
    to: str = "input"


@dataclass(frozen=True, kw_only=True)
class RollbackEvent(Event):
    """The end of a worker's text was taken back: its last `tokens` token events, with `text` as their text."""

    type: ClassVar[str] = "rollback"
    worker: str
    tokens: int
    text: str


@dataclass(frozen=True, kw_only=True)
class ProbeEvent(Event):
    """The protocol asked something behind a worker's text.

    Attributes:
        worker: whose text the question followed.
        question: what was asked: "begin" and "go on" (writing), "unsure", "request" and "answer" (safety).
        yes, no: probabilities of the two answers, 0 for a question without.
        entropy: of the worker's next token in nats, 0 where that was not the question.
        verdict: "yes" or "no": the likelier answer; for "unsure" and the safety questions, what the protocol
            made of it.
    """

    type: ClassVar[str] = "probe"
    worker: str
    question: str
    yes: float = 0.0
    no: float = 0.0
    entropy: float = 0.0
    verdict: str = ""


@dataclass(frozen=True, kw_only=True)
class AnswerEvent(Event):
    """A worker gave an answer."""

    type: ClassVar[str] = "answer"
    worker: str
    text: str


@dataclass(frozen=True, kw_only=True)
class BudgetEvent(Event):
    """What the run answers within `budget` sequential forwards; told for every budget when the run is over.

    `answer` is None where there is none. `given` says that the run itself gave it within the budget; otherwise
    it was made to answer at once, and `text` is what was then written, which no budget counts. `forwards` are
    the sequential forwards that the run took: `budget`, or fewer if it ended before.
    """

    type: ClassVar[str] = "budget"
    budget: int
    answer: str | None = None
    given: bool = False
    forwards: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class FinishEvent(Event):
    """The last event of a session.

    `reason` is one of `FINISH_REASONS`, `forwards` counts the session's forwards, `tokens` the tokens
    that its workers sampled, `seconds` is the time since it was opened; `message` explains an error.
    """

    type: ClassVar[str] = "finish"
    reason: str
    forwards: int = 0
    tokens: int = 0
    seconds: float = 0.0
    message: str = ""

    def __post_init__(self) -> None:
        if self.reason not in FINISH_REASONS:
            raise UnknownNameError("finish reason", self.reason, FINISH_REASONS)


EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        *(StartEvent, TokenEvent, StepEvent, InterventionEvent, ModeEvent, InputEvent, RollbackEvent),
        *(ProbeEvent, AnswerEvent, BudgetEvent, FinishEvent),
    )
}
