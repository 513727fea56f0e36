"""How long somebody waits who listens to the public answer: by its chunks, in seconds and in forwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hogwild.engine.checks import check_integer
from hogwild.engine.events import AnswerEvent, Event, FinishEvent, InputEvent, RollbackEvent, TokenEvent
from hogwild.evaluation.speech import SpeechModel, WordsPerMinute
from hogwild.protocols.async_reasoning.modes import WRITER

CHUNK_TOKENS = 5
TOLERANCE = 1.0  # seconds of silence that a listener hardly minds
# A dollar opens a formula if another closes it in its paragraph, and both stand close to what is between them, or
# both apart from it; otherwise it is a dollar: there is no formula in "$5 or $10".
_FORMULA = re.compile(
    r"""
      (?P<sign>\\[\\$])  # a line break, or a dollar that is meant
    | \$\$.*?(?:\$\$|\Z) | \\\(.*?(?:\\\)|\Z) | \\\[.*?(?:\\\]|\Z)
    | \\begin\{(?P<name>\w+\*?)\}.*?(?:\\end\{(?P=name)\}|\Z)
    | \$(?=(?P<apart>\s)?)(?:\\.|(?!\n\s*\n)[^$\\])+(?(apart)(?<=\s)|(?<!\s))\$(?!\d)
    """,
    re.DOTALL | re.VERBOSE,
)
_BOX = re.compile(r"\\boxed\s*\{")


@dataclass(frozen=True)
class Chunk:
    """Public tokens that are spoken in one go.

    Attributes:
        text: their text.
        tokens: how many they are.
        forward, time: when the last of them was generated (forwards, seconds since the start).
        asked: when the user had asked what this answers, in seconds.
    """

    text: str
    tokens: int
    forward: int
    time: float
    asked: float = 0.0


@dataclass(frozen=True)
class ChunkDelay:
    """One chunk as it is heard; all in seconds since the start.

    Attributes:
        text: what is spoken.
        ready: generated and synthesized.
        start, end: when it is heard: not before it is ready, nor before the chunk before it has ended.
        delay: silence before it.
    """

    text: str
    ready: float
    start: float
    end: float
    delay: float


@dataclass(frozen=True)
class Delays:
    """What a listener waited for. A run that ended without a public token is one silence from start to end.

    Of a run that failed this is what there was until then, and nothing to compare with other runs.

    Attributes:
        first_seconds, first_forward: when the first public token was generated; None if none was.
        chunks: every chunk as it was heard.
        total: seconds of silence before and between chunks.
        beyond_tolerance: the same, but of every silence only what exceeds one second.
        longest: the longest silence, in seconds.
        forwards: forwards, up to that of the last public token, in which none came; all, where none ever came.
        heard: seconds from the start to the end of the last chunk.
    """

    first_seconds: float | None
    first_forward: int | None
    chunks: tuple[ChunkDelay, ...]
    total: float
    beyond_tolerance: float
    longest: float
    forwards: int
    heard: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def measure_delays(
    events: Iterable[Event], speech: SpeechModel | None = None, chunk_tokens: int = CHUNK_TOKENS
) -> Delays:
    """The delays of a run, live or from a trace.

    A chunk is ready once its last token is generated and its speech is synthesized; it starts when it is ready
    and the one before it has ended; the time from there to its start is the delay. The wait for the first
    chunk of a turn begins when the user has asked. Where the run has ended without a word, all of it was waited for.

    Args:
        events: of a run of `AsyncReasoningProtocol`, by whatever method.
        speech: how long chunks take to speak; by default 160 words a minute.
        chunk_tokens: tokens of a chunk. A formula is kept whole, so chunks may be longer.
    """
    speech = speech or WordsPerMinute()
    events = list(events)
    tokens = public_tokens(events)
    heard: list[ChunkDelay] = []
    end = 0.0
    for chunk in cut_chunks(events, chunk_tokens):
        spoken = speech.speak(chunk.text)
        ready = chunk.time + spoken.synthesis
        before = max(end, chunk.asked)
        start = max(before, ready)
        end = start + spoken.seconds
        heard.append(ChunkDelay(chunk.text, ready, start, end, start - before))
    silences = [chunk.delay for chunk in heard]
    forwards = tokens[-1].forward - len({token.forward for token in tokens}) if tokens else 0
    if not tokens and events and isinstance(events[-1], FinishEvent):
        # Else whoever never answers would be the quickest.
        silences, forwards = [events[-1].time], events[-1].forward
    return Delays(
        first_seconds=tokens[0].time if tokens else None,
        first_forward=tokens[0].forward if tokens else None,
        chunks=tuple(heard),
        total=sum(silences),
        beyond_tolerance=sum(max(0.0, delay - TOLERANCE) for delay in silences),
        longest=max(silences, default=0.0),
        forwards=forwards,
        heard=end,
    )


def public_tokens(events: Iterable[Event]) -> list[TokenEvent]:
    """The tokens that the user was told, in order: those that were rolled back are not among them."""
    said: list[TokenEvent] = []
    for event in events:
        if isinstance(event, TokenEvent) and event.worker == WRITER:
            said.append(event)
        elif isinstance(event, RollbackEvent) and event.worker == WRITER:
            del said[-event.tokens :]
    return [event for event in said if event.source != "inserted"]


def cut_chunks(events: Iterable[Event], chunk_tokens: int = CHUNK_TOKENS) -> list[Chunk]:
    r"""The public answer in chunks of so many tokens; `$...$`, `\(...\)`, `\[...\]` and `\boxed{}` stay whole.

    A turn's answer ends a chunk. A formula that never closes goes to the end of its answer.
    """
    check_integer("chunk_tokens", chunk_tokens, minimum=1)
    chunks = []
    for asked, tokens in _turns(list(events)):
        inside = _inside_formulas("".join(token.text for token in tokens))
        part: list[TokenEvent] = []
        place = 0
        for token in tokens:
            part.append(token)
            place += len(token.text)
            if len(part) >= chunk_tokens and place not in inside:
                chunks.append(_chunk(part, asked))
                part = []
        if part:
            chunks.append(_chunk(part, asked))
    return [chunk for chunk in chunks if chunk.text.strip()]


def _turns(events: Sequence[Event]) -> list[tuple[float, list[TokenEvent]]]:
    """Of every turn, when the user asked, and its public tokens."""
    public = {id(event) for event in public_tokens(events)}
    turns: list[tuple[float, list[TokenEvent]]] = [(0.0, [])]
    answered = False
    for event in events:
        if isinstance(event, AnswerEvent):
            answered = True
        elif isinstance(event, InputEvent) and event.to == "input" and answered:
            turns.append((event.time, []))
            answered = False
        elif id(event) in public and isinstance(event, TokenEvent):
            turns[-1][1].append(event)
    return turns


def _chunk(part: Sequence[TokenEvent], asked: float) -> Chunk:
    text = "".join(event.text for event in part)
    return Chunk(text, len(part), part[-1].forward, part[-1].time, asked)


def _inside_formulas(text: str) -> set[int]:
    """The places in a text, between two of its characters, at which a formula or a box has begun and not ended."""
    spans = [match.span() for match in _FORMULA.finditer(text) if not match["sign"]]
    spans += [(box.start(), _end_of_box(text, box.end())) for box in _BOX.finditer(text)]
    return {place for start, end in spans for place in range(start + 1, end)}


def _end_of_box(text: str, place: int) -> int:
    """Where a box closes whose contents begin at `place`; behind the text if it does not."""
    depth = 1
    for index in range(place, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return index + 1
    return len(text) + 1
