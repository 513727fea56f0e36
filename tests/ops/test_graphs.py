"""The ops in CUDA graphs, and what makes them legal there: they launch and never wait."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from accuracy import assert_accurate, assert_same_bits
from decoding import Decoding
from kernel_samples import KERNEL_SHAPES
from op_samples import attention_case
from torch import Tensor

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("no_fallback")]

KINDS = [
    (torch.bfloat16, 128),
    (torch.float16, 64),
    (torch.bfloat16, 80),
    (torch.bfloat16, 256),
    (torch.float32, 64),
]


def captured(decoding: Decoding) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, Tensor]]:
    """A graph of one forward, captured on a side stream, and what it writes its results to."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        results = decoding.forward()
    return graph, results


@pytest.mark.parametrize("dtype, head_dim", KINDS)
def test_replays_equal_eager_forwards(dtype: torch.dtype, head_dim: int) -> None:
    eager, replayed = (Decoding(70, head_dim, dtype, "cuda") for _ in range(2))
    first = eager.forward()
    graph, results = captured(replayed)
    for count in range(70):
        graph.replay()
        assert_same_bits(results, eager.forward() if count else first)
    assert_accurate(replayed.case, results)
    for cache in ("k_cache", "v_cache"):
        torch.testing.assert_close(
            getattr(replayed, cache), getattr(eager, cache), rtol=0, atol=0, equal_nan=True
        )


def test_ten_thousand_replays() -> None:
    Decoding(1, 64, torch.bfloat16, "cuda").forward()
    decoding = Decoding(10_000, 64, torch.bfloat16, "cuda")
    graph, results = captured(decoding)
    for count in range(1, 10_001):
        graph.replay()
        if count % 1000 == 0 or count == 1:
            assert decoding.block_lens.tolist() == [100, count, count, count]
            assert_accurate(decoding.case, results)
            assert_same_bits(decoding.case.run(), results)
    for written, expected in zip(decoding.written_so_far(), (decoding.keys, decoding.values), strict=True):
        assert torch.equal(written, expected)


def test_a_graph_serves_other_lengths_and_groups() -> None:
    """A launch is decided on by shapes alone: all elements may change, also so that there is less to do."""
    case = attention_case(KERNEL_SHAPES["many splits"], "cuda")
    q, _, _, _, lens, group_tokens, group_blocks, query_pos, *_ = case.args
    case.run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = case.run()

    def replayed() -> None:
        graph.replay()
        assert_same_bits(results, case.run())
        assert_accurate(case, results)

    replayed()
    q.normal_()
    lens.div_(3, rounding_mode="floor")
    replayed()
    group_tokens[-1] -= 2  # now padding
    query_pos[::3] = -1
    replayed()
    group_tokens[1:] = group_tokens[1].clone()  # the first session is left
    lens[: group_blocks[1]] = 0
    lens[0] = 1
    replayed()
    lens.zero_()
    replayed()
    assert (results[0] == 0).all()


@pytest.mark.parametrize("dtype, head_dim", KINDS)
def test_ops_do_not_wait(dtype: torch.dtype, head_dim: int) -> None:
    decoding = Decoding(20, head_dim, dtype, "cuda")
    for _ in range(3):
        decoding.forward()  # memory is allocated here, which may wait for the device
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda._sleep(500_000_000)  # some tenths of a second
    slept.record()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(10):
            decoding.forward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not slept.query()
    torch.cuda.synchronize()
    assert_accurate(decoding.case)


def test_queries_that_must_be_copied_are_legal_in_a_graph() -> None:
    """Rows that do not start at 16 bytes."""
    case = attention_case(KERNEL_SHAPES["decoding"], "cuda")
    q = case.args[0]
    odd = q.new_empty(*q.shape[:2], q.shape[2] + 1)[..., 1:].copy_(q)
    odd_case = dataclasses.replace(case, args=(odd, *case.args[1:]))
    odd_case.run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = odd_case.run()
    odd.mul_(0.5)
    graph.replay()
    assert_same_bits(results, odd_case.run())
    assert_accurate(odd_case, results)
