"""A good call of every op, by the names of its arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from op_samples import Shape, append_call, attention_case, inv_freq, move_call
from torch import Tensor

APPEND = ("k", "v", "k_cache", "v_cache", "slots")
ATTENTION = (
    "q",
    "k_cache",
    "v_cache",
    "block_table",
    "block_lens",
    "group_tokens",
    "group_blocks",
    "query_pos",
    "rotary_pos",
    "own_block",
    "rotation",
)
MOVE = ("k_cache", "v_cache", "src_slots", "dst_slots", "shift", "inv_freq")


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def good_calls() -> Iterator[tuple[str, dict[str, Any]]]:
    """Ops and their arguments, which nobody else has."""
    yield "append", dict(zip(APPEND, append_call(5, torch.float32), strict=True))
    args, options = move_call(6, torch.float32, 8, interleaved=False, reach=10, seed=0)
    yield "move", dict(zip(MOVE, args, strict=True)) | options
    case = attention_case(Shape(seed=3))
    yield "attention", dict(zip(ATTENTION, case.args, strict=True)) | case.kwargs
    yield (
        "rotation_table",
        {
            "query_pos": ints(*range(6)).view(3, 2),
            "rotary_pos": ints(0, 1, 2),
            "inv_freq": inv_freq(8),
        },
    )
    ids, admitted = torch.zeros(2, dtype=torch.int64), torch.zeros(1, dtype=torch.int32)
    plain, classes = torch.ones(1, 5, dtype=torch.bool), ints(0, 0)
    tensors = {"tokens": ids.clone(), "plain": plain, "classes": classes, "ids": ids, "admitted": admitted}
    yield "admit", tensors
