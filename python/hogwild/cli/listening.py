"""Methods that think and speak, evaluated: accuracy of the public answer, and a listener's delays."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from operator import attrgetter
from textwrap import fill
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from hogwild.cli import compare
from hogwild.cli.compare import CompareRequest
from hogwild.cli.progress import Preparation
from hogwild.cli.samples import SampleProgress
from hogwild.cli.tables import figures_table
from hogwild.cli.think import parse_policy

if TYPE_CHECKING:
    from hogwild.evaluation.listening import Listening
    from hogwild.evaluation.plan import Plan
    from hogwild.evaluation.speech import ProgramSpeech
    from hogwild.evaluation.tasks import Task
    from hogwild.evaluation.thinking import ThinkSummary
    from hogwild.protocols.async_reasoning import Policy


def evaluate(request: CompareRequest) -> None:
    """Runs the request's methods; the table and the plot also have those that the folder has already.

    Raises:
        HogwildError, ValueError: a bad request, before the model is loaded.
        RunFailed: not one run ended as it should.
    """
    from hogwild.evaluation.listening import Listening, gather

    console = Console(stderr=True)
    with Preparation(console) as preparation:
        policies = {method: _policy(request, method) for method in request.methods}
        task, plan = _check(request)
        speech = None if request.speech is None else _speech(request.speech)
        engine = compare.make_engine(request, preparation)
    runs = []
    planned = len(plan.problems(task)) * plan.runs
    score = attrgetter("score")
    with SampleProgress(console, request.methods, planned, score, request.trace_folder) as progress:
        try:
            for method, policy in policies.items():
                listening = Listening(
                    engine, task, method, plan, request.folder, policy, request.traces, speech
                )
                runs.append(listening.run(progress.begin, progress.add))
        except KeyboardInterrupt:
            progress.say(f"stopped; the same command goes on with what {request.folder} has")
            raise
    _show(request, listening, gather(listening, runs[-1]))
    compare.check_runs(request, runs)


def _policy(request: CompareRequest, method: str) -> Policy | None:
    """The policy that a method names. Refuses what such methods cannot do."""
    from hogwild.evaluation.listening import is_listened_to
    from hogwild.protocols.async_reasoning import METHODS

    kind, colon, rest = method.partition(":")
    if not is_listened_to(method):
        raise ValueError(
            f"methods: {', '.join(METHODS)} are compared with each other, by how long a listener waits, "
            f"but not with {method!r}"
        )
    if colon and kind != "async":
        raise ValueError(f"method: {kind!r} has no settings, got {method!r}")
    if request.family is not None:
        raise ValueError(f"family: the method {kind!r} has prompts of its own, expected none")
    return parse_policy(rest) if colon else None


def _speech(command: str) -> ProgramSpeech:
    """The program, which has spoken a word."""
    from hogwild.evaluation.speech import ProgramSpeech

    try:
        speech = ProgramSpeech(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"--speech: {error}") from None
    speech.speak("One.")
    return speech


def _check(request: CompareRequest) -> tuple[Task, Plan]:
    """All that `compare.check` refuses, and what these methods cannot do."""
    kind = request.methods[0].partition(":")[0]
    task, plan = compare.check(replace(request, at_once=1, listens=True))
    if request.budgets is not None and len(plan.budgets) > 1:
        raise ValueError(
            f"budgets: the method {kind!r} takes one number, the most forwards of a run, got {request.budgets}"
        )
    if task.answer_form != "boxed":
        raise ValueError(f"task: {task.name!r} asks for programs; the method {kind!r} answers in boxes")
    return task, plan


def _show(request: CompareRequest, listening: Listening, summaries: list[ThinkSummary]) -> None:
    from hogwild.evaluation.listening import HEADER, remarks, rows, to_dict, write_summaries

    *_, plot = write_summaries(listening, summaries)
    if request.as_json:
        json.dump(to_dict(listening, summaries), sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    method, *figures = HEADER
    table = figures_table(listening.task.title, method, [fill(name, 10) for name in figures])
    for row in rows(summaries):
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:  # files have all the room that is needed
        console = Console(width=200)
    console.print(table)
    for sentence in remarks(summaries):
        console.print(sentence, markup=False, highlight=False)
    console.print(f"plot: {plot}", markup=False, highlight=False)
