"""Random calls of the ops, as a pool would make them, with everything poisoned that must not be read.

One generator serves the comparison with the references, the tests of single properties, and opcheck.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from hogwild_cuda import reference

# Page ids that lie far outside any pool: reading them is at best a crash.
ABSURD_PAGES = (2**30, -(2**30), 2**31 - 1, -1)


@dataclass
class Shape:
    """What a case is made of."""

    kv_heads: int = 2
    ratio: int = 2  # query heads per kv head
    head_dim: int = 16
    value_dim: int = 16
    page_size: int = 4
    groups: int = 1
    max_blocks: int = 4  # of a group
    max_block_tokens: int = 40
    min_workers: int = 1  # of a group
    max_workers: int = 3
    min_new_tokens: int = 1  # of a worker
    max_new_tokens: int = 3
    rotary_dims: int = 16
    rotary_start: int = 0
    interleaved: bool = False
    window: int = 0
    softcap: float = 0.0
    sinks: bool = False
    padding: int = 0  # tokens after the last group
    far: int = 0  # what is added to the position of some queries: an offset far from the block
    spread: float = 1.0  # standard deviation of the scores
    dtype: torch.dtype = torch.float32
    seed: int = 0


@dataclass
class AttentionCase:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inv_freq: Tensor | None
    shape: Shape
    group_of_token: list[int]  # -1: padding
    pages_of_group: list[list[int]]

    def to(self, device: str) -> AttentionCase:
        return self._map(lambda tensor: tensor.to(device))

    def with_floats(self, dtype: torch.dtype) -> AttentionCase:
        """The same numbers with every floating-point argument in another dtype."""
        return self._map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    @property
    def k_cache(self) -> Tensor:
        return self.args[1]

    @property
    def v_cache(self) -> Tensor:
        return self.args[2]

    def run(self) -> tuple[Tensor, Tensor]:
        return torch.ops.hogwild.attention(*self.args, **self.kwargs)

    def reference(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """The reference in fp64, or at the precision that PyTorch ops of `dtype` have."""
        if dtype is not None:
            return reference.attention(*self.args, **self.kwargs, compute_dtype=dtype)
        exact = self.with_floats(torch.float64)
        return reference.attention(*exact.args, **exact.kwargs)

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


def attention_case(shape: Shape, device: str = "cpu") -> AttentionCase:
    """Groups of workers over ragged blocks in shuffled pages; free pages and tails hold NaN.

    The numbers are drawn on `device`, and are others on another one.
    """
    rng = random.Random(shape.seed)
    generator = torch.Generator(device).manual_seed(shape.seed)

    def ints(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.int32).to(device)

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

    blocks_of_group = [last - first for first, last in itertools.pairwise(group_blocks)]
    columns = max(blocks_of_group) + rng.randint(0, 2)
    query_pos = ints([row + [-1] * (columns - len(row)) for row, _, _ in rows]).reshape(len(rows), columns)
    rotary_pos = ints([rotary for _, rotary, _ in rows])
    own_block = ints([own for _, _, own in rows])

    block_table, pages, num_pages = _page_table(lens, shape, rng)
    used = _tokens_of_pages(num_pages, pages, lens, shape.page_size).to(device)
    k_cache = _poisoned_pages(used, shape.head_dim, shape, generator)
    v_cache = _poisoned_pages(used, shape.value_dim, shape, generator)
    num_heads = shape.kv_heads * shape.ratio
    # As models hand it over: heads before tokens in memory.
    q = _randn((num_heads, len(rows), shape.head_dim), generator).to(shape.dtype).transpose(0, 1)
    frequencies = inv_freq(shape.rotary_dims).to(device) if shape.rotary_dims else None
    rotation = None
    if frequencies is not None:
        rotation = torch.ops.hogwild.rotation_table(query_pos, rotary_pos, frequencies)
    args = (
        q,
        k_cache,
        v_cache,
        ints(block_table),
        ints(lens),
        ints(group_tokens),
        ints(group_blocks),
        query_pos,
        rotary_pos,
        own_block,
        rotation,
    )
    kwargs = {
        "scale": shape.spread * shape.head_dim**-0.5,
        "window": shape.window,
        "softcap": shape.softcap,
        "sinks": _randn((num_heads,), generator) if shape.sinks else None,
        "interleaved": shape.interleaved,
        "rotary_start": shape.rotary_start,
    }
    pages_of_group = [
        [page for block in range(first, last) for page in pages[block]]
        for first, last in itertools.pairwise(group_blocks)
    ]
    return AttentionCase(args, kwargs, frequencies, shape, group_of_token, pages_of_group)


def _group(shape: Shape, rng: random.Random) -> tuple[list[int], list[tuple[list[int], int, int]]]:
    """Lengths of a group's blocks, and query_pos, rotary_pos and own_block of its tokens."""
    num_blocks = rng.randint(max(1, shape.min_workers), max(shape.min_workers, shape.max_blocks))
    lens = [rng.choice((0, rng.randint(0, shape.max_block_tokens))) for _ in range(num_blocks)]
    tokens: list[tuple[list[int], int, int]] = []
    num_workers = rng.randint(shape.min_workers, min(num_blocks, max(shape.min_workers, shape.max_workers)))
    workers = sorted(rng.sample(range(num_blocks), num_workers))  # each writes to a block of its own
    new_tokens = {worker: rng.randint(shape.min_new_tokens, shape.max_new_tokens) for worker in workers}
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


def _page_table(
    lens: list[int], shape: Shape, rng: random.Random
) -> tuple[list[list[int]], list[list[int]], int]:
    """The table, the pages of each block, and how many pages there are."""
    needed = [-(-length // shape.page_size) for length in lens]
    num_pages = sum(needed) + rng.randint(1, 4)
    free = rng.sample(range(num_pages), num_pages)
    pages = [[free.pop() for _ in range(count)] for count in needed]
    width = max(needed) + rng.randint(0, 2)
    table = [row + [rng.choice(ABSURD_PAGES) for _ in range(width - len(row))] for row in pages]
    return table, pages, num_pages


def _tokens_of_pages(num_pages: int, pages: list[list[int]], lens: list[int], page_size: int) -> Tensor:
    """How many tokens each page holds, [P]."""
    used = [0] * num_pages
    for block_pages, length in zip(pages, lens, strict=True):
        for index, page in enumerate(block_pages):
            used[page] = min(page_size, length - index * page_size)
    return torch.tensor(used)


def _poisoned_pages(used: Tensor, dim: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """NaN everywhere but where a block has tokens."""
    cache = _randn((len(used), shape.kv_heads, shape.page_size, dim), generator).to(shape.dtype)
    unused = torch.arange(shape.page_size, device=used.device) >= used[:, None]
    return cache.masked_fill_(unused[:, None, :, None], torch.nan)


def _randn(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(size, generator=generator, device=generator.device)


@st.composite
def shapes(draw: st.DrawFn, *dtypes: torch.dtype) -> Shape:
    """Any mixture of the features."""
    head_dim = draw(st.sampled_from((16, 2, 8, 10, 33, 64)))
    rotary_dims = 2 * draw(st.integers(0, head_dim // 2))
    return Shape(
        kv_heads=draw(st.integers(1, 3)),
        ratio=draw(st.sampled_from((1, 2, 3, 5, 8))),
        head_dim=head_dim,
        value_dim=draw(st.sampled_from((head_dim, 1, 7, 24))),
        page_size=draw(st.sampled_from((4, 1, 16, 32, 80))),
        groups=draw(st.integers(1, 4)),
        max_blocks=draw(st.integers(1, 6)),
        max_block_tokens=draw(st.sampled_from((5, 40, 200))),
        min_workers=draw(st.integers(0, 1)),
        max_workers=draw(st.integers(1, 6)),
        max_new_tokens=draw(st.sampled_from((1, 4, 30))),
        rotary_dims=rotary_dims,
        rotary_start=draw(st.integers(0, head_dim - rotary_dims)),
        interleaved=draw(st.booleans()),
        window=draw(st.sampled_from((0, 1, 7, 50))),
        softcap=draw(st.sampled_from((0.0, 2.0, 30.0))),
        sinks=draw(st.booleans()),
        padding=draw(st.integers(0, 3)),
        far=draw(st.sampled_from((0, 1000, 1_000_000))),
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


# What opcheck and the tests of single properties run on: each feature at least once.
SHAPES = {
    "plain": Shape(seed=1),
    "no rotation": Shape(rotary_dims=0, seed=2),
    "partial, interleaved, tail": Shape(rotary_dims=6, rotary_start=10, interleaved=True, seed=3),
    "wide values": Shape(value_dim=24, ratio=5, seed=4),
    "window": Shape(window=7, max_new_tokens=20, seed=5),
    "softcap and sinks": Shape(softcap=3.0, sinks=True, seed=6),
    "groups and padding": Shape(groups=4, padding=3, seed=7),
    "split": Shape(
        ratio=4,
        head_dim=64,
        value_dim=64,
        rotary_dims=64,
        page_size=16,
        groups=2,
        max_block_tokens=2000,
        min_workers=3,
        seed=8,
    ),
    "bf16": Shape(dtype=torch.bfloat16, groups=2, seed=9),
    "fp16": Shape(dtype=torch.float16, groups=2, seed=10),
}


def append_call(num_tokens: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Arguments of `append`: shuffled slots, some of them negative, in pages of NaN."""
    num_kv_heads, page_size, head_dim, value_dim = 3, 4, 16, 9
    num_pages = num_tokens // page_size + 3
    slots = torch.randperm(num_pages * page_size)[:num_tokens]
    slots[::3] = -1 - slots[::3]
    return (
        torch.randn(num_tokens, num_kv_heads, head_dim).to(dtype),
        torch.randn(num_tokens, num_kv_heads, value_dim).to(dtype),
        torch.full((num_pages, num_kv_heads, page_size, head_dim), torch.nan, dtype=dtype),
        torch.full((num_pages, num_kv_heads, page_size, value_dim), torch.nan, dtype=dtype),
        slots,
    )


def move_call(
    entries: int, dtype: torch.dtype, rotary_dims: int, interleaved: bool, reach: int, seed: int
) -> tuple[list[Tensor | None], dict[str, Any]]:
    """Arguments of `move`: from anywhere to anywhere; all but the sources is NaN."""
    generator = torch.Generator().manual_seed(seed)
    num_kv_heads, page_size, head_dim, value_dim = 2, 4, 16, 9
    num_pages = 2 * entries // page_size + 2
    slots = torch.randperm(num_pages * page_size, generator=generator)
    src, dst = slots[:entries], slots[entries : 2 * entries]
    k_cache = torch.full((num_pages, num_kv_heads, page_size, head_dim), torch.nan, dtype=dtype)
    v_cache = torch.full((num_pages, num_kv_heads, page_size, value_dim), torch.nan, dtype=dtype)
    for cache in (k_cache, v_cache):
        rows = torch.randn(entries, num_kv_heads, cache.shape[-1], generator=generator).to(dtype)
        cache[src // page_size, :, src % page_size] = rows
    shift = torch.randint(-reach, reach + 1, (entries,), generator=generator, dtype=torch.int32)
    shift[::4] = 0
    src, dst = src.clone(), dst.clone()
    src[1::5] = -1
    dst[2::5] = -7
    frequencies = inv_freq(rotary_dims) if rotary_dims else None
    kwargs = {"interleaved": interleaved, "rotary_start": 16 - rotary_dims}
    return [k_cache, v_cache, src, dst, shift, frequencies], kwargs
