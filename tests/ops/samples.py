"""Random calls of the ops, as a pool would make them, with everything poisoned that must not be read.

One generator serves the comparison with the references, the native checks of determinism, and opcheck.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Page ids that lie far outside any pool: reading them is at best a crash.
ABSURD_PAGES = (2**30, -(2**30), 2**31 - 1, -1)


@dataclass
class Shape:
    """What a case is made of; the fields are drawn by `random_shape` or by hypothesis."""

    kv_heads: int = 2
    ratio: int = 2  # query heads per kv head
    head_dim: int = 16
    value_dim: int = 16
    page_size: int = 4
    groups: int = 1
    max_blocks: int = 4  # of a group
    max_block_tokens: int = 40
    max_workers: int = 3  # of a group
    max_new_tokens: int = 3  # of a worker
    rotary_dims: int = 16
    rotary_start: int = 0
    interleaved: bool = False
    window: int = 0
    softcap: float = 0.0
    sinks: bool = False
    padding: int = 0  # tokens after the last group
    far: int = 0  # what is added to the position of some queries: an offset far from the block
    dtype: torch.dtype = torch.float32
    seed: int = 0


@dataclass
class AttentionCase:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inv_freq: Tensor | None
    shape: Shape
    group_of_token: list[int] = field(default_factory=list)  # -1: padding
    pages_of_group: list[list[int]] = field(default_factory=list)

    def to(self, device: str) -> AttentionCase:
        return self._map(lambda tensor: tensor.to(device))

    def with_floats(self, dtype: torch.dtype) -> AttentionCase:
        """The same numbers with every floating-point argument in another dtype."""
        return self._map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def _map(self, function: Any) -> AttentionCase:
        def apply(value: Any) -> Any:
            return function(value) if isinstance(value, Tensor) else value

        return AttentionCase(
            tuple(apply(value) for value in self.args),
            {name: apply(value) for name, value in self.kwargs.items()},
            apply(self.inv_freq),
            self.shape,
            self.group_of_token,
            self.pages_of_group,
        )


def inv_freq(rotary_dims: int, base: float = 10000.0) -> Tensor:
    return 1.0 / base ** (torch.arange(0, rotary_dims, 2).float() / rotary_dims)


def attention_case(shape: Shape) -> AttentionCase:
    """Groups of workers over ragged blocks in shuffled pages; free pages and tails hold NaN."""
    rng = random.Random(shape.seed)
    generator = torch.Generator().manual_seed(shape.seed)
    lens, group_blocks, group_tokens = [], [0], [0]
    rows: list[tuple[list[int], int, int]] = []  # query_pos, rotary_pos, own_block of each token
    group_of_token: list[int] = []
    for group in range(shape.groups):
        blocks, tokens = _group(shape, rng)
        lens += blocks
        rows += tokens
        group_of_token += [group] * len(tokens)
        group_blocks.append(len(lens))
        group_tokens.append(len(rows))
    rows += [([], 0, -1)] * shape.padding
    group_of_token += [-1] * shape.padding

    blocks_of_group = [last - first for first, last in zip(group_blocks, group_blocks[1:], strict=False)]
    columns = max(blocks_of_group) + rng.randint(0, 2)
    query_pos = torch.tensor([row + [-1] * (columns - len(row)) for row, _, _ in rows], dtype=torch.int32)
    query_pos = query_pos.reshape(len(rows), columns)
    rotary_pos = torch.tensor([rotary for _, rotary, _ in rows], dtype=torch.int32)
    own_block = torch.tensor([own for _, _, own in rows], dtype=torch.int32)

    block_table, pages, num_pages = _page_table(lens, shape, rng)
    k_cache = _poisoned_pages(num_pages, shape.head_dim, pages, lens, shape, generator)
    v_cache = _poisoned_pages(num_pages, shape.value_dim, pages, lens, shape, generator)
    num_heads = shape.kv_heads * shape.ratio
    # As models hand it over: heads before tokens in memory.
    q = torch.randn(num_heads, len(rows), shape.head_dim, generator=generator).to(shape.dtype).transpose(0, 1)
    frequencies = inv_freq(shape.rotary_dims) if shape.rotary_dims else None
    rotation = None
    if frequencies is not None:
        rotation = torch.ops.hogwild.rotation_table(query_pos, rotary_pos, frequencies)
    args = (
        q,
        k_cache,
        v_cache,
        block_table,
        torch.tensor(lens, dtype=torch.int32),
        torch.tensor(group_tokens, dtype=torch.int32),
        torch.tensor(group_blocks, dtype=torch.int32),
        query_pos,
        rotary_pos,
        own_block,
        rotation,
    )
    kwargs = {
        "scale": shape.head_dim**-0.5,
        "window": shape.window,
        "softcap": shape.softcap,
        "sinks": torch.randn(num_heads, generator=generator) if shape.sinks else None,
        "interleaved": shape.interleaved,
        "rotary_start": shape.rotary_start,
    }
    case = AttentionCase(args, kwargs, frequencies, shape, group_of_token)
    case.pages_of_group = [
        [page for block in range(first, last) for page in pages[block]]
        for first, last in zip(group_blocks, group_blocks[1:], strict=False)
    ]
    return case


def _group(shape: Shape, rng: random.Random) -> tuple[list[int], list[tuple[list[int], int, int]]]:
    """Lengths of a group's blocks, and query_pos, rotary_pos and own_block of its tokens."""
    lens = [rng.choice((0, rng.randint(0, shape.max_block_tokens))) for _ in range(rng.randint(1, shape.max_blocks))]
    tokens: list[tuple[list[int], int, int]] = []
    workers = [worker for worker in range(len(lens)) if rng.random() < 0.8][: rng.randint(0, shape.max_workers)]
    new_tokens = {worker: rng.randint(1, shape.max_new_tokens) for worker in workers}
    for worker, count in new_tokens.items():  # all of them are stored before any of them looks
        lens[worker] += count
    for worker, count in new_tokens.items():
        # A view: some of the blocks in any order, the written one anywhere in it.
        others = [block for block in range(len(lens)) if block != worker and rng.random() < 0.8]
        view = others + [worker]
        rng.shuffle(view)
        starts, length, far = {}, 0, rng.choice((0, shape.far))
        for block in view:
            starts[block] = length
            length += lens[block]
        for i in range(count):
            position = far + length - count + i
            query_pos = [position - starts[block] if block in starts else -1 for block in range(len(lens))]
            tokens.append((query_pos, lens[worker] - count + i, worker))
    if tokens and rng.random() < 0.3:  # a padding token inside of a group
        tokens.insert(rng.randrange(len(tokens)), ([-1] * len(lens), 0, -1))
    return lens, tokens


def _page_table(lens: list[int], shape: Shape, rng: random.Random) -> tuple[Tensor, list[list[int]], int]:
    needed = [-(-length // shape.page_size) for length in lens]
    num_pages = sum(needed) + rng.randint(1, 4)
    free = rng.sample(range(num_pages), num_pages)
    pages = [[free.pop() for _ in range(count)] for count in needed]
    width = max(needed) + rng.randint(0, 2)
    table = [row + [rng.choice(ABSURD_PAGES) for _ in range(width - len(row))] for row in pages]
    return torch.tensor(table, dtype=torch.int32).reshape(len(lens), width), pages, num_pages


def _poisoned_pages(
    num_pages: int, dim: int, pages: list[list[int]], lens: list[int], shape: Shape, generator: torch.Generator
) -> Tensor:
    """NaN everywhere but where a block has tokens."""
    cache = torch.full((num_pages, shape.kv_heads, shape.page_size, dim), torch.nan, dtype=shape.dtype)
    for block_pages, length in zip(pages, lens, strict=True):
        for index, page in enumerate(block_pages):
            used = min(shape.page_size, length - index * shape.page_size)
            cache[page, :, :used] = torch.randn(shape.kv_heads, used, dim, generator=generator).to(shape.dtype)
    return cache


def random_shape(rng: random.Random, dtype: torch.dtype) -> Shape:
    """A shape with the features mixed at random."""
    head_dim = rng.choice((2, 8, 10, 16, 33, 64))
    rotary_dims = 2 * rng.randint(0, head_dim // 2)
    groups = rng.choice((1, 1, 2, 4))
    return Shape(
        kv_heads=rng.choice((1, 2, 3)),
        ratio=rng.choice((1, 2, 3, 5, 8)),
        head_dim=head_dim,
        value_dim=rng.choice((head_dim, head_dim, 1, 7, 24)),
        page_size=rng.choice((1, 4, 16, 32, 80)),
        groups=groups,
        max_blocks=rng.choice((1, 3, 6)),
        max_block_tokens=rng.choice((5, 40, 300)),
        max_workers=rng.choice((1, 2, 6)),
        max_new_tokens=rng.choice((1, 1, 4, 40)),
        rotary_dims=rotary_dims,
        rotary_start=rng.choice((0, rng.randint(0, head_dim - rotary_dims))),
        interleaved=rng.random() < 0.5,
        window=rng.choice((0, 0, 1, 7, 50)),
        softcap=rng.choice((0.0, 0.0, 2.0, 30.0)),
        sinks=rng.random() < 0.3,
        padding=rng.choice((0, 0, 1, 3)),
        far=rng.choice((0, 0, 1000, 1_000_000)),
        dtype=dtype,
        seed=rng.randrange(2**31),
    )
