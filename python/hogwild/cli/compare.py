"""`hogwild compare`: methods on one task at equal budgets, with a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hogwild.cli.placement import check_placement
from hogwild.cli.progress import Preparation
from hogwild.cli.run import RunFailed
from hogwild.cli.samples import SampleProgress
from hogwild.cli.tables import figures_table
from hogwild.cli.writable import check_folder, check_results
from hogwild.errors import UnknownNameError

if TYPE_CHECKING:
    from hogwild.evaluation.comparison import Comparison
    from hogwild.evaluation.plan import Plan
    from hogwild.evaluation.records import Record
    from hogwild.evaluation.tasks import Task
    from hogwild.evaluation.thinking import ThinkRecord
    from hogwild.protocols import Engine

# What is replaced each time; the records, from which it is made, never are.
RESULTS = (
    *("report.html", "report.md", "summary.json", "accuracy-forwards.png", "accuracy-seconds.png"),
    *("delays.json", "accuracy-delay.png"),
)


@dataclass(frozen=True)
class CompareRequest:
    """What the command line asks for. What is None is the task's, or the engine's, to choose.

    `listens`: the methods are not those of `hogwild.protocols.parse`, but those of `hogwild.cli.listening`, for which
    `speech` is a program that speaks.
    """

    task: str
    methods: Sequence[str]
    budgets: str | None = None
    data: Path | None = None
    samples: int | None = None
    runs: int = 1
    seed: int = 0
    at_once: int = 8
    family: str | None = None
    sampling: dict[str, float | int | None] = field(default_factory=dict)
    model: str = "demo"
    device: str | None = None
    dtype: str | None = None
    output: Path | None = None
    run_code: bool = False
    traces: bool = False
    as_json: bool = False
    listens: bool = False
    speech: str | None = None

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.output or Path("results") / f"{Path(self.task).stem}-{Path(self.model).name}"

    @property
    def trace_folder(self) -> Path | None:
        """Where traces are written, if they are wanted."""
        return self.folder / "traces" if self.traces else None


def compare(request: CompareRequest) -> None:
    """Runs the request, shows the table and writes the report.

    Raises:
        HogwildError, ValueError: a bad request, before the model is loaded.
        RunFailed: not one run ended as it should.
    """
    from hogwild.cli import listening
    from hogwild.evaluation.listening import is_listened_to

    if any(is_listened_to(method) for method in request.methods):
        listening.evaluate(request)
        return
    comparison = run_all(request)
    show(request, comparison)
    check_runs(request, comparison.records.values())


def run_all(request: CompareRequest) -> Comparison:
    """Every method's runs; those that the folder has already are not repeated."""
    from hogwild.evaluation.comparison import compare as compare_methods

    console = Console(stderr=True)
    with Preparation(console) as preparation:
        task, plan = check(request)
        engine = make_engine(request, preparation)
    planned = len(plan.problems(task)) * plan.runs
    score = partial(_score, plan.budgets[-1])
    with SampleProgress(console, request.methods, planned, score, request.trace_folder) as progress:
        try:
            return compare_methods(
                engine,
                task,
                request.methods,
                plan,
                request.folder,
                traces=request.traces,
                begin=progress.begin,
                tell=progress.add,
            )
        except KeyboardInterrupt:
            progress.say(f"stopped; the same command goes on with what {request.folder} has")
            raise


def check(request: CompareRequest) -> tuple[Task, Plan]:
    """Refuses at once what would be refused after a model was loaded.

    Raises:
        HogwildError, ValueError, TypeError: what is wrong, by its name.
    """
    from hogwild.engine.sampling import SamplingParams
    from hogwild.evaluation.budgets import parse_budgets
    from hogwild.evaluation.comparison import check_methods
    from hogwild.evaluation.extras import need
    from hogwild.evaluation.plan import Plan
    from hogwild.evaluation.tasks import make_task
    from hogwild.prompting import load_family
    from hogwild.protocols import parse
    from hogwild.protocols.async_reasoning import METHODS
    from hogwild.protocols.methods import KINDS

    check_methods(request.methods)
    for method in request.methods:
        if not request.listens:
            if (kind := method.partition(":")[0]) not in KINDS:
                raise UnknownNameError("method", kind, (*KINDS, *METHODS))
            parse(method)
            if request.speech is not None:
                raise ValueError(f"--speech: is for the methods {', '.join(METHODS)}, got {method!r}")
    if request.family is not None:
        load_family(request.family)
    sampling: dict[str, Any] = {name: value for name, value in request.sampling.items() if value is not None}
    SamplingParams(**sampling)
    check_placement(request.device, request.dtype)
    check_folder("--output", request.folder)
    check_results("--output", request.folder, RESULTS, ("samples", "delays"))
    for package in ("math_verify", "matplotlib", "jinja2"):
        need(package, "an evaluation")
    task = make_task(request.task, request.data, run_code=request.run_code)
    plan = Plan(
        budgets=task.usual_budgets if request.budgets is None else parse_budgets(request.budgets),
        samples=task.usual_samples if request.samples is None else request.samples,
        runs=request.runs,
        seed=request.seed,
        at_once=request.at_once,
        sampling=sampling,
        family=request.family,
    )
    task.problems()
    return task, plan


def show(request: CompareRequest, comparison: Comparison) -> None:
    """The table (or with `--json` the summary) on stdout; the report in the folder."""
    from hogwild.evaluation.report import write_report

    paths = write_report(comparison, request.folder)
    if request.as_json:
        json.dump(comparison.to_dict(), sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    console = Console()
    if not console.is_terminal:  # files have all the room that is needed
        console = Console(width=200)
    console.print(_table(comparison))
    console.print(f"{len(comparison.problems)} problems; report: {paths[0]}", markup=False, highlight=False)


def check_runs(request: CompareRequest, records: Iterable[Sequence[Record | ThinkRecord]]) -> None:
    """Refuses to call it a success where every run of every method failed.

    Raises:
        RunFailed: it did; with what the first one said.
    """
    errors = [record.error for found in records for record in found]
    if all(errors):
        raise RunFailed(
            f"{len(errors)} of {len(errors)} runs failed, the first of them: {errors[0]}; see {request.folder}"
        )


def _score(budget: int, record: Record) -> float:
    from hogwild.evaluation.summary import point_of

    return point_of(record, budget).score


def _table(comparison: Comparison) -> Table:
    from hogwild.evaluation import table

    shown = figures_table(comparison.task.title, table.HEADER[0], table.HEADER[1:])
    last = None
    for row in table.rows(comparison.summaries()):
        if last not in (None, row[0]):
            shown.add_section()
        shown.add_row(*(Text("" if n == 0 and cell == last else cell) for n, cell in enumerate(row)))
        last = row[0]
    return shown


def make_engine(request: CompareRequest, preparation: Preparation) -> Engine:
    """The engine on the model that the request names, with its stages told."""
    from hogwild.models.loading import load
    from hogwild.protocols import Engine

    preparation.stage(f"loading {request.model}")
    model, tokenizer = load(request.model, request.device, request.dtype, preparation.stage)
    return Engine(model, tokenizer)


def parse_methods(text: str) -> list[str]:
    """Methods from a text with commas between them; spellings are checked later.

    What sets something, as in `async:probe:every=10,margin=1`, belongs to the method before it.
    """
    methods: list[str] = []
    for word in filter(None, map(str.strip, text.split(","))):
        if methods and "=" in word and ":" not in word:
            methods[-1] += f",{word}"
        else:
            methods.append(word)
    return methods
