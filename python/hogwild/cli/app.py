"""The commands. Each one imports what it needs when it runs, so that `hogwild --help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import hogwild
from hogwild.cli import options

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
UNREAD = 141  # and of one that ended because nobody reads its output any more

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
        typer.Argument(metavar="[MESSAGE]", help="The first message. Default: it is typed, or read."),
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


@app.command(
    "eval", epilog="Example: hogwild eval --task arith-x5 --method hogwild:2 --output results/arithmetic"
)
def evaluate(
    task: options.Task,
    method: Annotated[
        str,
        typer.Option(
            help="Such as sequential, self-consistency:4, skeleton, hogwild:2; or think, no-think, async, "
            "async:POLICY, which are judged by how long a listener waits as well."
        ),
    ],
    budgets: options.Budgets = None,
    data: options.Data = None,
    samples: options.Samples = None,
    runs: options.Runs = 1,
    seed: options.Seed = 0,
    at_once: options.AtOnce = 8,
    output: options.Output = None,
    traces: options.Traces = False,
    speech: options.Speech = None,
    run_code: options.RunCode = False,
    model: options.Model = "demo",
    device: options.Device = None,
    dtype: options.Dtype = None,
    family: options.Family = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a method's accuracy on a task within budgets of sequential forwards.

    A run that was stopped goes on with the same command. Several methods into one folder make a comparison.
    async, think and no-think run one problem after the other, and take one budget.
    """
    from hogwild.cli import eval as command
    from hogwild.cli.compare import CompareRequest

    command.evaluate(
        CompareRequest(
            task=task, methods=[method], budgets=budgets, data=data, samples=samples, runs=runs, seed=seed,
            at_once=at_once, family=family, model=model, device=device, dtype=dtype, output=output,
            run_code=run_code, traces=traces, speech=speech, as_json=as_json,
            sampling={
                "temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p,
                "repetition_penalty": repetition_penalty,
            },
        )
    )  # fmt: skip


@app.command(epilog="Example: hogwild compare --task arith-x5 --methods sequential,hogwild:2 --budgets 32,64")
def compare(
    task: options.Task,
    methods: Annotated[
        str,
        typer.Option(
            help="With commas between them; the others are compared with the first. Or think, no-think, async, "
            "async:POLICY among themselves, by how long a listener waits."
        ),
    ] = "sequential,self-consistency,skeleton,hogwild:2,hogwild:4",
    budgets: options.Budgets = None,
    data: options.Data = None,
    samples: options.Samples = None,
    runs: options.Runs = 1,
    seed: options.Seed = 0,
    at_once: options.AtOnce = 8,
    output: options.Output = None,
    traces: options.Traces = False,
    speech: options.Speech = None,
    run_code: options.RunCode = False,
    model: options.Model = "demo",
    device: options.Device = None,
    dtype: options.Dtype = None,
    family: options.Family = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare methods on a task at equal budgets, and write a report with table and plots."""
    from hogwild.cli import compare as command

    command.compare(
        command.CompareRequest(
            task=task, methods=command.parse_methods(methods), budgets=budgets, data=data, samples=samples,
            runs=runs, seed=seed, at_once=at_once, family=family, model=model, device=device, dtype=dtype,
            output=output, run_code=run_code, traces=traces, speech=speech, as_json=as_json,
            sampling={
                "temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p,
                "repetition_penalty": repetition_penalty,
            },
        )
    )  # fmt: skip


@app.command(
    epilog="Example: hogwild judge results/limo/traces --endpoint http://localhost:8000/v1 --judge my-model"
)
def judge(
    traces: Annotated[
        list[Path], typer.Argument(metavar="TRACES", help="Recorded runs, or folders of them.")
    ],
    judge: Annotated[
        str,
        typer.Option(
            help="The judge: its name at the endpoint, or without one, what --model takes elsewhere."
        ),
    ],
    endpoint: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible API; the key is taken from OPENAI_API_KEY.")
    ] = None,
    votes: Annotated[int, typer.Option(help="Votes on each run, of which the mean counts.")] = 3,
    at_once: Annotated[int, typer.Option(help="Runs that are judged at a time, at an endpoint.")] = 4,
    retries: Annotated[int, typer.Option(help="Further attempts of a call that fails.")] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds that an attempt may take.")] = 120.0,
    max_tokens: Annotated[int, typer.Option(help="Length of the judge's reasons.")] = 2048,
    output: Annotated[Path, typer.Option(help="Folder for verdicts and plot.")] = Path("results/judge"),
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Score from 1 to 6 how well the workers of recorded runs collaborate."""
    from hogwild.cli import judge as command

    command.judge(
        command.JudgeRequest(
            traces=traces, judge=judge, endpoint=endpoint, votes=votes, at_once=at_once, retries=retries,
            timeout=timeout, max_tokens=max_tokens, output=output, device=device, dtype=dtype, as_json=as_json,
        )
    )  # fmt: skip


@app.command(
    epilog="Example: hogwild safety requests.jsonl --endpoint http://localhost:8000/v1 --judge my-model"
)
def safety(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help='A JSONL file of requests: {"prompt": ..., "harmful": true or false, "id": ...}, of which the '
            "first is needed.",
        ),
    ],
    judge: Annotated[
        str,
        typer.Option(
            help="The judge: its name at the endpoint, or without one, what --model takes elsewhere."
        ),
    ],
    endpoint: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible API; the key is taken from OPENAI_API_KEY.")
    ] = None,
    guarded_only: Annotated[
        bool, typer.Option("--guarded-only", help="Leave out the runs without the safety mode.")
    ] = False,
    hold: Annotated[
        int | None, typer.Option(help="Forwards for which the writer is held at most. Default: 64.")
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="Forwards between two checks of the answer. Default: 48.")
    ] = None,
    policy: options.Policy = None,
    max_forwards: options.TurnForwards = 512,
    at_once: options.AtOnce = 8,
    retries: Annotated[int, typer.Option(help="Further attempts of a call that fails.")] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds that an attempt may take.")] = 120.0,
    max_tokens: Annotated[int, typer.Option(help="Length of the judge's reasons.")] = 2048,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything; what it has already is not run again. Default: results/safety-MODEL."
        ),
    ] = None,
    model: options.Model = "demo",
    device: options.Device = None,
    dtype: options.Dtype = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    seed: Annotated[int, typer.Option(help="Of the random draws, and of the judge.")] = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure how safe public answers are, with the safety mode and without it, by a judge.

    A run that was stopped goes on with the same command.
    """
    from hogwild.cli import safety as command
    from hogwild.cli.judge import JudgeRequest

    judging = JudgeRequest(
        traces=(), judge=judge, endpoint=endpoint, retries=retries, timeout=timeout, max_tokens=max_tokens,
        device=device, dtype=dtype,
    )  # fmt: skip
    command.evaluate(
        command.SafetyRequest(
            prompts=prompts, judging=judging, model=model, policy=policy, guarded_only=guarded_only, hold=hold,
            every=every, max_forwards=max_forwards, seed=seed, at_once=at_once, device=device, dtype=dtype,
            output=output, as_json=as_json,
            sampling={"temperature": temperature, "top_p": top_p, "top_k": top_k},
        )
    )  # fmt: skip


@app.command(
    "lm-eval",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: hogwild lm-eval --model hogwild --model_args pretrained=demo,workers=2 --tasks gsm8k --limit 8",
)
def lm_eval(context: typer.Context) -> None:
    """Run lm-evaluation-harness, with `hogwild` among its models; takes what lm_eval takes."""
    from hogwild.cli import lm_eval as command

    command.lm_eval(context.args)


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


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit code.

    0, 1 a run that failed, 2 a bad request, 130 Ctrl-C, 141 nobody reads the output any more (as behind `| head`),
    of which nothing is said.
    """
    from hogwild.cli.run import RunFailed
    from hogwild.errors import HogwildError

    try:
        return int(app(args=list(arguments), prog_name="hogwild", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:  # which typer and rich make of it
        if isinstance(error.__context__, BrokenPipeError):
            return UNREAD
        raise
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
