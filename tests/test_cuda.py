"""What only a CUDA device shows of the ops: graph capture, streams, and the path by PyTorch ops."""

from __future__ import annotations

import warnings

import pytest
import torch

from hogwild_cuda import fallback, reference


def _pages(device: str = "cuda") -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(4, 2, 16, 64, device=device), torch.zeros(4, 2, 16, 64, device=device)


@pytest.mark.cuda
def test_the_cache_ops_replay_from_a_graph() -> None:
    k_cache, v_cache = _pages()
    k, v = torch.randn(3, 2, 64, device="cuda"), torch.randn(3, 2, 64, device="cuda")
    slots = torch.tensor([0, 1, 2], device="cuda")
    query_pos = torch.tensor([[5, 900_000], [6, -1], [7, 1]], dtype=torch.int32, device="cuda")
    rotary_pos = torch.tensor([0, 1, 2], dtype=torch.int32, device="cuda")
    inv_freq = 10_000.0 ** -(torch.arange(32, device="cuda") / 32)
    shift = torch.tensor([40, 0, -40], dtype=torch.int32, device="cuda")

    def launch() -> torch.Tensor:
        torch.ops.hogwild.append(k, v, k_cache, v_cache, slots)
        torch.ops.hogwild.move(k_cache, v_cache, slots, slots + 16, shift, inv_freq)
        return torch.ops.hogwild.rotation_table(query_pos, rotary_pos, inv_freq)

    launch()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        table = launch()
    for _ in range(3):
        k.normal_(), v.normal_(), slots.add_(3), rotary_pos.add_(1)
        expected = _pages()
        k_cache.zero_(), v_cache.zero_()
        graph.replay()
        reference.append(k, v, *expected, slots)
        reference.move(*expected, slots, slots + 16, shift, inv_freq)
        torch.testing.assert_close((k_cache, v_cache), expected)
        torch.testing.assert_close(table, reference.rotation_table(query_pos, rotary_pos, inv_freq))


@pytest.mark.cuda
def test_the_current_stream_is_used() -> None:
    """Work queued behind a long kernel on a side stream must wait for it, though the default stream is idle."""
    k_cache, v_cache = _pages()
    k = torch.zeros(1, 2, 64, device="cuda")
    slots = torch.zeros(1, dtype=torch.int64, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        k.fill_(1.0)
        torch.ops.hogwild.append(k, k, k_cache, v_cache, slots)
    torch.cuda.synchronize()
    assert k_cache[0, :, 0].eq(1).all()


@pytest.mark.cuda
def test_tensors_of_two_devices_are_refused() -> None:
    k_cache, v_cache = _pages("cpu")
    k, slots = torch.zeros(1, 2, 64, device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")
    with pytest.raises((RuntimeError, ValueError), match=r"append: .*expected device cpu"):
        torch.ops.hogwild.append(k, k, k_cache, v_cache, slots)


def test_the_fallback_returns_what_the_reference_does_and_warns_once() -> None:
    fallback._warn_once.cache_clear()
    op = fallback._with_warning("rotation_table", fallback._by_torch_ops("rotation_table"), "a reason")
    arguments = (torch.tensor([[3]]).int(), torch.tensor([1]).int(), torch.tensor([0.5]))
    with pytest.warns(fallback.FallbackWarning, match=r"hogwild::rotation_table .* slow: a reason"):
        table = op(*arguments)
    angle = torch.tensor(1.0)
    torch.testing.assert_close(table.flatten(), torch.stack([angle.cos(), angle.sin()]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        op(*arguments)
