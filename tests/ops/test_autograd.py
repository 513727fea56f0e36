"""What autograd is told of the ops, which have no gradients."""

from __future__ import annotations

import pytest
import torch
from op_calls import good_calls

WRITTEN = {"append": ("k_cache", "v_cache"), "move": ("k_cache", "v_cache"), "admit": ("ids", "admitted")}


@pytest.mark.parametrize("op", WRITTEN)
def test_writes_are_counted(op: str, device: str) -> None:
    """A backward pass that needs the old numbers would use the new ones."""
    arguments = dict(good_calls())[op]
    arguments = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    weight = torch.ones(1, device=device, requires_grad=True)
    products = [(weight * arguments[name]).sum() for name in WRITTEN[op]]
    getattr(torch.ops.hogwild, op)(**arguments)
    for product in products:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.backward()


@pytest.mark.parametrize("op", WRITTEN)
def test_tensors_of_inference_mode_are_written_anywhere(op: str, device: str) -> None:
    with torch.inference_mode():
        arguments = {
            name: value.to(device, copy=True) if isinstance(value, torch.Tensor) else value
            for name, value in dict(good_calls())[op].items()
        }
    written = arguments[WRITTEN[op][-1]]
    before = written.clone().nan_to_num()
    getattr(torch.ops.hogwild, op)(**arguments)
    assert not torch.equal(written.nan_to_num(), before)
