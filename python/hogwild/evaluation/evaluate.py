"""One method on a task: every problem is run once for each seed, scored within each budget, and written down."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hogwild.engine import Event, FinishEvent, Protocol, TokenEvent, TraceWriter
from hogwild.engine.events import BudgetEvent
from hogwild.evaluation.clock import Clock
from hogwild.evaluation.driver import Outcome, run_jobs
from hogwild.evaluation.plan import Plan
from hogwild.evaluation.records import Point, Record, RecordFile
from hogwild.evaluation.tasks import Problem, Task
from hogwild.evaluation.warm_up import WARM_UP, needs_warm_up
from hogwild.protocols import Engine

_LONGEST = 100  # bytes of a problem's id in a file's name, which may have 255


class Job(NamedTuple):
    """One run: which problem, with which seed."""

    problem: Problem
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """A method on a task.

    Attributes:
        engine: where the runs take place.
        task: what is asked.
        method: what runs, as `hogwild.protocols.methods.parse` reads it.
        plan: the settings.
        traces: a folder for a trace of each run, or None for no traces.
    """

    engine: Engine
    task: Task
    method: str
    plan: Plan
    traces: Path | None = None

    def jobs(self) -> list[Job]:
        """All runs."""
        return [Job(problem, seed) for seed in self.plan.seeds for problem in self.plan.problems(self.task)]

    def known(self, records: RecordFile) -> list[Record]:
        """The records of those runs that need not be repeated."""
        jobs = [job for job in self.jobs() if records.has(job.problem.id, job.seed)]
        return [records.records[job.problem.id, job.seed] for job in jobs]

    def settings(self) -> dict[str, Any]:
        """What the records depend on, as JSON values."""
        config = self.engine.model.config
        return {
            "task": self.task.name,
            "data": str(getattr(self.task, "data", None) or ""),
            "problems": self.task.digest,
            "method": self.method,
            "model": str(getattr(config, "name_or_path", "")),
            "dtype": str(self.engine.model.dtype).removeprefix("torch."),
            "budgets": list(self.plan.budgets),
            "sampling": self.plan.sampling,
            "family": self.plan.family,
            "at_once": self.plan.at_once,
        }

    def run(self, records: RecordFile, tell: Callable[[Record], None] = lambda record: None) -> list[Record]:
        """Do what is not recorded yet, and return the records of all runs of the plan.

        Args:
            records: where they are written; what it has already is not run again, unless it failed.
            tell: called with each new record.
        """
        jobs = self.jobs()
        waiting = [job for job in jobs if not records.has(job.problem.id, job.seed)]
        if needs_warm_up(self.engine):  # else compiling would be part of the first runs' seconds
            first = waiting[: self.plan.at_once]
            for _ in run_jobs(self.engine, first, self._short_protocol, self.plan.at_once):
                pass
        for record in self._score_all(run_jobs(self.engine, waiting, self._protocol, self.plan.at_once)):
            records.add(record)
            tell(record)
        return [records.records[job.problem.id, job.seed] for job in jobs]

    def _short_protocol(self, job: Job) -> Protocol:
        return self._protocol(job, (min(WARM_UP, self.plan.budgets[-1]),))

    def _protocol(self, job: Job, budgets: tuple[int, ...] | None = None) -> Protocol:
        return self.engine.method(
            self.method,
            job.problem.text,
            seed=job.seed,
            budgets=budgets or self.plan.budgets,
            answer=self.task.answer_form,
            answer_tokens=self.task.answer_tokens,
            find_answer=self.task.find,
            **self.plan.settings,
        )

    def _score_all(self, outcomes: Iterator[Outcome[Job]]) -> Iterator[Record]:
        """Score at once what is a matter of milliseconds, and programs beside the runs.

        Runs wait for programs when more of them are being scored than can be at a time: a program of ours that is
        killed would lose all that are not.
        """
        if not self.task.runs_code:
            for outcome in outcomes:
                yield self._record(outcome)
            return
        scoring: list[Future[Record]] = []
        at_once = max(1, (os.cpu_count() or 1) // 2)
        with ThreadPoolExecutor(at_once) as threads:
            for outcome in outcomes:
                scoring.append(threads.submit(self._record, outcome))
                if len(scoring) > at_once:
                    wait(scoring, return_when=FIRST_COMPLETED)
                yield from [future.result() for future in scoring if future.done()]
                scoring = [future for future in scoring if not future.done()]
            yield from (future.result() for future in scoring)

    def _record(self, outcome: Outcome[Job]) -> Record:
        problem, seed = outcome.job
        if self.traces is not None:
            write_trace(trace_path(self.traces, self.method, problem.id, seed), outcome.events)
        clock = Clock(outcome.events)
        texts: dict[str, list[str]] = {}
        scores: dict[str, float] = {}
        points = []
        finish = FinishEvent(reason="cancelled")
        for event in outcome.events:
            if isinstance(event, TokenEvent):
                texts.setdefault(event.worker, []).append(event.text)
            elif isinstance(event, FinishEvent):
                finish = event
            elif isinstance(event, BudgetEvent):
                answer = event.answer
                if answer is not None and answer not in scores:
                    scores[answer] = self.task.score(problem, answer)
                score = 0.0 if answer is None else scores[answer]
                seconds = clock.seconds(event.forwards)
                points.append(Point(event.budget, answer, event.given, event.forwards, seconds, score))
        return Record(
            problem=problem.id,
            seed=seed,
            points=tuple(points),
            finish=finish.reason,
            forwards=finish.forwards,
            tokens=clock.tokens,
            seconds=finish.seconds,
            texts={worker: "".join(parts) for worker, parts in texts.items()},
            error=finish.message if finish.reason == "error" else "",
        )


def file_name(text: str) -> str:
    """The text with only what a file may be called everywhere."""
    return re.sub(r"[^\w.+-]+", "-", text)


def trace_path(folder: Path, method: str, problem: str, seed: int) -> Path:
    """Where the trace of a run is; no two runs have the same place."""
    name = file_name(problem)
    if name != problem or len(name.encode()) > _LONGEST:
        cut = name.encode()[:_LONGEST].decode(errors="ignore")
        name = f"{cut}-{hashlib.sha256(problem.encode()).hexdigest()[:8]}"
    return folder / file_name(method) / f"{name}-{seed}.jsonl"


def write_trace(path: Path, events: Sequence[Event]) -> None:
    """Write a run's events for `hogwild replay` and `hogwild judge`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TraceWriter(path) as trace:
        for event in events:
            trace.write(event)
