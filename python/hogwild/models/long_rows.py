"""Attention of long rows, such as pieces of prompts, by PyTorch's flash attention.

The op reads keys once for all tokens of a session, which is what decoding needs. A row of hundreds of tokens is
limited by arithmetic instead, at which flash attention is faster. It knows one sequence: so each block of the
view is attended to by itself, by queries rotated to the block's frame, and the results are merged by
log-sum-exp. Of the block that the row writes to, what stood there before is one part and the row itself, causal,
is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from hogwild.cache import ForwardPlan, LayerCache, Rotary
from hogwild.models.attention import AttentionCall

__all__ = ["LongRow", "attend_long_row", "find_long_rows", "serves", "without"]

FEWEST_TOKENS = 128

Attended = tuple[
    torch.Tensor, torch.Tensor
]  # [n, heads, dim] and the log of the denominator, [n, heads] fp32


class _Part(NamedTuple):
    """The first `length` keys of a block, all visible to all tokens of a row.

    Attributes:
        block: index in the block table.
        column: index in the row's group, which is that of its rotation.
        length: how many keys.
    """

    block: int
    column: int
    length: int


class LongRow(NamedTuple):
    """A row that flash attention can serve.

    Attributes:
        begin, end: its packed tokens.
        own: the column of the block that it writes to.
        parts: what it sees besides itself.
    """

    begin: int
    end: int
    own: int
    parts: list[_Part]


def find_long_rows(plan: ForwardPlan, fewest: int = FEWEST_TOKENS) -> list[LongRow]:
    """The rows of at least `fewest` tokens of which every token sees all that was there before."""
    integers = plan.integers
    found = []
    for end, count in zip(integers.last_rows, plan.counts, strict=True):
        begin = end + 1 - count
        if count < fewest:
            continue
        group = next(g for g, stop in enumerate(integers.group_tokens[1:]) if end < stop)
        first_block, stop_block = integers.group_blocks[group : group + 2]
        first_seen, last_seen = integers.query_pos[begin].tolist(), integers.query_pos[end].tolist()
        own = int(integers.own_block[begin])
        parts, whole = [], True
        for column in range(stop_block - first_block):
            block = first_block + column
            length = integers.block_lens[block] if column != own else int(integers.rotary_pos[begin])
            if last_seen[column] < 0 or length == 0:
                continue
            # a block behind the own one in the view grows while it is read, or is read while the row goes on
            whole = whole and first_seen[column] >= length - 1
            parts.append(_Part(block, column, length))
        if whole:
            found.append(LongRow(begin, end + 1, own, parts))
    return found


def serves(call: AttentionCall) -> bool:
    """Whether flash attention knows all that the layer does."""
    return (
        call.q.dtype in (torch.bfloat16, torch.float16)
        and call.q.device.type == "cuda"
        and call.q.shape[2] == call.v.shape[2] <= 256
        and call.q.shape[2] % 8 == 0
        and call.window == 0
        and call.softcap == 0
        and call.sinks is None
    )


def attend_long_row(
    row: LongRow,
    call: AttentionCall,
    pages: LayerCache,
    block_table: torch.Tensor,
    rotary: Rotary | None,
    rotation: torch.Tensor | None,
) -> torch.Tensor:
    """Output of one layer for the tokens of a row, [n, heads, value_dim].

    Args:
        row: as `find_long_rows` gives it.
        call: of the whole forward.
        pages: of the layer, with the row's keys and values written.
        block_table, rotation: of the forward, see `torch.ops.hogwild.attention`.
        rotary: of the layer, None if it rotates nothing.
    """
    tokens = slice(row.begin, row.end)
    q = call.q[tokens]

    def rotated(column: int) -> torch.Tensor:
        if rotary is None or rotation is None:
            return q
        return _rotate(q, rotation[row.begin, column], rotary)  # the same for all tokens of the row

    result = _flash(
        rotated(row.own), call.k[tokens].transpose(0, 1), call.v[tokens].transpose(0, 1), call, True
    )
    for part in row.parts:
        table = block_table[part.block, : -(-part.length // pages.k.shape[2])]
        k, v = (_gather(cache, table, part.length) for cache in (pages.k, pages.v))
        result = _merge(result, _flash(rotated(part.column), k, v, call, False))
    return result[0].to(q.dtype)


def _gather(cache: torch.Tensor, table: torch.Tensor, length: int) -> torch.Tensor:
    """The first `length` entries of the pages in `table`: [kv_heads, length, dim]."""
    heads, dim = cache.shape[1], cache.shape[3]
    return cache.transpose(0, 1).index_select(1, table).view(heads, -1, dim)[:, :length]


def _rotate(q: torch.Tensor, rotation: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """q [n, heads, dim] rotated by one angle per pair: rotation [2, R/2], cos and sin; in fp32, rounded once."""
    cos, sin = rotation
    width = 2 * cos.numel()
    result = q.clone()
    part = q[..., rotary.start : rotary.start + width].float()
    a, b = (part[..., 0::2], part[..., 1::2]) if rotary.interleaved else part.chunk(2, -1)
    turned = (a * cos - b * sin, b * cos + a * sin)
    both = torch.stack(turned, -1).flatten(-2) if rotary.interleaved else torch.cat(turned, -1)
    result[..., rotary.start : rotary.start + width] = both.to(q.dtype)
    return result


def _flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, call: AttentionCall, causal: bool) -> Attended:
    """q [n, heads, dim] over k, v [kv_heads, m, dim]; causal: n = m, and nobody sees who comes later."""
    if q.device.type == "cuda":
        op = torch.ops.aten._scaled_dot_product_flash_attention
        out, lse, *_ = op(q.transpose(0, 1)[None], k[None], v[None], 0.0, causal, False, scale=call.scale)
    else:
        op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[0], 0)[None] for x in (k, v))
        out, lse = op(q.transpose(0, 1)[None], k, v, 0.0, causal, scale=call.scale)
    return out[0].transpose(0, 1), lse[0].transpose(0, 1)


def _merge(one: Attended, other: Attended) -> Attended:
    """Attention over the keys of both."""
    lse = torch.logaddexp(one[1], other[1])
    weights = [(part[1] - lse).exp()[..., None] for part in (one, other)]
    return one[0].float() * weights[0] + other[0].float() * weights[1], lse


def without(rows: Sequence[LongRow], query_pos: torch.Tensor) -> torch.Tensor:
    """query_pos [T, F] of a forward in which the rows see nothing, so that the op does nothing for them."""
    result = query_pos.clone()
    for row in rows:
        result[row.begin : row.end] = -1
    return result
