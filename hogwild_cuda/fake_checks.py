"""The checks of arguments that the fake implementations make: those that need neither sizes nor elements.

Sizes may be symbols there, so they are checked when the op runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

# An argument's name means the same in all ops.
_DIMS = {
    "k_cache": "[P, K, S, D]",
    "v_cache": "[P, K, S, Dv]",
    "k": "[T, K, D]",
    "v": "[T, K, Dv]",
    "q": "[T, H, D]",
    "slots": "[T]",
    "src_slots": "[N]",
    "dst_slots": "[N]",
    "shift": "[N]",
    "inv_freq": "[R/2]",
    "block_table": "[B, max_pages]",
    "block_lens": "[B]",
    "group_tokens": "[G+1]",
    "group_blocks": "[G+1]",
    "query_pos": "[T, F]",
    "rotary_pos": "[T]",
    "own_block": "[T]",
    "rotation": "[T, F, 2, R/2]",
    "sinks": "[H]",
    "tokens": "[T]",
    "plain": "[C, V]",
    "classes": "[T]",
    "ids": "[T or more]",
    "admitted": "[1]",
}
_FLOATS = ("inv_freq", "rotation")
_LONGS = ("slots", "src_slots", "dst_slots", "tokens", "ids")
_AS_PAGES = ("v_cache", "k", "v", "q")
_OF_PAGES = (torch.float32, torch.bfloat16, torch.float16)


def check_fake(op: str, **tensors: Tensor | None) -> None:
    """Refuse wrong devices, dtypes and numbers of dims; the device and dtype of the first are those of others.

    With one "meta" tensor among others a call comes here, whatever the rest is, and does nothing.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first, of = next(iter(given.items()))
    for name, tensor in given.items():
        if tensor.device != of.device:
            raise ValueError(
                f"{op}: {name} is on {tensor.device}; expected device {of.device}, that of {first}"
            )
    for name, tensor in given.items():
        expected = _dtypes(name, of)
        if expected and tensor.dtype not in expected:
            raise TypeError(f"{_what(op, name, tensor)} dtype {' or '.join(map(str, expected))}")
        if name == "sinks" and not tensor.is_floating_point():
            raise TypeError(f"{_what(op, name, tensor)} a floating-point dtype")
        if tensor.dim() != _DIMS[name].count(",") + 1:
            raise ValueError(f"{_what(op, name, tensor)} {_DIMS[name]}")


def _dtypes(name: str, first: Tensor) -> tuple[torch.dtype, ...]:
    """Those that an argument may have; none: it is not one of a few."""
    if name in ("k_cache", "sinks"):
        return _OF_PAGES if name == "k_cache" else ()
    if name in _AS_PAGES:
        return (first.dtype,)
    if name == "plain":
        return (torch.bool,)
    return (torch.float32 if name in _FLOATS else torch.int64 if name in _LONGS else torch.int32,)


def _what(op: str, name: str, tensor: Tensor) -> str:
    return f"{op}: {name} is {tensor.dtype} of shape {list(tensor.shape)} on {tensor.device}; expected"
