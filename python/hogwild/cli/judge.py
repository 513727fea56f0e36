"""`hogwild judge`: how well workers collaborate, scored by another model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hogwild.cli.placement import check_placement
from hogwild.cli.progress import Preparation
from hogwild.cli.run import RunFailed
from hogwild.cli.writable import check_folder, check_results
from hogwild.errors import HogwildError

if TYPE_CHECKING:
    from hogwild.evaluation.judge.conversation import Conversation
    from hogwild.evaluation.judge.models import JudgeModel
    from hogwild.evaluation.judge.votes import Verdict


@dataclass(frozen=True)
class JudgeRequest:
    """What the command line asks for."""

    traces: Sequence[Path]
    judge: str
    endpoint: str | None = None
    votes: int = 3
    at_once: int = 4
    retries: int = 5
    timeout: float = 120.0
    max_tokens: int = 2048
    device: str | None = None
    dtype: str | None = None
    output: Path = Path("results/judge")
    as_json: bool = False


def judge(request: JudgeRequest) -> None:
    """Scores all traces and shows the mean of each mode.

    Raises:
        HogwildError, ValueError, OSError: a bad request, before anybody is asked.
        RunFailed: not one conversation could be judged.
    """
    from hogwild.evaluation.judge.verdicts import VerdictFile
    from hogwild.evaluation.judge.votes import judge_conversations

    console = Console(stderr=True)
    check_folder("--output", request.output)
    check_results("--output", request.output, ["scores.png"], ["verdicts.jsonl"])
    with Preparation(console) as preparation:
        conversations = read_all(request.traces, console)
        model = make_model(request, preparation)
    request.output.mkdir(parents=True, exist_ok=True)
    with VerdictFile(request.output / "verdicts.jsonl", model.name, request.votes) as file:
        verdicts = [verdict for c in conversations if (verdict := file.find(c.name, c.digest)) is not None]
        known = {verdict.name for verdict in verdicts}
        waiting = [conversation for conversation in conversations if conversation.name not in known]
        with _bar(console, len(conversations), len(known)) as bar:
            for verdict in judge_conversations(model, waiting, request.votes, request.at_once):
                file.add(verdict)
                verdicts.append(verdict)
                bar.advance(bar.task_ids[0])
                if verdict.error:
                    console.print(
                        f"{verdict.name}: not judged: {verdict.error}",
                        markup=False,
                        highlight=False,
                        soft_wrap=True,
                    )
    _show(request, verdicts)
    if not any(verdict.score is not None for verdict in verdicts):
        raise RunFailed(f"no conversation could be judged; {request.output / 'verdicts.jsonl'} says why")


def read_all(traces: Sequence[Path], console: Console) -> list[Conversation]:
    """The conversations of all traces; of a folder, of all JSONL files in it and below.

    Raises:
        HogwildError, OSError: there is none, or a file cannot be read. In folders, runs that are no conversations
            are left out, and `console` says how many.
    """
    from hogwild.evaluation.judge.conversation import NoConversationError, read_conversation

    if absent := [str(path) for path in traces if not path.exists()]:
        raise HogwildError(f"TRACES: there is no {', '.join(absent)}")
    files = {path.resolve(): path for path in traces if path.is_file()}
    found = [read_conversation(path) for path in files.values()]
    left_out = 0
    for path in (file for folder in traces if folder.is_dir() for file in sorted(folder.rglob("*.jsonl"))):
        if path.resolve() in files:  # it was named twice, and counts once
            continue
        files[path.resolve()] = path
        try:
            found.append(read_conversation(path))
        except NoConversationError:
            left_out += 1
    if left_out:
        console.print(f"{left_out} runs left out: they had one worker, or a method without conversation")
    if not found:
        raise HogwildError(f"TRACES: there are no recorded conversations in {', '.join(map(str, traces))}")
    return found


def make_model(request: JudgeRequest, preparation: Preparation) -> JudgeModel:
    """Who judges.

    Raises:
        ValueError: a setting is out of range.
    """
    from hogwild.evaluation.judge.models import EndpointJudge, LocalJudge
    from hogwild.models.loading import load

    for name in ("votes", "at_once", "max_tokens"):
        if getattr(request, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(request, name)}")
    if request.retries < 0:
        raise ValueError(f"--retries: expected at least 0, got {request.retries}")
    if not request.timeout > 0:
        raise ValueError(f"--timeout: expected more than 0 seconds, got {request.timeout}")
    if request.endpoint is not None:
        return EndpointJudge(
            request.endpoint,
            request.judge,
            retries=request.retries,
            timeout=request.timeout,
            max_tokens=request.max_tokens,
        )
    check_placement(request.device, request.dtype)
    preparation.stage(f"loading {request.judge}")
    model, tokenizer = load(request.judge, request.device, request.dtype, preparation.stage)
    return LocalJudge(model, tokenizer, max_tokens=request.max_tokens)


def _bar(console: Console, total: int, done: int) -> Progress:
    columns = (TextColumn("judging"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    bar.add_task("", total=total, completed=done)
    return bar


def _show(request: JudgeRequest, verdicts: Sequence[Verdict]) -> None:
    """The means on stdout, and as a plot in the folder."""
    from hogwild.evaluation import plots
    from hogwild.evaluation.judge.votes import mean_scores

    means = mean_scores(verdicts)
    if means:
        figure = plots.scores_of_modes(
            {mode: (m.value, m.error) for mode, m in means.items()}, "Collaboration"
        )
        plots.save(figure, request.output / "scores.png")
    missing = sum(verdict.score is None for verdict in verdicts)
    if request.as_json:
        facts = {
            "judge": request.judge,
            "modes": {mode: {"score": mean.value, "error": mean.error} for mode, mean in means.items()},
            "judged": len(verdicts) - missing,
            "not_judged": missing,
        }
        sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
        return
    table = Table(
        title="From 1 (no collaboration) to 6", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    for name in ("mode", "conversations", "score"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for mode, mean in means.items():
        count = sum(verdict.mode == mode and verdict.score is not None for verdict in verdicts)
        error = "" if mean.error is None else f" ± {mean.error:.2f}"
        table.add_row(mode, str(count), f"{mean.value:.2f}{error}")
    console = Console()
    if means:
        console.print(table)
    if missing:
        console.print(f"{missing} of {len(verdicts)} not judged; the same command tries them again")
