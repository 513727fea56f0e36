"""hogwild::rotation_table."""

from __future__ import annotations

import math

import pytest
import torch
from op_samples import inv_freq

from hogwild_cuda import reference


@pytest.mark.parametrize("rotary_dims", [2, 64, 128])
@pytest.mark.parametrize("reach", [1, 1000, 1_000_000])
def test_within_an_fp32_rounding_of_fp64(rotary_dims: int, reach: int, device: str) -> None:
    query_pos = torch.randint(-1, reach + 1, (50, 3), dtype=torch.int32)
    rotary_pos = torch.randint(0, reach + 1, (50,), dtype=torch.int32)
    frequencies = inv_freq(rotary_dims)
    table = torch.ops.hogwild.rotation_table(
        query_pos.to(device), rotary_pos.to(device), frequencies.to(device)
    )
    exact = reference.rotation_table(query_pos, rotary_pos, frequencies.double())
    assert table.dtype == torch.float32 and table.shape == (50, 3, 2, rotary_dims // 2)
    assert (table.cpu().double() - exact).abs().max() <= torch.finfo(torch.float32).eps / 2


def test_known_angles(device: str) -> None:
    query_pos = torch.tensor([[7, 1, -1]], dtype=torch.int32, device=device)
    rotary_pos = torch.tensor([4], dtype=torch.int32, device=device)
    frequencies = torch.tensor([1.0, 0.5], device=device)
    table = torch.ops.hogwild.rotation_table(query_pos, rotary_pos, frequencies).cpu()
    expected = [
        [[math.cos(3), math.cos(1.5)], [math.sin(3), math.sin(1.5)]],
        [[math.cos(-3), math.cos(-1.5)], [math.sin(-3), math.sin(-1.5)]],
        [[1, 1], [0, 0]],  # a block that is not seen
    ]
    torch.testing.assert_close(table, torch.tensor([expected]), atol=1e-7, rtol=0)


@pytest.mark.parametrize("tokens, columns, pairs", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_empty(tokens: int, columns: int, pairs: int, device: str) -> None:
    query_pos = torch.zeros(tokens, columns, dtype=torch.int32, device=device)
    rotary_pos = torch.zeros(tokens, dtype=torch.int32, device=device)
    table = torch.ops.hogwild.rotation_table(query_pos, rotary_pos, torch.ones(pairs, device=device))
    assert table.shape == (tokens, columns, 2, pairs)
