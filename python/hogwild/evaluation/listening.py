"""Methods that think and speak, on a task: runs on disk, and what somebody who listens has of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hogwild.engine.events import Event
from hogwild.evaluation import plots
from hogwild.evaluation.evaluate import file_name, trace_path, write_trace
from hogwild.evaluation.plan import Plan
from hogwild.evaluation.records import LineFile
from hogwild.evaluation.speech import SpeechModel
from hogwild.evaluation.tasks import Problem, Task
from hogwild.evaluation.thinking import Question, ThinkRecord, ThinkSummary, evaluate_thinking, summarize
from hogwild.protocols import Engine
from hogwild.protocols.async_reasoning import METHODS, Policy

DELAYS, TRACES = "delays", "traces"  # folders in that of the evaluation
SUMMARY, PLOT = "delays.json", "accuracy-delay.png"
_FIGURES = ("accuracy", "spoke", "first word", "forwards to it", "delay", "beyond 1 s", "longest", "forwards")
HEADER = ("method", *_FIGURES)


class ThinkRecordFile(LineFile[ThinkRecord]):
    """Public answers and their delays on disk."""

    format = "hogwild-delays"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ThinkRecord:
        return ThinkRecord(**values)


def is_listened_to(method: str) -> bool:
    """Whether a method string names one of these: "async", "async:POLICY", "think" or "no-think"."""
    return method.partition(":")[0] in METHODS


@dataclass(frozen=True)
class Listening:
    """One of these methods on a task.

    Attributes:
        engine: where the runs take place, one after the other: the delays are those of a user who is alone.
        task: what is asked; its answers stand in boxes.
        method: "async", "think" or "no-think", in records and tables with what is behind a colon.
        plan: the settings. The last budget is the most forwards of a run, its prompt not counted.
        folder: where records go.
        policy: when the writer speaks, for "async"; None: the usual one.
        traces: whether to write a trace of each run.
        speech: how long the answer takes to speak; None: by 160 words a minute.
    """

    engine: Engine
    task: Task
    method: str
    plan: Plan
    folder: Path
    policy: Policy | None = None
    traces: bool = False
    speech: SpeechModel | None = None

    def settings(self) -> dict[str, Any]:
        """What the records depend on, as JSON values."""
        return {
            "task": self.task.name,
            "data": str(getattr(self.task, "data", None) or ""),
            "problems": self.task.digest,
            "method": self.method,
            "model": str(getattr(self.engine.model.config, "name_or_path", "")),
            "dtype": str(self.engine.model.dtype).removeprefix("torch."),
            "max_forwards": self.plan.budgets[-1],
            "sampling": self.plan.sampling,
            **({} if self.speech is None else {"speech": self.speech.name}),
        }

    def run(
        self,
        begin: Callable[[str, Sequence[ThinkRecord]], None] = lambda method, known: None,
        tell: Callable[[str, ThinkRecord], None] = lambda method, record: None,
    ) -> list[ThinkRecord]:
        """Do what the folder has no record of yet; the records of all runs of the plan.

        Args:
            begin: called with the records that are there already.
            tell: called with each new record.

        Raises:
            RecordsError: the folder has records that were made with other settings.
            TaskError: the task's data cannot be loaded.
        """
        problems = self.plan.problems(self.task)
        path = self.folder / DELAYS / f"{file_name(self.method)}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with ThinkRecordFile(path, self.settings()) as file:
            keys = [(problem.id, seed) for seed in self.plan.seeds for problem in problems]
            begin(self.method, [file.records[key] for key in keys if file.has(*key)])
            for seed in self.plan.seeds:
                waiting = [problem for problem in problems if not file.has(problem.id, seed)]
                for record in self._runs(waiting, seed):
                    file.add(record)
                    tell(self.method, record)
            return [file.records[key] for key in keys]

    def _runs(self, problems: Sequence[Problem], seed: int) -> Iterator[ThinkRecord]:
        def watch(problem: Question, events: Sequence[Event]) -> None:
            if self.traces:
                write_trace(trace_path(self.folder / TRACES, self.method, problem.id, seed), events)

        options: dict[str, Any] = {} if self.policy is None else {"policy": self.policy}
        for record in evaluate_thinking(
            self.engine,
            problems,
            self.task.score,
            self.method.partition(":")[0],
            seed=seed,
            speech=self.speech,
            watch=watch,
            read=self.task.read,
            max_forwards=self.plan.budgets[-1],
            **self.plan.sampling,
            **options,
        ):
            yield replace(record, method=self.method)


def gather(listening: Listening, records: Sequence[ThinkRecord]) -> list[ThinkSummary]:
    """Summaries of all methods that the folder has, made with the same settings on the same problems and seeds."""
    wanted, same = [record.key for record in records], _without_method(listening.settings())
    found: list[ThinkRecord] = []
    for path in sorted((listening.folder / DELAYS).glob("*.jsonl")):
        settings, others = ThinkRecordFile.read(path)
        runs = {record.key: record for record in others}
        if _without_method(settings) == same and all(key in runs for key in wanted):
            found.extend(runs[key] for key in wanted)
    return summarize(found)


def _without_method(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "method"}


def to_dict(listening: Listening, summaries: Sequence[ThinkSummary]) -> dict[str, Any]:
    """The summaries as JSON values."""
    return {
        **_without_method(listening.settings()),
        "problems": len(listening.plan.problems(listening.task)),
        "runs": listening.plan.runs,
        "seed": listening.plan.seed,
        "methods": [asdict(summary) for summary in summaries],
    }


def write_summaries(listening: Listening, summaries: Sequence[ThinkSummary]) -> list[Path]:
    """Write `delays.json` and a plot of delay against accuracy; their paths.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    numbers, plot = listening.folder / SUMMARY, listening.folder / PLOT
    text = json.dumps(to_dict(listening, summaries), indent=2, ensure_ascii=False)
    numbers.write_text(text + "\n", encoding="utf-8")
    points = {
        summary.method + (f" ({_failed(summary)} failed)" if summary.failed else ""): (
            summary.delay,
            summary.accuracy,
        )
        for summary in summaries
    }
    plots.save(plots.accuracy_against_delay(points, listening.task.title), plot)
    return [numbers, plot]


def rows(summaries: Sequence[ThinkSummary]) -> list[tuple[str, ...]]:
    """The cells of a table under `HEADER`, a row for each method; times in seconds."""
    return [
        (
            summary.method,
            f"{100 * summary.accuracy:.1f}%",
            f"{summary.spoke} of {summary.runs - summary.failed}",
            _figure(summary.first_seconds, ".1f", " s"),
            _figure(summary.first_forward),
            _figure(summary.delay, ".1f", " s"),
            _figure(summary.beyond_tolerance, ".1f", " s"),
            _figure(summary.longest, ".1f", " s"),
            _figure(summary.forwards),
        )
        for summary in summaries
    ]


def remarks(summaries: Sequence[ThinkSummary]) -> list[str]:
    """What else is to be known of the table, in sentences."""
    sentences = []
    if failed := [f"{_failed(summary)} with {summary.method}" for summary in summaries if summary.failed]:
        sentences.append(f"Some runs failed, count as wrong and are in no other figure: {', '.join(failed)}.")
    if any(summary.spoke < summary.runs - summary.failed for summary in summaries):
        sentences.append(
            "First words are those of the runs that spoke; the others were waited through to their end."
        )
    return sentences


def _failed(summary: ThinkSummary) -> str:
    return f"{summary.failed} of {summary.runs}"


def _figure(value: float | None, form: str = ",.0f", unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
