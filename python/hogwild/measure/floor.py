"""The matrix products of a forward and nothing else: no forward takes less time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from hogwild.models.joined import JoinedProjections

__all__ = ["matrix_products"]


def matrix_products(
    model: torch.nn.Module, tokens: int, joined: JoinedProjections | None = None
) -> tuple[Callable[[], None], int]:
    """A call that multiplies random inputs with every weight of a model's linear layers, in the model's order.

    Args:
        model: whose layers they are.
        tokens: rows of the inputs.
        joined: what is computed as one product.

    Returns:
        The call, and how many bytes of weights it reads.
    """
    products = [] if joined is None else joined.products
    inside = {layer for layers, _, _ in products for layer in layers}
    weights = [(weight, bias) for _, weight, bias in products]
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module not in inside:
            weights.append((module.weight, module.bias))
    generator_device = weights[0][0].device
    inputs = {
        weight.shape[1]: torch.randn(tokens, weight.shape[1], device=generator_device).to(weight.dtype)
        for weight, _ in weights
    }

    def multiply() -> None:
        with torch.no_grad():
            for weight, bias in weights:
                F.linear(inputs[weight.shape[1]], weight, bias)

    return multiply, sum(weight.numel() * weight.element_size() for weight, _ in weights)
