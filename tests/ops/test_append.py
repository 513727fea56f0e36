"""hogwild::append."""

from __future__ import annotations

import pytest
import torch
from op_samples import append_call

from hogwild_cuda import reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_tokens", [0, 1, 7, 300])
def test_equals_reference(dtype: torch.dtype, num_tokens: int, device: str) -> None:
    k, v, k_cache, v_cache, slots = (tensor.to(device) for tensor in append_call(num_tokens, dtype))
    expected_k, expected_v = k_cache.clone(), v_cache.clone()
    reference.append(k, v, expected_k, expected_v, slots)
    torch.ops.hogwild.append(k, v, k_cache, v_cache, slots)
    torch.testing.assert_close(k_cache, expected_k, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(v_cache, expected_v, rtol=0, atol=0, equal_nan=True)


def test_negative_slots_write_nothing(device: str) -> None:
    k, v, k_cache, v_cache, slots = (tensor.to(device) for tensor in append_call(9, torch.float32))
    untouched = k_cache.clone(), v_cache.clone()
    torch.ops.hogwild.append(k, v, k_cache, v_cache, torch.full_like(slots, -1))
    torch.testing.assert_close((k_cache, v_cache), untouched, rtol=0, atol=0, equal_nan=True)


def test_any_strides(device: str) -> None:
    """Keys come as models make them: heads before tokens, cut out of a wider tensor, or not even dense in a row."""
    k, v, k_cache, v_cache, slots = (tensor.to(device) for tensor in append_call(5, torch.float32))
    expected_k, expected_v = k_cache.clone(), v_cache.clone()
    reference.append(k, v, expected_k, expected_v, slots)
    heads_first = k.transpose(0, 1).contiguous().transpose(0, 1)
    scattered = torch.stack([v, v + 1], dim=-1)[..., 0]
    assert not heads_first.is_contiguous() and scattered.stride(-1) == 2
    torch.ops.hogwild.append(heads_first, scattered, k_cache, v_cache, slots)
    torch.testing.assert_close(k_cache, expected_k, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(v_cache, expected_v, rtol=0, atol=0, equal_nan=True)
