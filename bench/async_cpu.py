"""Tokens per second of asynchronous reasoning on the CPU: thinker and writer at once, beside the thinker alone.

    python bench/async_cpu.py [--model demo] [--forwards 48] [--json FILE]

Two sessions take turns, forward by forward, greedily, in the checkpoint's dtype: in one the writer is held, in the
other thinker and writer go on together. Neither may end its text. Reported are medians of their forwards.
"""

from __future__ import annotations

import argparse
import statistics
import time

import results_io
import torch
from arguments import output, positive, run
from transformers import PreTrainedTokenizerBase

import hogwild
from hogwild.engine import TokenEvent
from hogwild.models import loading
from hogwild.protocols.async_reasoning.policies import FixedRatioPolicy

PROBLEM = "A baker sells 12 loaves in the morning and 30 more by evening. Count them, and say how you did."
PREFILL = 2  # forwards before both streams decode
STREAMS = {"thinker alone": 1, "thinker and writer": 2}


def closing_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens with which a stream may end: special ones, and all with a line break, behind which headings stand."""
    ids = range(len(tokenizer))
    texts = tokenizer.batch_decode([[token] for token in ids])
    return sorted({*tokenizer.all_special_ids, *(token for token in ids if "\n" in texts[token])})


def measure(engine: hogwild.Engine, forwards: int) -> dict[str, list[float]]:
    """Seconds of each forward, by what decodes."""
    length = forwards + PREFILL + 1
    forbidden = closing_tokens(engine.tokenizer)
    policies = (FixedRatioPolicy(think=length), "always-on")
    sessions = {
        name: engine.open(
            engine.thinking(
                PROBLEM, policy=policy, max_forwards=length, temperature=0.0, forbidden_tokens=forbidden
            )
        )
        for name, policy in zip(STREAMS, policies, strict=True)
    }
    for session in sessions.values():
        for _ in range(PREFILL):
            engine.forward([session])
    seconds: dict[str, list[float]] = {name: [] for name in STREAMS}
    for _ in range(forwards):
        for name, session in sessions.items():
            began = time.perf_counter()
            told = engine.forward([session])
            seconds[name].append(time.perf_counter() - began)
            tokens = sum(isinstance(event, TokenEvent) for _, events in told for event in events)
            if tokens != STREAMS[name]:
                raise SystemExit(f"error: {name}: a forward wrote {tokens} tokens; try fewer --forwards")
    for session in sessions.values():
        session.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="demo, a Hugging Face id or a folder")
    parser.add_argument("--forwards", type=positive, default=48, help="timed, of each (default: 48)")
    parser.add_argument("--json", type=output, help="result file (default: under bench/results)")
    args = parser.parse_args()
    model, tokenizer = loading.load(args.model, device="cpu")
    seconds = measure(hogwild.Engine(model, tokenizer), args.forwards)
    forward = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name: STREAMS[name] / forward[name] for name in STREAMS}
    base = rates["thinker alone"]
    print(f"{args.model} in {model.dtype}, {torch.get_num_threads()} threads")
    for name in STREAMS:
        print(
            f"{name:20s} {rates[name]:6.1f} tokens/s  {rates[name] / base:.2f}x  {1e3 * forward[name]:.1f} ms a forward"
        )
    rows = [
        {
            "case": name,
            "streams": STREAMS[name],
            "dtype": str(model.dtype).removeprefix("torch."),
            "us": 1e6 * forward[name],
            "tokens_per_second": rates[name],
            "ratio_to_one": rates[name] / base,
            "baselines": {},
        }
        for name in STREAMS
    ]
    path = results_io.write(
        "async_cpu",
        rows,
        method=f"medians of {args.forwards} forwards, the two take turns; {torch.get_num_threads()} threads",
        path=args.json,
    )
    print(f"written: {path}")


if __name__ == "__main__":
    run(main)
