"""Calls that the tensor-core kernel serves on CUDA: any mixture at random, and some that are named."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from op_samples import Shape

HEAD_DIMS = (64, 80, 96, 112, 128, 256)
DTYPES = (torch.bfloat16, torch.float16)

# (max_block_tokens, max_new_tokens): many keys or many rows, seldom both. One row up to thousands share a kv head.
_SIZES = ((20, 1), (60, 4), (200, 1), (200, 16), (100, 64), (600, 2), (3000, 1))

# A launch serves no more than some tens of thousands, and the reference takes its time.
_MAX_ROWS = 16384


@st.composite
def kernel_shapes(draw: st.DrawFn, head_dim: int, dtype: torch.dtype) -> Shape:
    """Any mixture of the features."""
    groups, workers, ratio = draw(st.integers(1, 4)), draw(st.integers(1, 16)), draw(st.integers(1, 16))
    max_block_tokens, max_new_tokens = draw(st.sampled_from(_SIZES))
    max_new_tokens = min(max_new_tokens, max(1, _MAX_ROWS // (groups * workers * ratio)))
    if draw(st.booleans()):
        rotary_dims = head_dim  # as in most models
    else:
        rotary_dims = 2 * draw(st.integers(0, head_dim // 2))
    return Shape(
        kv_heads=draw(st.integers(1, 8)),
        ratio=ratio,
        head_dim=head_dim,
        value_dim=head_dim,
        page_size=draw(st.sampled_from((16, 32, 64, 128))),
        groups=groups,
        max_blocks=workers + draw(st.integers(0, 3)),
        max_block_tokens=max_block_tokens,
        min_workers=draw(st.sampled_from((0, 1, workers))),
        max_workers=workers,
        max_new_tokens=max_new_tokens,
        rotary_dims=rotary_dims,
        rotary_start=draw(st.integers(0, head_dim - rotary_dims)),
        interleaved=draw(st.booleans()),
        window=draw(st.sampled_from((0, 0, 1, 50, 300))),
        softcap=draw(st.sampled_from((0.0, 0.0, 2.0, 30.0))),
        sinks=draw(st.booleans()),
        padding=draw(st.integers(0, 3)),
        far=draw(st.sampled_from((0, 1000, 1_000_000))),
        spread=draw(st.sampled_from((1.0, 4.0))),
        dtype=dtype,
        seed=draw(st.integers(0, 2**31 - 1)),
    )


def _shape(head_dim: int, dtype: torch.dtype, seed: int, **changes: object) -> Shape:
    usual = {"groups": 2, "min_workers": 2, "max_block_tokens": 300, "page_size": 16}
    dims = {"head_dim": head_dim, "value_dim": head_dim, "rotary_dims": head_dim}
    return Shape(**(usual | dims | {"dtype": dtype, "seed": seed} | changes))


# Each head dim and each feature at least once.
KERNEL_SHAPES = {
    "decoding": _shape(128, torch.bfloat16, 1, ratio=5, min_workers=4, max_workers=4, max_new_tokens=1),
    "many splits": _shape(
        128, torch.bfloat16, 2, groups=3, max_block_tokens=3000, min_workers=3, max_blocks=5, padding=2
    ),
    "sixteen workers": _shape(
        64, torch.float16, 3, ratio=8, max_blocks=17, min_workers=16, max_workers=16, page_size=32
    ),
    "prefill beside decoding": _shape(64, torch.bfloat16, 4, ratio=7, max_new_tokens=64),
    "window": _shape(80, torch.bfloat16, 5, window=70, page_size=64),
    "softcap and sinks": _shape(96, torch.float16, 6, softcap=3.0, sinks=True, padding=3),
    "partial, interleaved, tail": _shape(
        112, torch.bfloat16, 7, rotary_dims=64, rotary_start=48, interleaved=True
    ),
    "no rotation, one query head a kv head": _shape(128, torch.float16, 8, rotary_dims=0, ratio=1),
    "wide heads, a million away": _shape(256, torch.bfloat16, 9, far=1_000_000),
    "forty sessions": _shape(64, torch.bfloat16, 11, groups=40, min_workers=0, max_block_tokens=40),
    "many small blocks": _shape(
        64, torch.bfloat16, 12, max_blocks=150, max_block_tokens=9, max_workers=3, page_size=32
    ),
    "steep": _shape(128, torch.bfloat16, 10, spread=40.0),
}
