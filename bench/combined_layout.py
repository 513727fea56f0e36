"""One attention call of all workers of a session, in the combined layout, on random keys and values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import hogwild_cuda  # noqa: F401  (loads the ops)

HEADER, OWN = 5, 20  # tokens of each of the two headers, and of each worker's own block


def visible_tokens(shared: int, workers: int) -> int:
    """How many tokens each worker sees: those of all blocks."""
    return shared + 2 * HEADER + OWN * workers


def attention_call(
    shared: int,
    workers: int,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
    device: str = "cpu",
) -> Callable[[], tuple[Tensor, Tensor]]:
    """A call for one new token of each worker, which sees: shared, header, the others' blocks, header, its own."""
    lens = [shared, HEADER, HEADER] + [OWN] * workers
    needed = [-(-length // page_size) for length in lens]
    free = torch.randperm(sum(needed), dtype=torch.int32)
    table = torch.zeros(len(lens), max(needed), dtype=torch.int32)
    for block, pages in enumerate(free.split(needed)):
        table[block, : len(pages)] = pages

    query_pos = torch.zeros(workers, len(lens), dtype=torch.int32)
    for worker in range(workers):
        others = [3 + other for other in range(workers) if other != worker]
        start = 0
        for block in [0, 1, *others, 2, 3 + worker]:
            query_pos[worker, block] = sum(lens) - 1 - start
            start += lens[block]
    rotary_pos = torch.full((workers,), OWN - 1, dtype=torch.int32)
    own_block = torch.arange(3, 3 + workers, dtype=torch.int32)
    inv_freq = 1e6 ** -(torch.arange(0, head_dim, 2) / head_dim)
    group_tokens = torch.tensor([0, workers], dtype=torch.int32)
    group_blocks = torch.tensor([0, len(lens)], dtype=torch.int32)
    block_lens = torch.tensor(lens, dtype=torch.int32)

    q = torch.randn(workers, heads, head_dim, device=device).to(dtype)
    pages_of_layer = (sum(needed), kv_heads, page_size, head_dim)
    k_cache, v_cache = (torch.randn(pages_of_layer, device=device).to(dtype) for _ in range(2))
    indices = (table, block_lens, group_tokens, group_blocks, query_pos, rotary_pos, own_block)
    *on_device, query_pos, rotary_pos, own_block = (index.to(device) for index in indices)
    rotation = torch.ops.hogwild.rotation_table(query_pos, rotary_pos, inv_freq.to(device))
    arguments = (q, k_cache, v_cache, *on_device, query_pos, rotary_pos, own_block, rotation)
    return lambda: torch.ops.hogwild.attention(*arguments, scale=head_dim**-0.5)
