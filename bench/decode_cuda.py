"""Forwards of a model with workers on a GPU, beside its matrix products alone and beside Hugging Face.

    python bench/decode_cuda.py --model qwen3-8b [--workers 1,2,4,8] [--contexts 1024,4096,16384] [--json FILE]

The model is one of the named shapes with random weights, or what `hogwild solve --model` takes. Workers see a shared
history of the given length, two headers and each other's 20 tokens, and write one token each in every forward of the
engine. Prints, for every case: the forward as its caller sees it; the model's part of it (a graph replay by itself);
the floor (its matrix products alone in a graph, those of q, k, v and of gate and up joined); attention by a profile
of kernels; and the setup, which is all that is not the model. Then the paper's Table 1 and Table 2, and in words what
limits it. Baselines decode as many sequences with a cache each:
  HF eager      transformers with a dynamic cache (--no-eager leaves it out)
  HF compiled   transformers compiled with a static cache (only with --compiled: compiling takes a minute a case)
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import results_io
import torch
from arguments import integers, output, positive, run

from hogwild.engine.graphs import DEFAULT_COMPILE
from hogwild.measure import huggingface
from hogwild.measure.decode import DecodeTime
from hogwild.measure.run import measure_all
from hogwild.measure.shapes import SHAPES, load_or_make
from hogwild.measure.tables import table_1, table_2, table_of_parts
from hogwild.measure.words import explain
from hogwild.models import text_config
from hogwild.models.compiled import COMPILE_MODES

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
METHODS = {
    True: (
        "medians over rows of a few forwards of the engine, at most {} in all, greedy, and of replays between the "
        "rows: the model's part; the matrix products: mean of graph replays; random keys and values"
    ),
    False: "medians of {} forwards of the engine, greedy; the matrix products by themselves; random keys and values",
}

Case = tuple[int, int]  # sequences, tokens of context


def baseline(measure: Callable[[], float], what: str) -> float | None:
    """Its time, or None where it does not fit or does not run."""
    try:
        return measure()
    except Exception as error:  # transformers' own limits are not ours to know
        print(f"  {what}: {type(error).__name__}: {str(error).splitlines()[0][:150]}", flush=True)
        return None
    finally:
        gc.collect()
        torch._dynamo.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def compiled_baselines(model: Any, sequences: Sequence[int], contexts: Sequence[int]) -> dict[Case, float]:
    """HF compiled for each case in which it runs.

    Before anything else, while the device has room for its caches.
    """
    found = {}
    for context in contexts:
        for count in sequences:
            us = baseline(partial(huggingface.compiled_us, model, count, context), "HF compiled")
            if us is not None:
                found[count, context] = us
    return found


def counted(sessions: int, workers: int) -> str:
    teams = f"{sessions} x " if sessions > 1 else ""
    return f"{teams}{workers} worker{'s' if workers > 1 else ''}"


def row_of(name: str, dtype: str, compile: str, t: DecodeTime, beside: dict[str, float]) -> dict[str, Any]:
    parts = {"attention_us": t.attention_us, "append_us": t.append_us, "products_us": t.products_us}
    return {
        "case": f"{name}, {counted(t.sessions, t.workers)}, {t.context}",
        "model": name,
        "workers": t.workers,
        "context": t.context,
        "sessions": t.sessions,
        "dtype": dtype,
        "compile": compile,
        "us": t.us,
        "model_us": t.model_us,
        "setup_us": t.setup_us,
        **{part: us for part, us in parts.items() if us is not None},
        "tokens_per_second": t.tokens_per_second,
        "baselines": {"matrix products": t.floor_us, **beside},
    }


def plot(times: list[DecodeTime], name: str, path: Path) -> None:
    """Latency of a forward over the context, a line for each number of workers (the paper's Figure 19, left)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for sessions, workers in sorted({(t.sessions, t.workers) for t in times}):
        same = sorted(
            (t for t in times if (t.sessions, t.workers) == (sessions, workers)), key=lambda t: t.context
        )
        label = counted(sessions, workers)
        axes.plot([t.context for t in same], [t.us / 1e3 for t in same], marker="o", label=label)
    least = min(times, key=lambda t: t.floor_us)
    axes.axhline(least.floor_us / 1e3, color="grey", linestyle=":", label="the least matrix products")
    axes.set(xscale="log", xlabel="tokens in the cache", ylabel="ms per forward", title=name, ylim=(0, None))
    contexts = sorted({t.context for t in times})
    axes.set_xticks(contexts, [f"{context:,}" for context in contexts])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="qwen3-8b", help=f"{', '.join(SHAPES)}, or a model's name")
    parser.add_argument("--workers", type=integers, default=[1, 2, 4, 8], metavar="W,...")
    parser.add_argument("--contexts", type=integers, default=[1024, 4096, 16384], metavar="L,...")
    parser.add_argument(
        "--sessions",
        type=integers,
        default=[1],
        metavar="S,...",
        help="teams that decode together (default: 1)",
    )
    parser.add_argument("--forwards", type=positive, default=50, help="run in each case (default: 50)")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--compile", choices=COMPILE_MODES, default=DEFAULT_COMPILE)
    parser.add_argument("--no-eager", action="store_true", help="without the baseline HF eager")
    parser.add_argument("--compiled", action="store_true", help="with the baseline HF compiled")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=output, help="result file (default: under bench/results)")
    parser.add_argument("--plot", type=output, help="a file for the plot, which needs matplotlib")
    parser.add_argument("--commit", help="what is measured, if Git is not there to say it")
    args = parser.parse_args()
    try:
        device = torch.device(args.device)
    except RuntimeError:
        parser.error(
            f"--device is {args.device}; expected a device of PyTorch's, such as cuda, cuda:1 or cpu"
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: no CUDA device: nothing to measure (--device cpu measures the processor)")

    began = time.perf_counter()
    model, tokenizer = load_or_make(args.model, args.device, DTYPES[args.dtype], max(args.contexts))
    billions = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    print(
        f"{results_io.device_name(args.device)}; {args.model}, {billions:.2f} billion parameters in {args.dtype}, "
        f"made in {time.perf_counter() - began:.0f} s; compile: {args.compile}",
        flush=True,
    )

    def tell(t: DecodeTime) -> None:
        elapsed = time.perf_counter() - began
        graph = "" if t.captured or device.type == "cpu" else "  NOT CAPTURED"
        print(
            f"  [{elapsed:4.0f} s] {counted(t.sessions, t.workers)}, {t.context:,}: {t.us / 1e3:.3f} ms, "
            f"{t.us / t.floor_us:.3f} of the floor{graph}",
            flush=True,
        )

    sequences = sorted({count * sessions for count in args.workers for sessions in args.sessions})
    compiled = compiled_baselines(model, sequences, args.contexts) if args.compiled else {}
    beside: list[dict[str, float]] = []

    def measure_beside(times: list[DecodeTime]) -> None:
        for t in times:
            case = t.sessions * t.workers, t.context
            eager = None
            if not args.no_eager:
                eager = baseline(partial(huggingface.eager_us, model, *case), "HF eager")
            found = {"HF eager": eager, "HF compiled": compiled.get(case)}
            beside.append({name: us for name, us in found.items() if us is not None})

    times = measure_all(
        model,
        tokenizer,
        args.workers,
        args.contexts,
        sessions=args.sessions,
        forwards=args.forwards,
        compile=args.compile,
        skipped=lambda why: print(f"  left out: {why}", flush=True),
        told=tell,
        timed=measure_beside,
    )
    if not times:
        sys.exit("error: no case fits into memory")

    print("\nmilliseconds a forward\n" + table_of_parts(times, beside))
    for sessions in args.sessions:
        same = [t for t in times if t.sessions == sessions]
        title = f", {sessions} sessions" if sessions > 1 else ""
        print(f"\nTable 1{title}\n" + table_1(same))
        print(f"\nTable 2{title}\n" + table_2(same, text_config(model).num_hidden_layers))
        print("\n" + "\n".join(explain(same)))
    rows = [
        row_of(args.model, args.dtype, args.compile if t.captured else "none", t, row)
        for t, row in zip(times, beside, strict=True)
    ]
    name = f"decode_cuda-{Path(args.model).name}"
    if max(args.sessions) > 1:
        name += f"-{max(args.sessions)}_sessions"
    path = results_io.write(
        name,
        rows,
        method=METHODS[device.type == "cuda"].format(args.forwards),
        path=args.json,
        device=args.device,
        commit=args.commit,
    )
    print(f"\nwritten: {path} ({time.perf_counter() - began:.0f} s)")
    if args.plot:
        plot(times, args.model, args.plot)


if __name__ == "__main__":
    run(main)
