"""torch.library.opcheck on the samples of the other tests: schemas, fake implementations, dispatch."""

from __future__ import annotations

import pytest
import torch
from kernel_samples import KERNEL_SHAPES
from op_samples import SHAPES, append_call, attention_case, inv_freq, move_call

SAMPLES = SHAPES | {name: KERNEL_SHAPES[name] for name in ("decoding", "softcap and sinks", "forty sessions")}


@pytest.mark.parametrize("name", SAMPLES)
def test_attention(name: str, device: str) -> None:
    case = attention_case(SAMPLES[name]).to(device)
    torch.library.opcheck(torch.ops.hogwild.attention.default, case.args, case.kwargs)


def test_append(device: str) -> None:
    args = tuple(tensor.to(device) for tensor in append_call(5, torch.float32))
    finite = tuple(tensor.nan_to_num() for tensor in args)  # opcheck takes NaN for a change
    torch.library.opcheck(torch.ops.hogwild.append.default, finite)


def test_rotation_table(device: str) -> None:
    query_pos = torch.randint(-1, 100, (5, 3), dtype=torch.int32, device=device)
    rotary_pos = torch.arange(5, dtype=torch.int32, device=device)
    torch.library.opcheck(
        torch.ops.hogwild.rotation_table.default, (query_pos, rotary_pos, inv_freq(8).to(device))
    )


@pytest.mark.parametrize("rotary_dims", [0, 6])
def test_move(rotary_dims: int, device: str) -> None:
    args, kwargs = move_call(6, torch.float32, rotary_dims, interleaved=True, reach=100, seed=0)
    args = tuple(arg if arg is None else arg.to(device).nan_to_num() for arg in args)
    torch.library.opcheck(torch.ops.hogwild.move.default, args, kwargs)
