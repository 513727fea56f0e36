"""The commands. Each one imports what it needs when it runs, so that `hogwild --help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import hogwild
from hogwild.cli import options

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended

app = typer.Typer(
    name="hogwild",
    help="Language-model workers that think together over one shared cache.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hogwild {hogwild.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog='Example: hogwild solve "What is 37 + 48?" --workers 3 --max-forwards 100')
def solve(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help='The problem; "-" reads it from stdin.')],
    model: options.Model = "demo",
    device: options.Device = None,
    dtype: options.Dtype = None,
    compile: options.Compile = None,
    workers: Annotated[
        str | None, typer.Option(help="How many, or their names: Alice,Bob. Default: 2.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="How they see each other: combined (default), contiguous or interleaved."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Another method, or one with settings: sequential, skeleton:2, hogwild:2:no-question."
        ),
    ] = None,
    max_forwards: Annotated[
        int | None,
        typer.Option(
            help="Sequential forwards: tokens per worker, the prompt's not counted. Default: the last budget, or 256."
        ),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(help="Numbers of forwards, as 64,128,256: what is the answer after each of them?"),
    ] = None,
    early_finish: Annotated[
        bool, typer.Option("--early-finish", help="Ask for an answer at the end where none was given.")
    ] = False,
    family: options.Family = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.DrawSeed = None,
    trace: options.Trace = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Let several workers solve a problem together, and watch them."""
    from hogwild.cli import solve as command

    reason = command.solve(
        command.SolveRequest(
            problem=command.read_problem(problem),
            model=model,
            method=method,
            workers=None if workers is None else command.parse_workers(workers),
            layout=layout,
            max_forwards=max_forwards,
            budgets=command.parse_budgets(budgets),
            early_finish=early_finish,
            family=family,
            sampling={
                "temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p,
                "repetition_penalty": repetition_penalty, "seed": seed,
            },
            device=device,
            dtype=dtype,
            compile=compile,
            trace=trace,
            as_json=as_json,
        )
    )  # fmt: skip
    return INTERRUPTED if reason == "cancelled" else 0


@app.command(
    epilog='Example: hogwild think "Why is the sky blue?" --policy probe:every=10 --max-forwards 200'
)
def think(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help='The problem; "-" reads it from stdin.')],
    model: options.Model = "demo",
    device: options.Device = None,
    dtype: options.Dtype = None,
    method: options.ThinkMethod = "async",
    policy: options.Policy = None,
    arrangement: options.Arrangement = None,
    max_forwards: options.TurnForwards = 512,
    max_thoughts: options.MaxThoughts = None,
    safety: options.Safety = False,
    safety_hold: options.SafetyHold = None,
    safety_every: options.SafetyEvery = None,
    thoughts: options.ShowThoughts = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    seed: options.DrawSeed = None,
    trace: options.Trace = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Think about a problem and answer it at the same time.

    On a terminal, type to add to the problem meanwhile, and press Esc to break the answer off. Elsewhere the
    answer is written, and nothing else.
    """
    from hogwild.cli import think as command
    from hogwild.cli.solve import read_problem

    reason = command.think(
        command.ThinkRequest(
            problem=read_problem(problem),
            model=model,
            method=method,
            policy=policy,
            arrangement=arrangement,
            max_forwards=max_forwards,
            max_thoughts=max_thoughts,
            safety=safety,
            safety_hold=safety_hold,
            safety_every=safety_every,
            sampling={"temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed},
            device=device,
            dtype=dtype,
            thoughts=thoughts,
            trace=trace,
            as_json=as_json,
        )
    )
    return INTERRUPTED if reason == "cancelled" else 0


@app.command(epilog='Example: hogwild chat "Plan a walk in Bern." --earlier-thoughts folded')
def chat(
    message: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="The first message. Default: it is typed, or read."),
    ] = None,
    model: options.Model = "demo",
    device: options.Device = None,
    dtype: options.Dtype = None,
    method: options.ThinkMethod = "async",
    policy: options.Policy = None,
    arrangement: options.Arrangement = None,
    earlier_thoughts: Annotated[
        str, typer.Option(help="What becomes of the thoughts of earlier turns: kept, folded or dropped.")
    ] = "kept",
    max_forwards: options.TurnForwards = 512,
    max_thoughts: options.MaxThoughts = None,
    safety: options.Safety = False,
    safety_hold: options.SafetyHold = None,
    safety_every: options.SafetyEvery = None,
    thoughts: options.ShowThoughts = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    seed: options.DrawSeed = None,
    trace: options.Trace = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Talk for several turns with a model that thinks while it answers.

    On a terminal, what you type is heard at once, also in the middle of an answer; Esc breaks the answer off,
    Ctrl-D ends the conversation. Elsewhere each line of stdin is a turn.
    """
    from hogwild.cli import think as command

    reason = command.think(
        command.ThinkRequest(
            problem=message,
            turns=True,
            model=model,
            method=method,
            policy=policy,
            arrangement=arrangement,
            earlier_thoughts=earlier_thoughts,
            max_forwards=max_forwards,
            max_thoughts=max_thoughts,
            safety=safety,
            safety_hold=safety_hold,
            safety_every=safety_every,
            sampling={"temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed},
            device=device,
            dtype=dtype,
            thoughts=thoughts,
            trace=trace,
            as_json=as_json,
        )
    )
    return INTERRUPTED if reason == "cancelled" else 0


@app.command(epilog="Example: hogwild replay run.jsonl --speed 4")
def replay(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A file written by --trace.")],
    speed: Annotated[
        float | None, typer.Option(help="Times faster than it happened. Default: 1 on a terminal.")
    ] = None,
    instant: Annotated[bool, typer.Option("--instant", help="Show the end at once.")] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show a recorded run."""
    from hogwild.cli import replay as command

    command.replay(trace, speed=speed, instant=instant, as_json=as_json)


@app.command(epilog="Example: hogwild bench --model Qwen/Qwen3-0.6B --workers 1,2,4 --contexts 1024,4096")
def bench(
    model: Annotated[
        str,
        typer.Option(
            help='"demo", a Hugging Face id, a local folder, or a published size with random weights: '
            "qwen3-0.6b, qwen3-8b, qwen3-32b, qwq-32b, llama-3.1-8b."
        ),
    ] = "demo",
    workers: Annotated[str, typer.Option(help="Numbers of workers.")] = "1,2,4",
    contexts: Annotated[
        str | None, typer.Option(help="Tokens that they share. Default: by the kind of device.")
    ] = None,
    forwards: Annotated[int | None, typer.Option(help="How many are run in each case.")] = None,
    sessions: Annotated[int, typer.Option(help="How many such teams decode together.")] = 1,
    compile: options.Compile = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure how fast workers decode on this machine, and say what limits them."""
    from hogwild.cli import bench as command

    command.bench(
        command.BenchRequest(
            model=model,
            workers=workers,
            contexts=contexts,
            forwards=forwards,
            sessions=sessions,
            compile=compile,
            device=device,
            dtype=dtype,
            as_json=as_json,
        )
    )


@app.command(epilog="Example: hogwild info --json")
def info(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Say what is installed, what was built, and why something is missing."""
    import json

    from rich.console import Console

    from hogwild.cli import info as command

    facts = command.collect()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        command.show(facts, Console())
