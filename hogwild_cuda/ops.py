"""`torch.ops.hogwild`, documented and typed, and their fake implementations.

Sizes: ``T`` packed tokens, ``G`` groups (sessions), ``B`` blocks, ``F`` at least the largest number of blocks in a
group, ``H`` query heads, ``K`` kv heads, ``D`` and ``Dv`` head dims of keys and values, ``P`` pages of ``S`` tokens,
``R`` rotary dims. Queries, keys, values and pages are of one dtype: fp32, bf16 or fp16. All tensors of a call are on
one device. Wrong dtypes raise TypeError and everything else that is wrong ValueError, naming the argument, before
anything is written. What the elements of integer tensors say is checked on the CPU, and on CUDA where PyTorch ops
serve a call; CUDA kernels trust it. Of fake and "meta" tensors devices, dtypes and numbers of dims are checked.

CUDA kernels run on the current stream, do not wait for the device and may be captured into graphs. All ops have them,
`attention` for

- bf16 and fp16, with D = Dv of 64, 80, 96, 112, 128 or 256, S a power of two of at least 16, pages that start at
  multiples of 16 bytes, and G + (T * (H/K) - G) / 128 (D = 256: / 64) of at most 2048: tensor cores;
- fp32: a simple kernel, not a fast one.

PyTorch ops serve the other calls of `attention`: correct but slow, and not inside graph capture. The first one for each
reason warns (`hogwild_cuda.fallback.FallbackWarning`).

The ops are for inference only: they have no gradients, and a backward pass warns and stops at their outputs.

Environment variables for the CPU, each read once (ValueError where the value is not as said; empty: not set):
  HOGWILD_CPU_ISA: the instruction set of attention, ``baseline``, ``avx2`` or ``avx512``, instead of the widest that
    the processor supports; one that it lacks is refused. Read on import.
  HOGWILD_CPU_MIN_WORK: multiply-adds, 1 or more, that a thread must have to do in attention to be woken, by default
    2097152. Results do not depend on it. Read at an op's first call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hogwild_cuda.fake_checks import check_fake


def append(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """Write new keys and values into pages.

    Args:
      k, v: [T, K, D] and [T, K, Dv] new keys, rotated to their index in the block, and values; any strides.
      k_cache, v_cache: [P, K, S, D] and [P, K, S, Dv] pages of one layer; written. They share no memory with each
        other or with k and v.
      slots: [T] int64, ``page * S + offset`` of each token; negative: it is not written. No slot twice.
    """
    torch.ops.hogwild.append(k, v, k_cache, v_cache, slots)


def rotation_table(query_pos: Tensor, rotary_pos: Tensor, inv_freq: Tensor) -> Tensor:
    """cos and sin of the rotation that each block adds to each query.

    It is the same for all layers with the same frequencies, and right at offsets of a million: angles are
    formed in fp64.

    Args:
      query_pos: [T, F] int32 position of a token in each block's frame; negative where the block is not seen.
      rotary_pos: [T] int32 position that the model has rotated the query to.
      inv_freq: [R/2] fp32 frequencies, in radians per token.

    Returns:
      [T, F, 2, R/2] fp32: cos row and sin row of ``query_pos - rotary_pos``; 1 and 0 where the block is not seen.
    """
    return torch.ops.hogwild.rotation_table(query_pos, rotary_pos, inv_freq)


def attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    block_lens: Tensor,
    group_tokens: Tensor,
    group_blocks: Tensor,
    query_pos: Tensor,
    rotary_pos: Tensor,
    own_block: Tensor,
    rotation: Tensor | None,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    interleaved: bool = False,
    rotary_start: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attention of packed tokens of any number of groups over the blocks of their groups.

    A token sees key ``j`` of its group's ``f``-th block iff ``0 <= j <= query_pos[t, f]``,
    ``j < block_lens[f]``, in the block it is written to also ``j <= rotary_pos[t]``, and under a window also
    ``query_pos[t, f] - j < window``. Keys are read once for all tokens of a group. NaN and infinities stay within
    their group, but there may reach tokens that do not see them.

    Args:
      q: [T, H, D] queries, rotated by the model to ``rotary_pos``; any strides. H is a multiple of K.
      k_cache, v_cache: [P, K, S, D] and [P, K, S, Dv] pages of one layer.
      block_table: [B, max_pages] int32 pages of each block; entries beyond its length are never read.
      block_lens: [B] int32 tokens of each block, those written in this forward included.
      group_tokens: [G+1] int32 ascending; group g holds tokens ``group_tokens[g]`` to ``group_tokens[g+1] - 1``.
        Tokens outside every group are padding.
      group_blocks: [G+1] int32 ascending; the same for blocks.
      query_pos: [T, F] int32 position of the token in the frame of its group's f-th block; -1: not seen.
        Columns beyond the group's blocks are ignored.
      rotary_pos: [T] int32 the token's index in the block that it is written to.
      own_block: [T] int32 that block's index in the group, or -1.
      rotation: what `rotation_table` returned, or None if nothing is to be rotated.
      scale: what scores are multiplied by.
      window: number of tokens that are seen, the token itself included; 0: all.
      softcap: scores become ``tanh(score / softcap) * softcap``; 0: they stay.
      sinks: [H] a score for each head that joins the softmax's denominator and has no value.
      interleaved: dims (2i, 2i+1) are rotated together instead of (i, i + R/2).
      rotary_start: the first rotated dim of a head.

    Returns:
      out [T, H, Dv] of q's dtype, 0 for a token that sees no key, and lse [T, H] fp32, the natural logarithm of
      the softmax's denominator (sinks included), -inf where nothing is in it.
    """
    return torch.ops.hogwild.attention(
        q,
        k_cache,
        v_cache,
        block_table,
        block_lens,
        group_tokens,
        group_blocks,
        query_pos,
        rotary_pos,
        own_block,
        rotation,
        scale=scale,
        window=window,
        softcap=softcap,
        sinks=sinks,
        interleaved=interleaved,
        rotary_start=rotary_start,
    )


def move(
    k_cache: Tensor,
    v_cache: Tensor,
    src_slots: Tensor,
    dst_slots: Tensor,
    shift: Tensor,
    inv_freq: Tensor | None,
    *,
    interleaved: bool = False,
    rotary_start: int = 0,
) -> None:
    """Copy entries from slot to slot and rotate their keys by the difference in position.

    Args:
      k_cache, v_cache: [P, K, S, D] and [P, K, S, Dv] pages of one layer; written. They share no memory.
      src_slots, dst_slots: [N] int64 ``page * S + offset``; an entry with a negative slot is skipped. No slot is
        both a source and a destination, and none is a destination twice.
      shift: [N] int32 what is added to each key's position; 0 copies its bits.
      inv_freq: [R/2] fp32 frequencies, in radians per token, or None if nothing is to be rotated.
      interleaved, rotary_start: as for `attention`.
    """
    torch.ops.hogwild.move(
        k_cache,
        v_cache,
        src_slots,
        dst_slots,
        shift,
        inv_freq,
        interleaved=interleaved,
        rotary_start=rotary_start,
    )


def admit(tokens: Tensor, plain: Tensor, classes: Tensor, ids: Tensor, admitted: Tensor) -> None:
    """Fill in the tokens of a forward that is launched before they are known, and say whether it is to run.

    `torch.classes.hogwild.ConditionalGraph` launches a CUDA graph that asks for `admitted` on the device.

    Args:
      tokens: [T] int64 token ids, as sampled.
      plain: [C, V] bool for each class of tokens, whether an id is one of it; ids from V on, and negative ones, are of
        none.
      classes: [T] int32 the class that each token is to be of.
      ids: [T or more] int64; the first T become `tokens`, with which it shares no memory.
      admitted: [1] int32; becomes 1 if every token is of its class, else 0.
    """
    torch.ops.hogwild.admit(tokens, plain, classes, ids, admitted)


@torch.library.register_fake("hogwild::append")
def _append_fake(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    check_fake("append", k_cache=k_cache, v_cache=v_cache, k=k, v=v, slots=slots)


@torch.library.register_fake("hogwild::rotation_table")
def _rotation_table_fake(query_pos: Tensor, rotary_pos: Tensor, inv_freq: Tensor) -> Tensor:
    check_fake("rotation_table", query_pos=query_pos, rotary_pos=rotary_pos, inv_freq=inv_freq)
    num_tokens, num_columns = query_pos.shape
    return inv_freq.new_empty(num_tokens, num_columns, 2, inv_freq.shape[0])


@torch.library.register_fake("hogwild::attention")
def _attention_fake(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    block_lens: Tensor,
    group_tokens: Tensor,
    group_blocks: Tensor,
    query_pos: Tensor,
    rotary_pos: Tensor,
    own_block: Tensor,
    rotation: Tensor | None,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    interleaved: bool = False,
    rotary_start: int = 0,
) -> tuple[Tensor, Tensor]:
    check_fake(
        "attention",
        k_cache=k_cache,
        v_cache=v_cache,
        q=q,
        block_table=block_table,
        block_lens=block_lens,
        group_tokens=group_tokens,
        group_blocks=group_blocks,
        query_pos=query_pos,
        rotary_pos=rotary_pos,
        own_block=own_block,
        rotation=rotation,
        sinks=sinks,
    )
    num_tokens, num_heads, _ = q.shape
    out = q.new_empty(num_tokens, num_heads, v_cache.shape[3])
    lse = q.new_empty(num_tokens, num_heads, dtype=torch.float32)
    return out, lse


@torch.library.register_fake("hogwild::move")
def _move_fake(
    k_cache: Tensor,
    v_cache: Tensor,
    src_slots: Tensor,
    dst_slots: Tensor,
    shift: Tensor,
    inv_freq: Tensor | None,
    *,
    interleaved: bool = False,
    rotary_start: int = 0,
) -> None:
    check_fake(
        "move",
        k_cache=k_cache,
        v_cache=v_cache,
        src_slots=src_slots,
        dst_slots=dst_slots,
        shift=shift,
        inv_freq=inv_freq,
    )


@torch.library.register_fake("hogwild::admit")
def _admit_fake(tokens: Tensor, plain: Tensor, classes: Tensor, ids: Tensor, admitted: Tensor) -> None:
    check_fake("admit", tokens=tokens, plain=plain, classes=classes, ids=ids, admitted=admitted)
