"""`hogwild bench`: how fast workers decode on this machine, and what limits them."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hogwild.cli.progress import Preparation

if TYPE_CHECKING:
    from hogwild.measure.decode import DecodeTime

CONTEXTS = {"cpu": "256,1024", "cuda": "1024,4096,16384"}
FORWARDS = {"cpu": 8, "cuda": 50}


@dataclass(frozen=True)
class BenchRequest:
    """What the command line asks for; None is chosen by the kind of device."""

    model: str = "demo"
    workers: str = "1,2,4"
    contexts: str | None = None
    forwards: int | None = None
    sessions: int = 1
    compile: str | None = None
    device: str | None = None
    dtype: str | None = None
    as_json: bool = False


def bench(request: BenchRequest) -> None:
    """Measures and prints.

    Raises:
        HogwildError, ValueError: a bad request.
    """
    workers = _integers("--workers", request.workers)
    contexts = None if request.contexts is None else _integers("--contexts", request.contexts)
    for name, value in (("--forwards", request.forwards), ("--sessions", request.sessions)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    with Preparation(Console(stderr=True)) as preparation:
        from hogwild.measure.run import measure_all
        from hogwild.measure.shapes import load_or_make
        from hogwild.models.compiled import COMPILE_MODES

        if request.compile not in (None, *COMPILE_MODES):
            raise ValueError(
                f"--compile: expected one of {', '.join(COMPILE_MODES)}, got {request.compile!r}"
            )
        preparation.stage(f"loading {request.model}")
        longest = max(contexts or [0])
        model, tokenizer = load_or_make(
            request.model, request.device, request.dtype, longest, preparation.stage
        )
    kind = "cuda" if model.device.type == "cuda" else "cpu"
    times = measure_all(
        model,
        tokenizer,
        workers,
        contexts or _integers("--contexts", CONTEXTS[kind]),
        sessions=[request.sessions],
        forwards=request.forwards or FORWARDS[kind],
        compile=request.compile,
        skipped=lambda why: print(f"left out: {why}", file=sys.stderr),
        told=lambda time: print(_progress(time), file=sys.stderr),
    )
    if not times:
        raise ValueError("--contexts: none of them fits this model and machine")
    if request.as_json:
        print(json.dumps(_facts(request.model, model, times), indent=2))
    else:
        _show(model, times)


def _progress(time: DecodeTime) -> str:
    workers = f"{time.workers} worker{'s' if time.workers > 1 else ''}"
    return f"{workers}, {time.context:,} tokens: {time.us / 1e3:.2f} ms a forward"


def _show(model: Any, times: list[DecodeTime]) -> None:
    from hogwild.measure.tables import table_1, table_2
    from hogwild.measure.words import explain
    from hogwild.models import text_config

    print(table_1(times))
    print()
    print(table_2(times, text_config(model).num_hidden_layers))
    print()
    print("\n".join(explain(times)))


def _facts(name: str, model: Any, times: list[DecodeTime]) -> dict[str, Any]:
    import torch

    from hogwild.measure.words import explain

    on_cuda = model.device.type == "cuda"
    return {
        "model": name,
        "device": torch.cuda.get_device_name(model.device) if on_cuda else "cpu",
        "dtype": str(model.dtype).removeprefix("torch."),
        "rows": [
            dataclasses.asdict(time)
            | {"setup_us": time.setup_us, "tokens_per_second": time.tokens_per_second}
            for time in times
        ],
        "words": explain(times),
    }


def _integers(option: str, text: str) -> list[int]:
    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{option}: expected whole numbers from 1 on, separated by commas, got {text!r}")
    return [int(part) for part in parts]
