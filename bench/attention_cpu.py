"""One pass over shared keys and values for all workers, beside PyTorch's attention over a copy for each of them.

    python bench/attention_cpu.py [--json FILE] [--quick] [--threads N] [--rounds N]

The baselines are the faster of PyTorch's two ways to run scaled_dot_product_attention with fewer kv heads (its
enable_gqa, or keys and values repeated beforehand; repeating and copying are not counted):
  copied   all workers as a batch, each with its own copy of keys and values
  single   one worker's query over one copy
Each round runs every contestant once; reported are medians over rounds. A worker has one query; besides the
shared block there are two headers of 5 tokens and a block of 20 tokens per worker, and every worker's view has all
of them, its own block last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import combined_layout
import results_io
import torch
import torch.nn.functional as F
from arguments import output, positive
from torch import Tensor

PAGE_SIZE = 32
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128


def torch_calls(shared: int, workers: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The two ways to run PyTorch's attention over a copy of all keys per worker."""
    length = combined_layout.visible_tokens(shared, workers)
    q = torch.randn(workers, HEADS, 1, HEAD_DIM).to(dtype)
    k, v = (torch.randn(workers, KV_HEADS, length, HEAD_DIM).to(dtype) for _ in range(2))

    def repeated(x: Tensor) -> Tensor:
        return x.repeat_interleave(HEADS // KV_HEADS, dim=1)

    k_repeated, v_repeated = repeated(k), repeated(v)
    return {
        "grouped": lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        "repeated": lambda: F.scaled_dot_product_attention(q, k_repeated, v_repeated),
    }


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median microseconds of each call over rounds in which every call runs once."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - begin) * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(shared: int, workers: int, dtype: torch.dtype, rounds: int) -> dict:
    calls: dict[str, Callable[[], object]] = {
        "hogwild": combined_layout.attention_call(
            shared,
            workers,
            heads=HEADS,
            kv_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            page_size=PAGE_SIZE,
            dtype=dtype,
        )
    }
    for kind, batch in (("copied", workers), ("single", 1)):
        calls |= {f"{kind} {way}": call for way, call in torch_calls(shared, batch, dtype).items()}
    us = medians(calls, rounds)
    return {
        "case": "decode",
        "L": shared,
        "W": workers,
        "q_heads": HEADS,
        "kv_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "dtype": str(dtype).removeprefix("torch."),
        "us": round(us["hogwild"], 1),
        "baselines": {
            kind: round(min(us[f"{kind} grouped"], us[f"{kind} repeated"]), 1)
            for kind in ("copied", "single")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=output, help="file of results (default: in bench/results; none if --quick)"
    )
    parser.add_argument("--quick", action="store_true", help="one length, few rounds: to see that it runs")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=positive, help="default: 31, or 3 if --quick")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    rounds = args.rounds or (3 if args.quick else 31)
    cases = [(4096, 4)] if args.quick else [(300, 4), (4096, 1), (4096, 2), (4096, 4), (4096, 8)]
    print(
        f"{results_io.device_name()}; {HEADS} query and {KV_HEADS} kv heads, head_dim {HEAD_DIM}; microseconds"
    )
    print(f"{'dtype':10}{'L':>6}{'W':>4}{'hogwild':>12}{'copied':>12}{'ratio':>8}{'single':>12}{'ratio':>8}")
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for shared, workers in cases:
            row = measure(shared, workers, dtype, rounds)
            rows.append(row)
            us, copied, single = row["us"], row["baselines"]["copied"], row["baselines"]["single"]
            print(
                f"{row['dtype']:10}{shared:6}{workers:4}{us:12.1f}{copied:12.1f}{us / copied:8.2f}"
                f"{single:12.1f}{us / single:8.2f}"
            )
    if args.quick and args.json is None:
        return
    method = (
        f"median of {rounds} interleaved rounds; baselines: the faster of enable_gqa and repeated kv heads"
    )
    print(f"written: {results_io.write('attention_cpu', rows, method=method, path=args.json)}")


if __name__ == "__main__":
    main()
