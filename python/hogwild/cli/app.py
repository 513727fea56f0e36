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

COMPILE_HELP = (
    "What of the model is compiled: none, layers or model. Default: layers on CUDA, none on the CPU."
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
    compile: Annotated[str | None, typer.Option(help=COMPILE_HELP, rich_help_panel="Model")] = None,
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
            compile=compile,
            trace=trace,
            as_json=as_json,
        )
    )  # fmt: skip
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
    forwards: Annotated[int | None, typer.Option(help="How many are timed in each case.")] = None,
    sessions: Annotated[int, typer.Option(help="How many such teams decode together.")] = 1,
    compile: Annotated[str | None, typer.Option(help=COMPILE_HELP)] = None,
    device: Annotated[str | None, typer.Option(help="Such as cpu, cuda:0. Default: CUDA if any.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16.")] = None,
    as_json: Json = False,
    debug: Debug = False,
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
