"""One pass over shared keys and values for all workers on a GPU, beside PyTorch's attention and FlashInfer's.

    python bench/attention_cuda.py [--tokens L,...] [--workers W,...] [--json FILE] [--quick]

A worker has one query; it sees L shared tokens, two headers of 5 and 20 tokens of each worker, its own last. None of
the baselines rotates anything, and each gets as many contiguous tokens as a worker sees:
  flash, 1 query    one worker's, by that backend of PyTorch's scaled_dot_product_attention; cuDNN's likewise
  flash, copied     all workers as a batch, each with its own copy of keys and values; cuDNN's likewise
  FlashInfer        paged decode of all workers in one call, shared pages named by each (where it is installed)
For PyTorch's backends the faster of two ways counts: enable_gqa, or the query heads of a kv head as so many queries.
Everything is replayed from a CUDA graph and measured by Triton's do_bench, which flushes L2; a plain kernel that
reads the keys and values once is measured beside it. What a backend refuses is left out, with the reason printed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import combined_layout
import results_io
import torch
import torch.nn.functional as F
from arguments import integers, output, positive
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = "cuda"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}


@dataclass(frozen=True)
class Shape:
    heads: int
    kv_heads: int
    head_dim: int
    page_size: int
    dtype: torch.dtype

    def kv_bytes(self, tokens: int) -> int:
        return 2 * tokens * self.kv_heads * self.head_dim * self.dtype.itemsize


class Bench:
    """Measures calls, and remembers what was refused."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds
        self.refused: set[str] = set()

    def median_us(self, call: Callable[[], object]) -> float:
        """Median microseconds of a replay of the call, L2 flushed before each."""
        from triton.testing import do_bench  # only where there is a GPU

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return do_bench(graph.replay, rep=self.milliseconds, return_mode="median") * 1e3

    def if_served(self, name: str, prepare: Callable[[], Callable[[], object]]) -> float | None:
        """The same of the call that `prepare` returns. None where either is refused: then the reason is printed.

        What has been refused once is not tried again.
        """
        if name in self.refused:
            return None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                return self.median_us(prepare())
            except (ImportError, RuntimeError, ValueError) as error:
                print(f"{name} is left out: {error}")
                for reason in caught:  # PyTorch's, one for each backend that it rules out
                    print(f"  {str(reason.message).splitlines()[0]}")
                self.refused.add(name)
                return None


def torch_call(backend: str, q: Tensor, k: Tensor, v: Tensor) -> Callable[[], object]:
    enable_gqa = q.shape[1] != k.shape[1]

    def call() -> Tensor:
        with sdpa_kernel(BACKENDS[backend]):
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=enable_gqa)

    return call


def torch_baseline(bench: Bench, backend: str, tokens: int, batch: int, shape: Shape) -> float | None:
    """A query for each of a batch, and its own copy of keys and values: the faster way, None if neither works."""
    q = torch.randn(batch, shape.heads, 1, shape.head_dim, device=DEVICE).to(shape.dtype)
    kv_shape = (batch, shape.kv_heads, tokens, shape.head_dim)
    k, v = (torch.randn(kv_shape, device=DEVICE).to(shape.dtype) for _ in range(2))
    packed = q.view(batch, shape.kv_heads, shape.heads // shape.kv_heads, shape.head_dim)
    ways = {"enable_gqa": q, "heads as queries": packed}
    times = [
        bench.if_served(f"{backend} ({name})", partial(torch_call, backend, way, k, v))
        for name, way in ways.items()
    ]
    return min((us for us in times if us is not None), default=None)


def flashinfer_call(shared: int, workers: int, shape: Shape) -> Callable[[], object]:
    """Paged decode of one request per worker; pages that are full of shared tokens are named by all requests."""
    import flashinfer

    tokens = combined_layout.visible_tokens(shared, workers)
    common = shared // shape.page_size
    own = -(-tokens // shape.page_size) - common
    order = torch.randperm(common + workers * own, dtype=torch.int32)
    requests = [torch.cat([order[:common], pages]) for pages in order[common:].split(own)]
    indptr = torch.arange(workers + 1, dtype=torch.int32) * (common + own)
    last_page_len = torch.full((workers,), (tokens - 1) % shape.page_size + 1, dtype=torch.int32)

    q = torch.randn(workers, shape.heads, shape.head_dim, device=DEVICE).to(shape.dtype)
    pages_shape = (len(order), shape.kv_heads, shape.page_size, shape.head_dim)
    pages = tuple(torch.randn(pages_shape, device=DEVICE).to(shape.dtype) for _ in range(2))
    workspace = torch.zeros(256 << 20, dtype=torch.uint8, device=DEVICE)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "HND", use_tensor_cores=True)
    wrapper.plan(
        indptr.to(DEVICE),
        torch.cat(requests).to(DEVICE),
        last_page_len.to(DEVICE),
        shape.heads,
        shape.kv_heads,
        shape.head_dim,
        shape.page_size,
        q_data_type=shape.dtype,
        kv_data_type=shape.dtype,
    )
    return lambda: wrapper.run(q, pages)


def measure_length(bench: Bench, shared: int, counts: list[int], shape: Shape, dtype: str) -> list[dict]:
    """One row for each number of workers."""
    from plain_read import plain_read  # needs Triton, which PyTorch brings along only with CUDA

    # One query is the same whatever the number of workers, but for their few own tokens.
    one_tokens = combined_layout.visible_tokens(shared, 1)
    one = {f"{name}, 1 query": torch_baseline(bench, name, one_tokens, 1, shape) for name in BACKENDS}
    rows: list[dict] = []
    for workers in counts:
        tokens = combined_layout.visible_tokens(shared, workers)
        call = combined_layout.attention_call(
            shared,
            workers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            page_size=shape.page_size,
            dtype=shape.dtype,
            device=DEVICE,
        )
        out, lse = call()
        if not (out.isfinite().all() and lse.isfinite().all()):
            sys.exit(f"error: attention gave NaN or infinities at L = {shared}, W = {workers}")
        us = bench.median_us(call)
        read_us = bench.median_us(plain_read(shape.kv_bytes(tokens), DEVICE))
        baselines = dict(one)
        if workers > 1:
            for name in BACKENDS:
                baselines[f"{name}, copied"] = torch_baseline(bench, name, tokens, workers, shape)
        flashinfer = partial(flashinfer_call, shared, workers, shape)
        baselines["FlashInfer"] = bench.if_served("FlashInfer", flashinfer)
        rows.append(
            {
                "case": "decode",
                "L": shared,
                "W": workers,
                "q_heads": shape.heads,
                "kv_heads": shape.kv_heads,
                "head_dim": shape.head_dim,
                "page_size": shape.page_size,
                "dtype": dtype,
                "bytes": shape.kv_bytes(tokens),
                "us": round(us, 2),
                "read_us": round(read_us, 2),
                "baselines": {name: round(us, 2) for name, us in baselines.items() if us is not None},
            }
        )
        others = "".join(f"  {name} {us:.1f}" for name, us in rows[-1]["baselines"].items())
        print(f"{shared:8}{workers:4}{us:10.2f}{read_us:10.2f}{us / read_us:9.3f}  {others}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=integers, metavar="L,...", help="default: 300,4096,16384,65536")
    parser.add_argument("--workers", type=integers, metavar="W,...", help="default: 1,2,4,8")
    parser.add_argument("--heads", type=positive, default=40, help="query heads (default: 40)")
    parser.add_argument("--kv-heads", type=positive, default=8, help="default: 8")
    parser.add_argument("--head-dim", type=positive, default=128, help="default: 128")
    parser.add_argument("--page-size", type=positive, default=32, help="default: 32")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="default: bf16")
    parser.add_argument(
        "--json", type=output, help="file of results (default: in bench/results; none if --quick)"
    )
    parser.add_argument("--commit", help="what is measured, where Git is not there to say it")
    parser.add_argument("--quick", action="store_true", help="one length, little time: to see that it runs")
    args = parser.parse_args()
    if args.heads % args.kv_heads:
        parser.error(f"--heads is {args.heads}; expected a multiple of --kv-heads ({args.kv_heads})")
    if args.head_dim % 2:
        parser.error(f"--head-dim is {args.head_dim}; expected an even number")
    if not torch.cuda.is_available():
        sys.exit("error: no CUDA device: nothing to measure")
    torch.manual_seed(0)

    shape = Shape(args.heads, args.kv_heads, args.head_dim, args.page_size, DTYPES[args.dtype])
    lengths = args.tokens or ([4096] if args.quick else [300, 4096, 16384, 65536])
    counts = args.workers or ([1, 4] if args.quick else [1, 2, 4, 8])
    bench = Bench(milliseconds=20 if args.quick else 100)
    print(
        f"{results_io.device_name(DEVICE)}; {shape.heads} query and {shape.kv_heads} kv heads, "
        f"head_dim {shape.head_dim}, {args.dtype}; microseconds"
    )
    print(f"{'L':>8}{'W':>4}{'hogwild':>10}{'read':>10}{'of read':>9}")
    with torch.inference_mode():
        rows = [row for shared in lengths for row in measure_length(bench, shared, counts, shape, args.dtype)]
    if args.quick and args.json is None:
        return
    method = (
        "Triton's do_bench (median, L2 flushed) of CUDA-graph replays; PyTorch's backends: the faster of "
        "enable_gqa and heads as queries; they rotate nothing"
    )
    path = results_io.write(
        "attention_cuda", rows, method=method, path=args.json, device=DEVICE, commit=args.commit
    )
    print(f"written: {path}")


if __name__ == "__main__":
    main()
