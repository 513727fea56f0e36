"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MODEL, _SAMPLING = "Model", "Sampling"

Model = Annotated[
    str, typer.Option(help='"demo", a Hugging Face id, or a local folder.', rich_help_panel=_MODEL)
]
Device = Annotated[
    str | None, typer.Option(help="Such as cpu, cuda:0, auto. Default: CUDA if any.", rich_help_panel=_MODEL)
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16, float16. Default: the checkpoint's own.", rich_help_panel=_MODEL),
]
Compile = Annotated[
    str | None,
    typer.Option(
        help="What of the model is compiled: none, layers or model. Default: layers on CUDA, none on the CPU.",
        rich_help_panel=_MODEL,
    ),
]
Family = Annotated[
    str | None,
    typer.Option(help="Prompts: a model family or a file. Default: the model's own.", rich_help_panel=_MODEL),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="0 is greedy. Default: the model's own settings; 1 with an option that keeps some tokens only.",
        rich_help_panel=_SAMPLING,
    ),
]
TopP = Annotated[
    float | None, typer.Option(help="Keep the likeliest tokens up to this mass.", rich_help_panel=_SAMPLING)
]
TopK = Annotated[
    int | None, typer.Option(help="Keep this many tokens; 0 keeps all.", rich_help_panel=_SAMPLING)
]
MinP = Annotated[
    float | None,
    typer.Option(
        help="Keep tokens at least this fraction as likely as the likeliest.", rich_help_panel=_SAMPLING
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(help="Above 1, a worker's own tokens get less likely.", rich_help_panel=_SAMPLING),
]
DrawSeed = Annotated[
    int | None,
    typer.Option(
        help="The same seed gives the same draws; needs random ones. Default: 0.", rich_help_panel=_SAMPLING
    ),
]

Trace = Annotated[
    Path | None,
    typer.Option(help="Record the run in this file, for replay; a recorded run is replaced, nothing else."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

ThinkMethod = Annotated[
    str,
    typer.Option(help="async; or the baselines: think (then answer), no-think (answer at once)."),
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="When the writer speaks: probe, in-stream, entropy, fixed-ratio or always-on, with settings as in "
        "probe:every=10,margin=0.5. Default: probe.",
    ),
]
Arrangement = Annotated[
    str | None,
    typer.Option(help="roles (a prompt for each voice) or shared (one). Default: roles."),
]
TurnForwards = Annotated[int, typer.Option(help="Tokens of each voice per turn, at most.")]
MaxThoughts = Annotated[int | None, typer.Option(help="Tokens of thoughts per turn, at most.")]
Safety = Annotated[
    bool, typer.Option("--safety", help="Check the request before the writer may speak, and its answer.")
]
SafetyHold = Annotated[
    int | None,
    typer.Option(help="With --safety: forwards for which the writer is held at most. Default: 64."),
]
SafetyEvery = Annotated[
    int | None, typer.Option(help="With --safety: forwards between two checks of the answer. Default: 48.")
]
ShowThoughts = Annotated[
    bool | None,
    typer.Option(
        "--show-thoughts/--hide-thoughts",
        help="Show the private thoughts. Default: on a terminal; elsewhere they go to stderr if wanted.",
    ),
]

Task = Annotated[
    str,
    typer.Option(
        help="A task's name, or a JSONL or Parquet file of problems and answers.", show_default=False
    ),
]
Data = Annotated[
    Path | None, typer.Option(help="A local JSONL or Parquet file with the rows of the task's data set.")
]
Budgets = Annotated[
    str | None,
    typer.Option(help="Sequential forwards, ascending: 256,512,1024. Default: what suits the task."),
]
Samples = Annotated[
    int | None, typer.Option(help="Problems, drawn at random. Default: all; for arith-x5, 16.")
]
Runs = Annotated[int, typer.Option(help="Runs of each problem, with different seeds.")]
Seed = Annotated[int, typer.Option(help="Of the first run of each problem.")]
AtOnce = Annotated[int, typer.Option(help="Runs side by side on the model.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder for everything; what it has already is not run again. Default: results/TASK-MODEL."
    ),
]
Traces = Annotated[
    bool, typer.Option("--traces", help="Also record each run, for hogwild replay and hogwild judge.")
]
Speech = Annotated[
    str | None,
    typer.Option(
        help='For think, no-think and async: a program that speaks, such as "espeak-ng --stdout". Default: 160 '
        "words a minute."
    ),
]
RunCode = Annotated[
    bool, typer.Option("--run-code", help="Allow tasks to run programs that the model writes, confined.")
]
