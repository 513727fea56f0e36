"""`hogwild solve`: several workers on one problem."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hogwild.cli.progress import Preparation
from hogwild.cli.readers import TraceReader, make_reader
from hogwild.cli.run import run_protocol
from hogwild.engine.events import Event, FinishEvent

if TYPE_CHECKING:
    from hogwild.protocols import Engine

COMPILE_MODES = ("none", "layers", "model")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class SolveRequest:
    """What the command line asks for. Settings that are None are the engine's to choose."""

    problem: str
    model: str = "demo"
    workers: int | list[str] = 2
    layout: str = "combined"
    max_forwards: int = 256
    sampling: dict[str, float | int | None] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    compile: str | None = None
    trace: Path | None = None
    as_json: bool = False


def parse_workers(text: str) -> int | list[str]:
    """A number of workers, or their names."""
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1 and re.fullmatch(r"[+-]?\d+", names[0]):
        count = int(names[0])
        if count < 1:
            raise ValueError(f"--workers: expected at least 1, got {count}")
        return count
    if len(names) == 1 and _looks_like_a_number(names[0]):
        raise ValueError(f"--workers: expected a whole number, or names separated by commas, got {text!r}")
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"--workers: expected a number, or different names separated by commas, got {text!r}"
        )
    return names


def _looks_like_a_number(name: str) -> bool:
    """Whether `name` can hardly be meant as one: no letter in it, or a float such as 1e3."""
    if not any(character.isalpha() for character in name):
        return bool(name)
    return any(character.isdigit() for character in name) and _is_float(name)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_problem(text: str) -> str:
    """The problem; "-" stands for all of stdin."""
    problem = sys.stdin.read() if text == "-" else text
    if not problem.strip():
        raise ValueError("PROBLEM is empty")
    return problem.strip()


def check(request: SolveRequest) -> None:
    """Refuses at once what would be refused after a model was loaded.

    Raises:
        ValueError: a setting is out of range, or no such layout, dtype or device.
    """
    from hogwild.cache.layouts import LAYOUTS
    from hogwild.engine.sampling import SamplingParams
    from hogwild.errors import UnknownNameError
    from hogwild.models.loading import DEVICE_MAPS

    SamplingParams(**_given(request.sampling))
    if request.layout not in LAYOUTS:
        raise UnknownNameError("layout", request.layout, LAYOUTS)
    if request.max_forwards < 1:
        raise ValueError(f"--max-forwards: expected at least 1, got {request.max_forwards}")
    if request.dtype not in (None, *DTYPES):
        raise ValueError(f"--dtype: expected one of {', '.join(DTYPES)}, got {request.dtype!r}")
    if request.compile not in (None, *COMPILE_MODES):
        raise ValueError(f"--compile: expected one of {', '.join(COMPILE_MODES)}, got {request.compile!r}")
    if request.device not in (None, *DEVICE_MAPS):
        _check_device(request.device)


def _check_device(device: str) -> None:
    """Refuses a device that cannot hold a tensor, of whatever kind."""
    import torch

    try:
        torch.empty(1, device=device).cpu()
    except Exception as error:  # its type depends on the kind of device
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"--device: cannot use {device!r}: {reason}") from error


def solve(request: SolveRequest) -> str:
    """Runs the request and shows it; one of `hogwild.engine.events.FINISH_REASONS`.

    Raises:
        HogwildError, ValueError: a bad request, before anything is shown.
        RunFailed: the run ended with an error, which was shown.
    """
    with ExitStack() as stack:
        trace = stack.enter_context(TraceReader(request.trace)) if request.trace is not None else None
        with Preparation(Console(stderr=True)) as preparation:
            check(request)
            engine = _make_engine(request, preparation)
            protocol = engine.collaboration(
                request.problem,
                workers=request.workers,
                layout=request.layout,
                max_forwards=request.max_forwards,
                **_given(request.sampling),
            )
        reader = stack.enter_context(make_reader(request.as_json))
        ending = ""

        def record(event: Event) -> None:
            nonlocal ending
            if isinstance(event, FinishEvent):
                ending = event.reason
            if trace is not None:
                trace.read(event)

        run_protocol(engine, protocol, reader.read, record)
    return ending


def _make_engine(request: SolveRequest, preparation: Preparation) -> Engine:
    from hogwild.models.loading import load
    from hogwild.protocols import Engine

    preparation.stage(f"loading {request.model}")
    model, tokenizer = load(request.model, request.device, request.dtype, preparation.stage)
    return Engine(model, tokenizer, compile=request.compile)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
