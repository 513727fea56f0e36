"""hogwild::move."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import inv_freq, move_call

from hogwild_cuda import reference


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**31 - 1),
    entries=st.integers(0, 40),
    dtype=st.sampled_from((torch.float32, torch.bfloat16, torch.float16)),
    rotary_dims=st.sampled_from((0, 2, 6, 16)),
    interleaved=st.booleans(),
    reach=st.sampled_from((1, 100, 1_000_000)),
)
def test_equals_reference(
    device: str, seed: int, entries: int, dtype: torch.dtype, rotary_dims: int, interleaved: bool, reach: int
) -> None:
    args, kwargs = move_call(entries, dtype, rotary_dims, interleaved, reach, seed)
    exact = [arg.double() if arg is not None and arg.is_floating_point() else arg for arg in args]
    reference.move(*exact, **kwargs)
    torch_args = [arg if arg is None else arg.clone() for arg in args]
    reference.move(*torch_args, **kwargs)
    on_device = [arg if arg is None else arg.to(device, copy=True) for arg in args]
    torch.ops.hogwild.move(*on_device, **kwargs)
    for actual, expected, by_torch in zip(on_device[:2], exact[:2], torch_args[:2], strict=True):
        assert torch.equal(actual.cpu().isnan(), expected.isnan())
        error = (actual.cpu().double() - expected).nan_to_num().abs().max()
        torch_error = (by_torch.double() - expected).nan_to_num().abs().max()
        assert error <= 2 * torch_error + torch.finfo(dtype).eps


@pytest.mark.parametrize("shifts", [(7,), (7, -3, 7), (0, 7, 0, 7, -7)])
def test_runs_of_entries_with_one_shift(shifts: tuple[int, ...], device: str) -> None:
    """Entries of one block have the same shift; each gives the bits of its entry moved alone."""
    count = 20 * len(shifts)
    k_cache, v_cache = torch.randn(2 * count, 2, 1, 16), torch.randn(2 * count, 2, 1, 8)
    src = torch.arange(count)
    src[5] = -1
    shift = torch.tensor(shifts, dtype=torch.int32).repeat_interleave(20)
    caches = [cache.to(device, copy=True) for cache in (k_cache, v_cache)]
    torch.ops.hogwild.move(
        *caches, *(x.to(device) for x in (src, torch.arange(count) + count, shift, inv_freq(16)))
    )
    alone = [cache.to(device, copy=True) for cache in (k_cache, v_cache)]
    for i in range(count):
        one = (src[i : i + 1], torch.tensor([i + count]), shift[i : i + 1], inv_freq(16))
        torch.ops.hogwild.move(*alone, *(x.to(device) for x in one))
    assert torch.equal(caches[0], alone[0]) and torch.equal(caches[1], alone[1])
    assert not torch.equal(caches[0][-1].cpu(), k_cache[count - 1])  # the last shift is never 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shift_0_copies_the_bits(dtype: torch.dtype, device: str) -> None:
    k_cache = torch.randn(4, 2, 4, 16).to(dtype)
    k_cache[0, 0, 0, 0] = torch.nan
    k_cache[0, 0, 0, 1] = -0.0
    k_cache, v_cache = k_cache.to(device), torch.randn(4, 2, 4, 8, device=device).to(dtype)
    src = torch.arange(8, device=device)
    shift = torch.zeros(8, dtype=torch.int32, device=device)
    torch.ops.hogwild.move(k_cache, v_cache, src, src + 8, shift, inv_freq(16).to(device))
    for cache in (k_cache, v_cache):
        bits = cache.view(torch.int32 if dtype == torch.float32 else torch.int16)
        assert torch.equal(bits[:2], bits[2:])


def test_there_and_back(device: str) -> None:
    """Moving a key on and back again leaves it where it was."""
    k_cache, v_cache = torch.randn(2, 1, 4, 16, device=device), torch.randn(2, 1, 4, 16, device=device)
    original = k_cache[0].clone()
    ints = lambda *values: torch.tensor(values, device=device)  # noqa: E731
    for src, dst, shift in ((0, 4, 1234), (4, 1, -1234)):
        shift = torch.tensor([shift], dtype=torch.int32, device=device)
        torch.ops.hogwild.move(k_cache, v_cache, ints(src), ints(dst), shift, inv_freq(16).to(device))
    assert not torch.allclose(k_cache[1, :, 0], original[:, 0], atol=0.1)
    torch.testing.assert_close(k_cache[0, :, 1], original[:, 0], atol=1e-6, rtol=0)
