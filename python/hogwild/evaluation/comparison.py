"""Methods on one task at equal budgets: their records on disk, and what follows from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hogwild.evaluation.evaluate import Evaluation, file_name
from hogwild.evaluation.plan import Plan
from hogwild.evaluation.records import Record, RecordFile, read_records
from hogwild.evaluation.summary import MethodSummary, Speedup, speedup, summarize
from hogwild.evaluation.tasks import Problem, Task
from hogwild.protocols import Engine

SAMPLES, TRACES = "samples", "traces"  # folders in that of the comparison


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        task: what was asked.
        problems: those that were asked.
        plan: the settings.
        model: name of the model.
        records: per method its runs; the first method is the one that the others are compared with.
    """

    task: Task
    problems: Sequence[Problem]
    plan: Plan
    model: str
    records: Mapping[str, Sequence[Record]]

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return list(self.records)

    @property
    def side_by_side(self) -> int:
        """How many runs went on at a time."""
        return min(self.plan.at_once, len(self.problems) * self.plan.runs)

    def summaries(self) -> list[MethodSummary]:
        """Of all methods, in their order."""
        first, *_ = self.methods
        return [
            summarize(method, records, self.plan.budgets, None if method == first else self.records[first])
            for method, records in self.records.items()
        ]

    def speedups(self) -> list[Speedup]:
        """When each method but the first reaches the best accuracy of the first."""
        first, *others = self.summaries()
        return [speedup(summary, first) for summary in others] if first.best.accuracy.value > 0 else []

    def to_dict(self) -> dict[str, Any]:
        """The summaries as JSON values."""
        return {
            "task": self.task.name,
            "model": self.model,
            "problems": len(self.problems),
            "budgets": list(self.plan.budgets),
            "runs": self.plan.runs,
            "seed": self.plan.seed,
            "at_once": self.plan.at_once,
            "sampling": self.plan.sampling,
            "methods": [asdict(summary) for summary in self.summaries()],
        }


def compare(
    engine: Engine,
    task: Task,
    methods: Sequence[str],
    plan: Plan,
    folder: Path,
    *,
    traces: bool = False,
    begin: Callable[[str, Sequence[Record]], None] = lambda method, known: None,
    tell: Callable[[str, Record], None] = lambda method, record: None,
) -> Comparison:
    """Evaluate all methods with the same plan; what the folder has already is not run again.

    Args:
        engine: where they run.
        task: what is asked.
        methods: see `hogwild.protocols.methods.parse`; at least one, none twice.
        plan: the settings.
        folder: where records go; made if it is not there.
        traces: also write a trace of each run.
        begin: called before each method, with the records of its runs that are there already.
        tell: called with each new record and its method.

    Raises:
        ValueError: no methods, or one twice.
        RecordsError: the folder has records that were made with other settings.
        TaskError: the task's data cannot be loaded.
    """
    check_methods(methods)
    problems = plan.problems(task)
    (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
    evaluations = [
        Evaluation(engine, task, method, plan, folder / TRACES if traces else None) for method in methods
    ]
    records = {}
    with ExitStack() as stack:
        # all files are opened, and their settings compared, before anything runs
        files = [stack.enter_context(open_records(folder, evaluation)) for evaluation in evaluations]
        for evaluation, file in zip(evaluations, files, strict=True):
            begin(evaluation.method, evaluation.known(file))
            records[evaluation.method] = evaluation.run(file, partial(tell, evaluation.method))
    return Comparison(task, problems, plan, evaluations[0].settings()["model"], records)


def check_methods(methods: Sequence[str]) -> None:
    """Refuse methods that make no comparison.

    Raises:
        ValueError: there are none, or one comes twice.
    """
    if not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods: expected at least one and none twice, got {', '.join(methods) or 'none'}")


def open_records(folder: Path, evaluation: Evaluation) -> RecordFile:
    """The file of a method's records."""
    return RecordFile(folder / SAMPLES / f"{file_name(evaluation.method)}.jsonl", evaluation.settings())


def gather(comparison: Comparison, folder: Path) -> Comparison:
    """The comparison with all methods that the folder has records of, made with the same settings.

    A method counts if it ran on all of the same problems with the same seeds. Sequential ones come first.
    """
    (name, records), *_ = comparison.records.items()
    wanted = [record.key for record in records]
    same = _without_method(read_records(folder / SAMPLES / f"{file_name(name)}.jsonl")[0])
    found: dict[str, list[Record]] = {}
    for path in sorted((folder / SAMPLES).glob("*.jsonl")):
        settings, others = read_records(path)
        runs = {record.key: record for record in others}
        if _without_method(settings) == same and all(key in runs for key in wanted):
            found[settings["method"]] = [runs[key] for key in wanted]
    order = sorted(found, key=lambda method: (not method.startswith("sequential"), method))
    return replace(comparison, records={method: found[method] for method in order})


def _without_method(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "method"}


def write_summary(comparison: Comparison, folder: Path) -> Path:
    """Write `summary.json`; its path."""
    path = folder / "summary.json"
    path.write_text(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
