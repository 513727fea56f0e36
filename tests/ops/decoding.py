"""Decoding whose every forward is device work alone, so that a CUDA graph of one forward is a graph of all."""

from __future__ import annotations

import torch
from op_samples import ABSURD_PAGES, AttentionCase, Shape, inv_freq
from torch import Tensor

PROMPT = 100  # tokens


class Decoding:
    """Two sessions: a prompt and two workers that see each other, and one worker alone; each writes a token a forward.

    What grows (lengths, positions, the number of forwards) grows on the device, and keys go where the page table
    says. Everything that no token has been written to holds NaN.

    Attributes:
        keys, values: [forwards, T, K, D] what worker t writes in each forward.
        case: the call of attention of the last forward; after a replay, of the replay.
    """

    def __init__(self, forwards: int, head_dim: int, dtype: torch.dtype, device: str, page_size: int = 16):
        kv_heads, ratio, workers = 2, 4, 3
        generator = torch.Generator(device).manual_seed(head_dim)

        def randn(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, device=device).to(dtype)

        def ints(*values: object, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.head_dim, self.page_size = head_dim, page_size
        self.queries = randn(forwards, workers, kv_heads * ratio, head_dim)
        self.keys, self.values = (randn(forwards, workers, kv_heads, head_dim) for _ in range(2))
        self.inv_freq = inv_freq(head_dim).to(device)

        # Blocks: the prompt, those of its two workers, and that of the third.
        lens = [PROMPT, forwards, forwards, forwards]
        num_pages = [-(-length // page_size) for length in lens]
        free = torch.randperm(sum(num_pages) + 3, generator=torch.Generator().manual_seed(0)).tolist()
        width = max(num_pages) + 1
        rows = [[free.pop() for _ in range(count)] for count in num_pages]
        table = [row + [ABSURD_PAGES[0]] * (width - len(row)) for row in rows]
        self.block_table = ints(*table)
        cache = (sum(num_pages) + 3, kv_heads, page_size, head_dim)
        self.k_cache, self.v_cache = (
            torch.full(cache, torch.nan, dtype=dtype, device=device) for _ in range(2)
        )
        index = torch.arange(PROMPT, device=device)
        prompt = self.block_table[0, index // page_size] * page_size + index % page_size
        torch.ops.hogwild.append(
            randn(PROMPT, kv_heads, head_dim),
            randn(PROMPT, kv_heads, head_dim),
            self.k_cache,
            self.v_cache,
            prompt,
        )

        self.group_tokens, self.group_blocks = ints(0, 2, 3), ints(0, 3, 4)
        self.written = ints(1, 2, 3, dtype=torch.int64)  # the block of each worker
        self.own_block = ints(1, 2, 0)  # in its group
        # Before the first forward, and what each forward adds. A worker's view: the prompt, the other, itself.
        self.index = ints(-1, dtype=torch.int64)
        self.block_lens, self.grown = ints(PROMPT, 0, 0, 0), ints(0, 1, 1, 1)
        self.rotary_pos = ints(-1, -1, -1)
        self.query_pos = ints([PROMPT - 1, -1, -1], [PROMPT - 1, -1, -1], [-1, -1, -1])
        self.passed = ints([2, 1, 2], [2, 2, 1], [1, 0, 0])
        self.case: AttentionCase | None = None

    def forward(self) -> tuple[Tensor, Tensor]:
        self.index.add_(1)
        self.block_lens.add_(self.grown)
        self.rotary_pos.add_(1)
        self.query_pos.add_(self.passed)
        q, k, v = (x.index_select(0, self.index)[0] for x in (self.queries, self.keys, self.values))
        page = self.block_table[self.written, self.rotary_pos.long() // self.page_size].long()
        slots = page * self.page_size + self.rotary_pos % self.page_size
        torch.ops.hogwild.append(k, v, self.k_cache, self.v_cache, slots)
        rotation = torch.ops.hogwild.rotation_table(self.query_pos, self.rotary_pos, self.inv_freq)
        arguments = (
            q,
            self.k_cache,
            self.v_cache,
            self.block_table,
            self.block_lens,
            self.group_tokens,
            self.group_blocks,
            self.query_pos,
            self.rotary_pos,
            self.own_block,
            rotation,
        )
        shape = Shape(head_dim=self.head_dim, value_dim=self.head_dim, dtype=q.dtype)
        options = {"scale": self.head_dim**-0.5}
        self.case = AttentionCase(arguments, options, self.inv_freq, shape, [0, 0, 1], [])
        return self.case.run()

    def written_so_far(self) -> tuple[Tensor, Tensor]:
        """Keys and values of the workers' blocks, read from the pages: [forwards, T, K, D]."""
        index = torch.arange(int(self.index) + 1, device=self.index.device)
        page = self.block_table[self.written][:, index // self.page_size].T.long()
        offset = (index % self.page_size)[:, None]
        return self.k_cache[page, :, offset], self.v_cache[page, :, offset]
