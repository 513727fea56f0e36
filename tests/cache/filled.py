"""Pools with made-up keys and values, written without a model."""

from __future__ import annotations

import torch

from hogwild.cache import Block, Pool, Rotary
from hogwild.cache.reservation import Reservation

HEADS, DIM, VALUE_DIM, LAYERS = 2, 8, 6, 2
ROTARY = Rotary(1.0 / 100 ** (torch.arange(4) / 4))


def write(block: Block, tokens: list[int], seed: int = 0) -> None:
    """Append tokens with random keys and values, as a forward would."""
    generator = torch.Generator().manual_seed(seed)
    reservation = Reservation(block, len(tokens))
    for index in range(LAYERS):
        k = torch.randn(len(tokens), HEADS, DIM, generator=generator)
        v = torch.randn(len(tokens), HEADS, VALUE_DIM, generator=generator)
        layer = block.pool.layer(index, k, v, ROTARY)
        torch.ops.hogwild.append(k, v, layer.k, layer.v, reservation.slots)
    reservation.commit(tokens)


def contents(block: Block) -> list[torch.Tensor]:
    """Keys and values of every layer, [tokens, heads, dim], in one list."""
    slots, size = block.slots(0, len(block)), block.pool.page_size
    return [
        cache[slots // size, :, slots % size]
        for layer in block.pool.layers.values()
        for cache in (layer.k, layer.v)
    ]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    """Bit by bit, NaN included."""
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.equal(x.view(torch.int32), y.view(torch.int32))
        for x, y in zip(a, b, strict=True)
    )


def poison(pool: Pool) -> None:
    """NaN in every page that no block holds."""
    free = torch.tensor(pool._free, dtype=torch.int64)
    for layer in pool.layers.values():
        layer.k[free] = float("nan")
        layer.v[free] = float("nan")
