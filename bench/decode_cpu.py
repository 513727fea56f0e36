"""Tokens per second of workers on the CPU, beside Hugging Face `generate` with one sequence, in one run.

    python bench/decode_cpu.py [--model demo] [--workers 1,2,4] [--forwards 64] [--rounds 5] [--json FILE]

Every round runs `generate` and then each number of workers, on the same prompt, greedily, in the checkpoint's
dtype; prefill is not counted. Reported are medians over rounds of tokens per second (all workers together), and
what the engine and the cache add to a forward: everything outside of the model's own call, and within it the
ops `append` and `rotation_table` (attention is the model's work in both cases).
"""

from __future__ import annotations

import argparse
import statistics
import time

import results_io
import torch
from arguments import integers, output, positive, run
from transformers.generation.streamers import BaseStreamer

import hogwild
from hogwild.cache import ViewSpec, make_layout
from hogwild.engine import Event, Feed, Protocol, Result, StartEvent
from hogwild.models import loading

PROBLEM = (
    "A baker sells 12 loaves in the morning and 30 more by evening; 5 boxes hold 7 rolls each. Count both."
)
TEXT = f"Two helpers solve problems together, writing at the same time.\n\nProblem: {PROBLEM}\n\n### Past steps\n\n"


class Decode(Protocol):
    """Workers of the combined layout that never end a step: every forward is one token each."""

    name = "decode"

    def __init__(self, prompt: list[int], header: list[int], workers: int, forwards: int) -> None:
        self.workers = [f"w{i}" for i in range(workers)]
        self.layout = make_layout("combined", self.workers)
        self.prompt, self.header, self.left = prompt, header, forwards
        self.next: dict[str, tuple[int, ...]] | None = None

    def start(self, store) -> list[Event]:
        for name in self.layout.block_names:
            store.create(name)
        return [
            StartEvent(protocol=self.name, problem=PROBLEM, workers=self.workers, layout=self.layout.name)
        ]

    def feeds(self) -> list[Feed]:
        if self.next is None:
            history = ViewSpec((self.layout.history,), self.layout.history)
            sections = [
                Feed(self.workers[0], self.header, spec, sample=False) for spec in self.layout.sections
            ]
            return [Feed(self.workers[0], self.prompt, history, sample=False), *sections]
        return [Feed(w, self.next[w], self.layout.view(w)) for w in self.workers]

    def receive(self, results: list[Result]) -> list[Event]:
        if self.next is None:
            self.next = {worker: tuple(self.header) for worker in self.workers}
            return []
        self.next = {r.worker: (r.token,) for r in results}
        self.left -= 1
        if self.left == 0:
            self.finish_reason = "max_forwards"
        return []


class Times(BaseStreamer):
    """When each token of `generate` came."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.at.append(time.perf_counter())

    def end(self) -> None:
        pass


def run_generate(model, prompt: list[int], count: int) -> list[float]:
    """Seconds of each decode forward of `generate` with one sequence."""
    times = Times()
    ids = torch.tensor([prompt])
    model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=count + 1, max_new_tokens=count + 1,
        streamer=times,
    )  # fmt: skip
    after_prefill = times.at[2:]  # the first two are the prompt and the token that its prefill gave
    return [b - a for a, b in zip(times.at[1:], after_prefill, strict=False)]


class ModelTime:
    """Seconds spent in the model's own calls."""

    def __init__(self, model) -> None:
        self.model, self.seconds, self.began = model, 0.0, 0.0

    def __enter__(self) -> ModelTime:
        self.handles = [
            self.model.register_forward_pre_hook(self._begin),
            self.model.register_forward_hook(self._end),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _begin(self, *_: object) -> None:
        self.began = time.perf_counter()

    def _end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.began


def run_workers(engine, protocol: Decode) -> tuple[list[float], list[float]]:
    """Seconds of each decode forward, and those of them outside of the model's call."""
    total, outside = [], []
    with engine.open(protocol) as session:
        while protocol.next is None or len(protocol.next[protocol.workers[0]]) > 1:
            engine.forward([session])
        with ModelTime(engine.model) as model_time:
            while not session.finished:
                model_time.seconds = 0.0
                began = time.perf_counter()
                engine.forward([session])
                total.append(time.perf_counter() - began)
                outside.append(total[-1] - model_time.seconds)
    return total, outside


def cache_op_seconds(engine, protocol: Decode) -> float:
    """Seconds a forward in `append` and `rotation_table`, by the profiler."""
    with engine.open(protocol) as session:
        for _ in range(3):
            engine.forward([session])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(10):
                engine.forward([session])
    ours = ("hogwild::append", "hogwild::rotation_table")
    return sum(e.cpu_time_total for e in profile.key_averages() if e.key in ours) / 10 * 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="demo, a Hugging Face id or a folder")
    parser.add_argument(
        "--workers", type=integers, default=[1, 2, 4], help="numbers of workers (default: 1,2,4)"
    )
    parser.add_argument("--forwards", type=positive, default=64, help="decode forwards a run (default: 64)")
    parser.add_argument(
        "--rounds", type=positive, default=5, help="rounds, of which medians are taken (default: 5)"
    )
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--json", type=output, help="result file (default: under bench/results)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model, tokenizer = loading.load(args.model, device="cpu")
    engine = hogwild.Engine(model, tokenizer)
    prompt = tokenizer.encode(TEXT)
    header = tokenizer.encode("**Alice [1]:**", add_special_tokens=False)

    def decode(workers: int, forwards: int) -> Decode:
        return Decode(prompt, header, workers, forwards + 1)  # the first one writes the headers

    run_generate(model, prompt, 4)
    generate: list[float] = []
    rates: dict[int, list[float]] = {w: [] for w in args.workers}
    base_rates: list[float] = []
    forwards: dict[int, list[float]] = {w: [] for w in args.workers}
    outside: dict[int, list[float]] = {w: [] for w in args.workers}
    for _ in range(args.rounds):
        seconds = run_generate(model, prompt, args.forwards)
        generate += seconds
        base_rates.append(len(seconds) / sum(seconds))
        for workers in args.workers:
            total, extra = run_workers(engine, decode(workers, args.forwards))
            rates[workers].append(workers * len(total) / sum(total))
            forwards[workers] += total
            outside[workers] += extra

    base = statistics.median(base_rates)
    rows = []
    print(f"{args.model} in {model.dtype}, {args.threads} threads, {len(prompt)} prompt tokens")
    print(f"{'case':24s} {'tokens/s':>9s} {'of generate':>12s} {'ms/forward':>11s} {'engine+cache':>13s}")
    print(
        f"{'generate, 1 sequence':24s} {base:9.1f} {'1.00x':>12s} {statistics.median(generate) * 1e3:11.2f}"
    )
    for workers in args.workers:
        rate, forward = statistics.median(rates[workers]), statistics.median(forwards[workers])
        overhead = statistics.median(outside[workers]) + cache_op_seconds(engine, decode(workers, 20))
        print(
            f"{f'{workers} workers':24s} {rate:9.1f} {f'{rate / base:.2f}x':>12s} {forward * 1e3:11.2f} "
            f"{overhead / forward:13.1%}"
        )
        rows.append(
            {
                "case": f"{workers} worker{'s' if workers > 1 else ''}",
                "workers": workers,
                "dtype": str(model.dtype).removeprefix("torch."),
                "prompt_tokens": len(prompt),
                "us": forward * 1e6,
                "tokens_per_second": rate,
                "ratio_to_generate": rate / base,
                "overhead_us": overhead * 1e6,
                "overhead_fraction": overhead / forward,
                "baselines": {"generate, 1 sequence": statistics.median(generate) * 1e6},
                "baseline_tokens_per_second": base,
            }
        )
    results_io.write(
        "decode_cpu",
        rows,
        method=f"median of {args.rounds} interleaved rounds of {args.forwards} decode forwards; {args.threads} threads",
        path=args.json,
    )


if __name__ == "__main__":
    run(main)
