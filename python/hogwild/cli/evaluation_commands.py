"""The commands that evaluate: methods on tasks, workers by a judge, answers by how safe they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hogwild.cli import options
from hogwild.cli.commands import app


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
