"""`hogwild solve`: several workers on one problem."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hogwild.cli.placement import check_placement
from hogwild.cli.progress import Preparation
from hogwild.cli.readers import TraceReader, make_reader
from hogwild.cli.run import run_protocol
from hogwild.engine.events import Event, FinishEvent

if TYPE_CHECKING:
    from hogwild.protocols import BudgetedProtocol, Engine

DEFAULT_FORWARDS = 256
COMPILE_MODES = ("none", "layers", "model")


@dataclass(frozen=True)
class SolveRequest:
    """What the command line asks for. Settings that are None are the engine's to choose."""

    problem: str
    model: str = "demo"
    method: str | None = None
    workers: int | list[str] | None = None
    layout: str | None = None
    max_forwards: int | None = None
    budgets: list[int] = field(default_factory=list)
    early_finish: bool = False
    family: str | None = None
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


def parse_budgets(text: str | None) -> list[int]:
    """Ascending numbers of forwards, with commas between them."""
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+", part) and int(part) > 0 for part in parts):
        raise ValueError(f"--budgets: expected whole numbers such as 64,128,256, got {text!r}")
    budgets = [int(part) for part in parts]
    if any(a >= b for a, b in pairwise(budgets)):
        raise ValueError(f"--budgets: expected ascending numbers, got {text!r}")
    return budgets


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
    from hogwild.prompting import load_family, worker_names
    from hogwild.protocols import parse
    from hogwild.protocols.collaboration import MAX_WORKERS

    SamplingParams(**_given(request.sampling))
    if request.workers is not None:
        try:
            worker_names(request.workers, most=MAX_WORKERS)
        except ValueError as error:
            raise ValueError(f"--{error}") from None
    if request.layout is not None and request.layout not in LAYOUTS:
        raise UnknownNameError("layout", request.layout, LAYOUTS)
    if request.max_forwards is not None and request.max_forwards < 1:
        raise ValueError(f"--max-forwards: expected at least 1, got {request.max_forwards}")
    if request.budgets and request.budgets[-1] > (request.max_forwards or request.budgets[-1]):
        raise ValueError(f"--budgets: expected none above --max-forwards {request.max_forwards}")
    if request.method is not None:
        parse(request.method)
        if request.workers is not None or request.layout is not None:
            raise ValueError("--workers, --layout: they go with no --method; say hogwild:3:contiguous there")
    if request.family is not None:
        load_family(request.family)
    check_placement(request.device, request.dtype)
    if request.compile not in (None, *COMPILE_MODES):
        raise ValueError(f"--compile: expected one of {', '.join(COMPILE_MODES)}, got {request.compile!r}")


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
            protocol = _make_protocol(request, engine)
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


def _make_protocol(request: SolveRequest, engine: Engine) -> BudgetedProtocol:
    from hogwild.protocols import parse

    settings: dict[str, Any] = {**_given(request.sampling)}
    if request.family is not None:
        settings["family"] = request.family
    if request.budgets:
        settings["budgets"] = request.budgets
    if request.budgets or request.early_finish:
        settings["early_finish"] = True
    limit = request.max_forwards or (request.budgets[-1] if request.budgets else DEFAULT_FORWARDS)
    if request.method is not None:
        # what self-consistency answers is always asked for, after its threads have written
        settings.setdefault("early_finish", parse(request.method).kind == "self-consistency")
        return engine.method(request.method, request.problem, max_forwards=limit, **settings)
    return engine.collaboration(
        request.problem,
        workers=request.workers or 2,
        layout=request.layout or "combined",
        max_forwards=limit,
        **settings,
    )


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
