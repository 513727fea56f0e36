"""The ops of ``torch.ops.hogwild`` in plain PyTorch: what they mean, in the fewest words.

Every function has the signature of the op of its name (docs/architecture.md has the contract) and runs on any
device and for any floating-point dtype: in fp64 it is what the kernels' errors are measured against. Pages that
hold no token of a block are never read, whatever the page table says beyond the block's length.
Arguments are trusted here; the registered ops check theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Tokens whose scores are formed at a time: bounds the memory of long prefills.
_TOKEN_CHUNK = 256


def append(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    """Write row i of ``k`` and ``v`` to slot ``slots[i]`` of the pages; negative slots write nothing."""
    written = slots >= 0
    page, offset = _page_and_offset(slots[written], k_cache)
    k_cache[page, :, offset] = k[written]
    v_cache[page, :, offset] = v[written]


def admit(tokens: Tensor, plain: Tensor, classes: Tensor, ids: Tensor, admitted: Tensor) -> None:
    """``ids`` begins with ``tokens``; ``admitted`` says whether each of them is plain in its class."""
    ids[: len(tokens)] = tokens
    known = (tokens >= 0) & (tokens < plain.shape[1])
    known &= (classes >= 0) & (classes < len(plain))
    found = plain[classes[known].long(), tokens[known]]
    admitted[0] = int(known.all() and found.all())


def rotation_table(query_pos: Tensor, rotary_pos: Tensor, inv_freq: Tensor) -> Tensor:
    """cos and sin of ``(query_pos - rotary_pos) * inv_freq``: [T, F, 2, R/2] in ``inv_freq``'s dtype."""
    offset = query_pos - rotary_pos[:, None]
    offset = torch.where(query_pos < 0, 0, offset)
    cos, sin = _cos_sin(offset, inv_freq)
    return torch.stack((cos, sin), dim=2)


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
    compute_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of packed tokens over the blocks of their groups; returns ``(out, lse)``.

    ``compute_dtype`` is the dtype of the scores, the softmax and its product with the values: by default fp32,
    or fp64 for fp64 queries. (A lower one shows the error PyTorch itself makes at that precision.)
    """
    if compute_dtype is None:
        compute_dtype = torch.promote_types(q.dtype, torch.float32)
    num_tokens, num_heads, _ = q.shape
    lse_dtype = torch.promote_types(compute_dtype, torch.float32)
    out = q.new_zeros(num_tokens, num_heads, v_cache.shape[-1])
    lse = torch.full((num_tokens, num_heads), -torch.inf, dtype=lse_dtype, device=q.device)
    if sinks is not None:  # what a token that sees no key is left with
        lse[:] = sinks.to(lse_dtype)

    token_bounds, block_bounds = group_tokens.tolist(), group_blocks.tolist()
    lens = block_lens.tolist()
    for group in range(len(token_bounds) - 1):
        blocks = range(block_bounds[group], block_bounds[group + 1])
        keys = [_read_block(k_cache, block_table[b], lens[b]).to(compute_dtype) for b in blocks]
        values = [_read_block(v_cache, block_table[b], lens[b]).to(compute_dtype) for b in blocks]
        if not sum(lens[b] for b in blocks):
            continue
        for first in range(token_bounds[group], token_bounds[group + 1], _TOKEN_CHUNK):
            tokens = slice(first, min(first + _TOKEN_CHUNK, token_bounds[group + 1]))
            scores = []
            for f, key in enumerate(keys):
                query = q[tokens]
                if rotation is not None:
                    cos, sin = rotation[tokens, f].unbind(1)
                    query = rotate(query, cos[:, None], sin[:, None], interleaved, rotary_start)
                score = _by_kv_head(query.to(compute_dtype), key.shape[0]) @ key.mT * scale
                if softcap > 0:
                    score = torch.tanh(score / softcap) * softcap
                visible = _visible(query_pos[tokens, f], key.shape[1], window)
                own = own_block[tokens] == f
                index = torch.arange(key.shape[1], device=q.device)
                visible &= ~own[:, None] | (index <= rotary_pos[tokens, None])
                ratio = num_heads // key.shape[0]
                scores.append(score.masked_fill(~visible.repeat_interleave(ratio, 0), -torch.inf))
            _softmax(torch.cat(scores, -1), torch.cat(values, 1), sinks, out[tokens], lse[tokens])
    return out, lse


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
    """Copy slots ``src_slots`` to ``dst_slots`` and rotate the keys ``shift`` positions on.

    Entries with a negative slot are skipped, and a shift of 0 copies the key's bits.
    """
    moved = (src_slots >= 0) & (dst_slots >= 0)
    src_page, src_offset = _page_and_offset(src_slots[moved], k_cache)
    dst_page, dst_offset = _page_and_offset(dst_slots[moved], k_cache)
    key = k_cache[src_page, :, src_offset]  # [N, K, D]
    if inv_freq is not None:
        cos, sin = _cos_sin(shift[moved], inv_freq)
        rotated = rotate(key, cos[:, None], sin[:, None], interleaved, rotary_start)
        key = torch.where(shift[moved, None, None] == 0, key, rotated)
    k_cache[dst_page, :, dst_offset] = key
    v_cache[dst_page, :, dst_offset] = v_cache[src_page, :, src_offset]


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, rotary_start: int) -> Tensor:
    """Rotate the pairs of ``x`` [..., D] by the angles of ``cos`` and ``sin`` [..., R/2]; the rest is kept.

    Computed in the wider of ``x``'s and the table's dtype and rounded once to ``x``'s.
    """
    half = cos.shape[-1]
    rotary_end = rotary_start + 2 * half
    if interleaved:
        first, second = slice(rotary_start, rotary_end, 2), slice(rotary_start + 1, rotary_end, 2)
    else:
        first, second = slice(rotary_start, rotary_start + half), slice(rotary_start + half, rotary_end)
    rotated = x.to(torch.promote_types(x.dtype, cos.dtype), copy=True)
    a, b = rotated[..., first].clone(), rotated[..., second].clone()
    rotated[..., first] = a * cos - b * sin
    rotated[..., second] = a * sin + b * cos
    return rotated.to(x.dtype)


def _cos_sin(offset: Tensor, inv_freq: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of offset * inv_freq, the angle formed in fp64: fp32 loses it at long offsets."""
    angle = offset[..., None].double() * inv_freq.double()
    return angle.cos().to(inv_freq.dtype), angle.sin().to(inv_freq.dtype)


def _page_and_offset(slots: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
    page_size = cache.shape[2]
    return slots // page_size, slots % page_size


def _read_block(cache: Tensor, pages: Tensor, length: int) -> Tensor:
    """The first ``length`` entries of a block: [K, length, D]."""
    _, num_heads, page_size, dim = cache.shape
    used = cache[pages[: -(-length // page_size)].long()]
    return used.transpose(0, 1).reshape(num_heads, -1, dim)[:, :length]


def _visible(query_pos: Tensor, length: int, window: int) -> Tensor:
    """[T, length]: which keys of a block a query at ``query_pos`` of the block's frame sees."""
    distance = query_pos[:, None] - torch.arange(length, device=query_pos.device)
    visible = distance >= 0
    return visible & (distance < window) if window > 0 else visible


def _by_kv_head(query: Tensor, num_kv_heads: int) -> Tensor:
    """[T, H, D] -> [K, T * H/K, D]: the rows that share a kv head."""
    num_tokens, num_heads, dim = query.shape
    grouped = query.reshape(num_tokens, num_kv_heads, num_heads // num_kv_heads, dim)
    return grouped.transpose(0, 1).reshape(num_kv_heads, -1, dim)


def _by_token(rows: Tensor, num_tokens: int) -> Tensor:
    """[K, T * H/K, X] -> [T, H, X]: the inverse of _by_kv_head."""
    num_kv_heads, _, dim = rows.shape
    return rows.reshape(num_kv_heads, num_tokens, -1, dim).transpose(0, 1).reshape(num_tokens, -1, dim)


def _softmax(scores: Tensor, values: Tensor, sinks: Tensor | None, out: Tensor, lse: Tensor) -> None:
    """Write softmax(scores) @ values to ``out`` and the denominator's logarithm to ``lse``.

    ``scores`` is [K, T * H/K, N] with -inf where nothing is seen, ``values`` [K, N, Dv]. Rows that see nothing
    have output 0, even where values are not finite.
    """
    num_tokens = out.shape[0]
    denominator = _by_token(scores.to(lse.dtype).logsumexp(-1, keepdim=True), num_tokens)  # [T, H, 1]
    sees_something = denominator != -torch.inf  # true for NaN
    if sinks is not None:
        denominator = torch.logaddexp(denominator, sinks.to(lse.dtype)[:, None])
    # exp(-inf - finite) is 0; a denominator of -inf would make it NaN.
    safe = torch.where(sees_something, denominator, 0)
    probabilities = torch.exp(scores.to(lse.dtype) - _by_kv_head(safe, scores.shape[0])).to(scores.dtype)
    weighted = _by_token(probabilities @ values, num_tokens)
    out[:] = torch.where(sees_something, weighted, 0)
    lse[:] = denominator[..., 0]
