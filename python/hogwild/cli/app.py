"""The commands. Each one imports what it needs when it runs, so that `hogwild --help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import hogwild

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended

app = typer.Typer(
    name="hogwild",
    help="Language-model workers that think together over one shared cache.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


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
    model: Annotated[
        str, typer.Option(help='"demo", a Hugging Face id, or a local folder.', rich_help_panel="Model")
    ] = "demo",
    device: Annotated[
        str | None,
        typer.Option(help="Such as cpu, cuda:0, auto. Default: CUDA if any.", rich_help_panel="Model"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16, float16. Default: the checkpoint's own.", rich_help_panel="Model"
        ),
    ] = None,
    workers: Annotated[str, typer.Option(help="How many, or their names: Alice,Bob.")] = "2",
    layout: Annotated[
        str, typer.Option(help="How the workers see each other: combined, contiguous or interleaved.")
    ] = "combined",
    max_forwards: Annotated[
        int, typer.Option(help="Tokens per worker; forwards that only write the prompt do not count.")
    ] = 256,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="0 is greedy. Default: the model's own settings (demo: greedy); 1 with --top-p, --top-k or --min-p.",
            rich_help_panel="Sampling",
        ),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Keep the likeliest tokens up to this mass.", rich_help_panel="Sampling"),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Keep this many tokens; 0 keeps all.", rich_help_panel="Sampling")
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            help="Keep tokens at least this fraction as likely as the likeliest.", rich_help_panel="Sampling"
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(help="Above 1, a worker's own tokens get less likely.", rich_help_panel="Sampling"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same run; needs random draws. Default: 0.",
            rich_help_panel="Sampling",
        ),
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Record the run in this file, for replay.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Let several workers solve a problem together, and watch them."""
    from hogwild.cli import solve as command

    reason = command.solve(
        command.SolveRequest(
            problem=command.read_problem(problem),
            model=model,
            workers=command.parse_workers(workers),
            layout=layout,
            max_forwards=max_forwards,
            sampling={
                "temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p,
                "repetition_penalty": repetition_penalty, "seed": seed,
            },
            device=device,
            dtype=dtype,
            trace=trace,
            as_json=as_json,
        )
    )  # fmt: skip
    return INTERRUPTED if reason == "cancelled" else 0


ModelOption = Annotated[
    str,
    typer.Option("--model", help='"demo", a Hugging Face id, or a local folder.', rich_help_panel="Model"),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", help="Such as cpu, cuda:0, auto. Default: CUDA if any.", rich_help_panel="Model"
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="float32, bfloat16, float16. Default: the checkpoint's own.", rich_help_panel="Model"
    ),
]
Method = Annotated[
    str,
    typer.Option("--method", help="async; or the baselines: think (then answer), no-think (answer at once)."),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="When the writer speaks: probe, in-stream, entropy, fixed-ratio or always-on, with settings as in "
        "probe:every=10,margin=0.5. Default: probe.",
    ),
]
ArrangementOption = Annotated[
    str | None,
    typer.Option("--arrangement", help="roles (a prompt for each voice) or shared (one). Default: roles."),
]
TurnForwards = Annotated[int, typer.Option("--max-forwards", help="Tokens of each voice per turn, at most.")]
MaxThoughts = Annotated[
    int | None, typer.Option("--max-thoughts", help="Tokens of thoughts per turn, at most.")
]
SafetyOption = Annotated[
    bool, typer.Option("--safety", help="Check the request before the writer may speak, and its answer.")
]
ShowThoughts = Annotated[
    bool | None,
    typer.Option(
        "--show-thoughts/--hide-thoughts",
        help="Show the private thoughts. Default: on a terminal; elsewhere they go to stderr if wanted.",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", help="0 is greedy. Default: the model's own settings.", rich_help_panel="Sampling"
    ),
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Keep the likeliest tokens up to this mass.", rich_help_panel="Sampling"),
]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", help="Keep this many tokens; 0 keeps all.", rich_help_panel="Sampling"),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="The same seed gives the same draws. Default: 0.", rich_help_panel="Sampling"
    ),
]
TraceOption = Annotated[Path | None, typer.Option("--trace", help="Record the run in this file.")]


@app.command(
    epilog='Example: hogwild think "Why is the sky blue?" --policy probe:every=10 --max-forwards 200'
)
def think(
    problem: Annotated[str, typer.Argument(metavar="PROBLEM", help='The problem; "-" reads it from stdin.')],
    model: ModelOption = "demo",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    method: Method = "async",
    policy: PolicyOption = None,
    arrangement: ArrangementOption = None,
    max_forwards: TurnForwards = 512,
    max_thoughts: MaxThoughts = None,
    safety: SafetyOption = False,
    thoughts: ShowThoughts = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    trace: TraceOption = None,
    as_json: Json = False,
    debug: Debug = False,
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
        typer.Argument(metavar="[MESSAGE]", help="The first message. Default: it is typed, or read."),
    ] = None,
    model: ModelOption = "demo",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    method: Method = "async",
    policy: PolicyOption = None,
    arrangement: ArrangementOption = None,
    earlier_thoughts: Annotated[
        str, typer.Option(help="What becomes of the thoughts of earlier turns: kept, folded or dropped.")
    ] = "kept",
    max_forwards: TurnForwards = 512,
    max_thoughts: MaxThoughts = None,
    safety: SafetyOption = False,
    thoughts: ShowThoughts = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    trace: TraceOption = None,
    as_json: Json = False,
    debug: Debug = False,
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
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A file written by hogwild solve --trace.")],
    speed: Annotated[
        float | None, typer.Option(help="Times faster than it happened. Default: 1 on a terminal.")
    ] = None,
    instant: Annotated[bool, typer.Option("--instant", help="Show the end at once.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a recorded run."""
    from hogwild.cli import replay as command

    command.replay(trace, speed=speed, instant=instant, as_json=as_json)


@app.command(epilog="Example: hogwild info --json")
def info(as_json: Json = False, debug: Debug = False) -> None:
    """Say what is installed, what was built, and why something is missing."""
    import json

    from rich.console import Console

    from hogwild.cli import info as command

    facts = command.collect()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        command.show(facts, Console())


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit code: 0, 1 a run that failed, 2 a bad request, 130 Ctrl-C."""
    from hogwild.cli.run import RunFailed
    from hogwild.errors import HogwildError

    try:
        return int(app(args=list(arguments), prog_name="hogwild", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            raise
        if hasattr(error, "format_message"):  # typer's usage errors, whose classes are not public
            return _complain(error.format_message().replace("\n", " "), 2)
        if isinstance(error, (HogwildError, ValueError)):
            return _complain(str(error), 2)
        if isinstance(error, RunFailed):
            return _complain(str(error), 1)
        return _complain(f"{type(error).__name__}: {error} (--debug shows the traceback)", 1)


def _complain(message: str, code: int) -> int:
    print(f"hogwild: error: {message}", file=sys.stderr)
    return code


def main() -> None:
    """The entry point of the command `hogwild`."""
    # Before torch: its threads may spin for microseconds while they wait, not for milliseconds. On an idle
    # machine that costs nothing; beside another busy process endless spinning makes every forward crawl.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    sys.exit(run(sys.argv[1:]))
