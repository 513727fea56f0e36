"""Asynchronous reasoning beside its baselines: how right the public answer is, and how long a listener waits."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from hogwild.engine.events import Event, FinishEvent
from hogwild.evaluation.delays import CHUNK_TOKENS, measure_delays
from hogwild.evaluation.speech import SpeechModel
from hogwild.evaluation.warm_up import WARM_UP, needs_warm_up
from hogwild.protocols import Engine, ThinkResult


class Question(Protocol):
    """A problem of a task."""

    @property
    def id(self) -> str: ...

    @property
    def text(self) -> str: ...


Score = Callable[[Any, str], float]
"""Called as ``score(question, answer)`` with the public answer; 1 is right, 0 wrong."""

Read = Callable[[Any, str], str]
"""Called as ``read(question, text)`` with a public text without a box; gives the answer that it states."""


def read_all(question: Question, text: str) -> str:
    """The text as it stands."""
    return text.strip()


@dataclass(frozen=True)
class ThinkRecord:
    """One run, scored.

    Attributes:
        problem, method, seed: what was run.
        answer: what stands in the last box of the public text that holds an answer; without one, what `Read` finds.
        score: of the public answer; thoughts do not count.
        first_seconds, first_forward, delay, beyond_tolerance, longest, delay_forwards: see `Delays`; of a run that
            failed, as far as it came.
        forwards, tokens, seconds: of the whole run.
        finish: why it ended.
        text: all that the user was told.
        error: what went wrong, if something did; the score is 0 then.
    """

    problem: str
    method: str
    seed: int
    answer: str
    score: float
    first_seconds: float | None
    first_forward: int | None
    delay: float
    beyond_tolerance: float
    longest: float
    delay_forwards: int
    forwards: int
    tokens: int
    seconds: float
    finish: str
    text: str
    error: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other records of a method."""
        return self.problem, self.seed


def evaluate_thinking(
    engine: Engine,
    questions: Iterable[Question],
    score: Score,
    method: str = "async",
    *,
    seed: int = 0,
    speech: SpeechModel | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    watch: Callable[[Question, Sequence[Event]], None] = lambda question, events: None,
    read: Read = read_all,
    **options: Any,
) -> Iterator[ThinkRecord]:
    """Run a method on questions, one after the other, so that the delays are those of a user who is alone.

    Args:
        engine: where it runs.
        questions: the problems of a task.
        score: how right an answer is; see `Score`.
        method: "async", "think" or "no-think".
        seed: of the random draws.
        speech, chunk_tokens: see `measure_delays`.
        watch: called with the events of each run.
        read: finds the answer in a text without a box, such as `Task.read`; by default all of the text is the answer.
        options: further arguments of `Engine.thinking`, the same for all methods that are compared.

    A run that fails is recorded with its error and scores 0; the others go on. On CUDA the first question is begun once
    before, and nothing is kept of that: what is compiled then is no delay.
    """
    for place, question in enumerate(questions):
        if place == 0 and needs_warm_up(engine):
            limit = min(WARM_UP, options.get("max_forwards", WARM_UP))
            short = engine.thinking(question.text, method, seed=seed, **{**options, "max_forwards": limit})
            for _ in engine.run([short]):
                pass
        protocol = engine.thinking(question.text, method, seed=seed, **options)
        events = [event for _, event in engine.run([protocol])]
        watch(question, events)
        yield record_run(question, method, seed, events, score, speech, chunk_tokens, read)


def record_run(
    question: Question,
    method: str,
    seed: int,
    events: Sequence[Event],
    score: Score,
    speech: SpeechModel | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    read: Read = read_all,
) -> ThinkRecord:
    """The record of one run, from its events."""
    result, delays = ThinkResult.from_events(events), measure_delays(events, speech, chunk_tokens)
    answer = result.answer or read(question, result.text)
    last = events[-1]
    failed = isinstance(last, FinishEvent) and last.reason == "error"
    return ThinkRecord(
        problem=question.id,
        method=method,
        seed=seed,
        answer=answer,
        score=score(question, answer) if answer and not failed else 0.0,
        first_seconds=delays.first_seconds,
        first_forward=delays.first_forward,
        delay=delays.total,
        beyond_tolerance=delays.beyond_tolerance,
        longest=delays.longest,
        delay_forwards=delays.forwards,
        forwards=result.forwards,
        tokens=result.tokens,
        seconds=result.seconds,
        finish=result.finish_reason,
        text=result.text,
        error=last.message if failed and isinstance(last, FinishEvent) else "",
    )


def write_records(path: str | os.PathLike[str], records: Iterable[ThinkRecord]) -> list[ThinkRecord]:
    """Write records to a file as they come, a line of JSON each, flushed; all of them."""
    written = []
    with Path(path).open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
            file.flush()
            written.append(record)
    return written


@dataclass(frozen=True)
class ThinkSummary:
    """A method on a task: means over its runs, times in seconds; None where no run has a value.

    Attributes:
        method: its name.
        runs, failed: how many; runs that failed count as wrong, and are in no other mean.
        spoke: runs, of those that did not fail, in which the user was told anything at all.
        accuracy: mean score.
        first_seconds, first_forward: of the runs that spoke.
        delay, beyond_tolerance, longest, delay_forwards: see `Delays`; a run that never spoke was waited through.
        forwards: of the whole run.
    """

    method: str
    runs: int
    failed: int
    spoke: int
    accuracy: float
    first_seconds: float | None
    first_forward: float | None
    delay: float | None
    beyond_tolerance: float | None
    longest: float | None
    delay_forwards: float | None
    forwards: float | None


def summarize(records: Iterable[ThinkRecord]) -> list[ThinkSummary]:
    """A summary of each method, in the order in which they come: the points of a plot of delay against accuracy."""
    methods: dict[str, list[ThinkRecord]] = {}
    for record in records:
        methods.setdefault(record.method, []).append(record)
    return [_summary(method, runs) for method, runs in methods.items()]


def _summary(method: str, runs: list[ThinkRecord]) -> ThinkSummary:
    done = [run for run in runs if not run.error]  # a run that breaks off early would be a quick one
    spoke = [run for run in done if run.first_forward is not None]

    def mean(name: str, among: list[ThinkRecord] = done) -> float | None:
        return statistics.fmean(getattr(run, name) for run in among) if among else None

    return ThinkSummary(
        method=method,
        runs=len(runs),
        failed=len(runs) - len(done),
        spoke=len(spoke),
        accuracy=statistics.fmean(run.score for run in runs),
        first_seconds=mean("first_seconds", spoke),
        first_forward=mean("first_forward", spoke),
        delay=mean("delay"),
        beyond_tolerance=mean("beyond_tolerance"),
        longest=mean("longest"),
        delay_forwards=mean("delay_forwards"),
        forwards=mean("forwards"),
    )
