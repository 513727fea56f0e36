"""`hogwild safety`: how safe the public answers are with the safety mode, and without it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hogwild.cli import judge as judging
from hogwild.cli.judge import JudgeRequest
from hogwild.cli.progress import Preparation
from hogwild.cli.run import RunFailed
from hogwild.cli.think import ThinkRequest, make_engine, parse_policy
from hogwild.cli.think import check as check_thinking
from hogwild.cli.writable import check_folder, check_results
from hogwild.errors import HogwildError

if TYPE_CHECKING:
    from hogwild.evaluation.judge.models import JudgeModel
    from hogwild.evaluation.safety import SafetyRecord, SafetySummary
    from hogwild.evaluation.safety_prompts import SafetyPrompt
    from hogwild.protocols import Engine
    from hogwild.protocols.async_reasoning import Safety

SUMMARY = "safety.json"


@dataclass(frozen=True)
class SafetyRequest:
    """What the command line asks for.

    Attributes:
        prompts: a JSONL file.
        judging: who judges.
        guarded_only: leave out the runs without the safety mode.
        hold, every: of the safety mode; None: the usual ones.
    """

    prompts: Path
    judging: JudgeRequest
    model: str = "demo"
    policy: str | None = None
    guarded_only: bool = False
    hold: int | None = None
    every: int | None = None
    max_forwards: int = 512
    seed: int = 0
    at_once: int = 8
    sampling: dict[str, float | int | None] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    output: Path | None = None
    as_json: bool = False

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.output or Path("results") / f"safety-{Path(self.model).name}"


def evaluate(request: SafetyRequest) -> None:
    """Answers and judges what the folder has no verdict on yet, and shows the fractions.

    Raises:
        HogwildError, ValueError: a bad request, before a model is loaded.
        RunFailed: not one answer could be judged.
    """
    console = Console(stderr=True)
    with Preparation(console) as preparation:
        prompts, safety = _check(request)
        judge = judging.make_model(request.judging, preparation)
        engine = make_engine(_thinking(request), preparation)
    request.folder.mkdir(parents=True, exist_ok=True)
    modes = {"guarded": safety} if request.guarded_only else {"guarded": safety, "plain": None}
    records = {
        mode: _run(request, engine, judge, prompts, mode, settings, console)
        for mode, settings in modes.items()
    }
    _show(request, records)
    if not any(record.verdict for found in records.values() for record in found):
        raise RunFailed(f"no answer could be judged; {request.folder / 'guarded.jsonl'} says why")


def _thinking(request: SafetyRequest) -> ThinkRequest:
    return ThinkRequest(
        problem=None,
        model=request.model,
        policy=request.policy,
        max_forwards=request.max_forwards,
        sampling=request.sampling,
        device=request.device,
        dtype=request.dtype,
    )


def _check(request: SafetyRequest) -> tuple[list[SafetyPrompt], Safety]:
    """Refuses at once what would be refused after a model was loaded."""
    from hogwild.evaluation.safety_prompts import read_prompts
    from hogwild.protocols.async_reasoning import Safety

    check_thinking(_thinking(request))
    check_folder("--output", request.folder)
    check_results("--output", request.folder, [SUMMARY], ["guarded.jsonl"])
    if request.at_once < 1:
        raise ValueError(f"--at-once: expected at least 1, got {request.at_once}")
    given: dict[str, Any] = {"hold": request.hold, "every": request.every}
    safety = Safety(**{name: value for name, value in given.items() if value is not None})
    try:
        return read_prompts(request.prompts), safety
    except OSError as error:
        raise HogwildError(f"PROMPTS: cannot read {request.prompts}: {error.strerror}") from error


def _run(
    request: SafetyRequest,
    engine: Engine,
    judge: JudgeModel,
    prompts: Sequence[SafetyPrompt],
    mode: str,
    safety: Safety | None,
    console: Console,
) -> list[SafetyRecord]:
    """The records of one mode, of all prompts."""
    from hogwild.evaluation.safety import SafetyRecordFile, evaluate_safety

    policy = None if request.policy is None else parse_policy(request.policy)
    sampling = {name: value for name, value in request.sampling.items() if value is not None}
    settings: dict[str, Any] = {
        "model": str(getattr(engine.model.config, "name_or_path", "")),
        "dtype": str(engine.model.dtype).removeprefix("torch."),
        "policy": None if policy is None else [policy.name, policy.settings()],
        "max_forwards": request.max_forwards,
        "sampling": sampling,
        "safety": None if safety is None else safety.settings(),
        "judge": judge.name,
    }
    with SafetyRecordFile(request.folder / f"{mode}.jsonl", settings) as file:
        found = {prompt.id: file.find(prompt, request.seed) for prompt in prompts}
        waiting = [prompt for prompt in prompts if found[prompt.id] is None]
        if len(waiting) < len(prompts):
            console.print(f"{mode}: {len(prompts) - len(waiting)} of {len(prompts)} are there already")
        with _bar(console, mode, len(prompts), len(prompts) - len(waiting)) as bar:
            for record in evaluate_safety(
                engine,
                waiting,
                judge,
                safety,
                seed=request.seed,
                at_once=request.at_once,
                policy=policy,
                max_forwards=request.max_forwards,
                **sampling,
            ):
                file.add(record)
                found[record.problem] = record
                bar.advance(bar.task_ids[0])
                if record.error:
                    line = f"{mode}: {record.problem} was not judged: {record.error}"
                    console.print(line, markup=False, highlight=False)
    return [record for record in found.values() if record is not None]


def _bar(console: Console, mode: str, total: int, done: int) -> Progress:
    columns = (TextColumn(mode), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    bar.add_task("", total=total, completed=done)
    return bar


def _show(request: SafetyRequest, records: dict[str, list[SafetyRecord]]) -> None:
    """The fractions on stdout, and in the folder."""
    from hogwild.evaluation.safety import summarize_safety

    summaries = {mode: summarize_safety(found) for mode, found in records.items()}
    facts = {
        "model": request.model,
        "judge": request.judging.judge,
        "modes": {mode: asdict(summary) for mode, summary in summaries.items()},
    }
    text = json.dumps(facts, ensure_ascii=False, indent=2)
    (request.folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
    if request.as_json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
        return
    table = Table(title="Safety of the public answers", title_justify="left")
    for name in (
        "mode",
        "judged",
        "unsafe",
        "harmful declined",
        "harmless declined",
        "forwards to first word",
    ):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for mode, summary in summaries.items():
        table.add_row(mode, *_cells(summary))
    console = Console()
    console.print(table)
    if missing := sum(summary.unjudged for summary in summaries.values()):
        console.print(f"{missing} not judged; the same command tries them again")


def _cells(summary: SafetySummary) -> list[str]:
    parts = (summary.unsafe, summary.declined_harmful, summary.declined_harmless)
    first = "" if summary.first_forward is None else f"{summary.first_forward:,.0f}"
    return [str(summary.judged), *("" if part is None else f"{100 * part:.1f}%" for part in parts), first]
