"""The CUDA kernels of hogwild::attention against the fp64 reference, which runs on the device too.

None of these calls may be served by PyTorch ops. What is promised on every device is in test_attention.py.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from accuracy import assert_accurate
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_samples import DTYPES, HEAD_DIMS, KERNEL_SHAPES, kernel_shapes
from op_samples import Shape, attention_case

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("no_fallback")]


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensor_cores(dtype: torch.dtype, head_dim: int) -> None:
    @settings(max_examples=150)
    @given(shape=kernel_shapes(head_dim, dtype))
    def check(shape: Shape) -> None:
        assert_accurate(attention_case(shape, "cuda"))

    check()


@settings(max_examples=200)
@given(data=st.data(), head_dim=st.sampled_from(HEAD_DIMS))
def test_fp32(data: st.DataObject, head_dim: int) -> None:
    assert_accurate(attention_case(data.draw(kernel_shapes(head_dim, torch.float32)), "cuda"))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 32, 33, 48, 64, 65, 80, 96, 112, 113, 128, 129, 300])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_numbers_of_rows(rows: int, head_dim: int) -> None:
    """One worker's new tokens, each with one query head a kv head: from one slab of rows to several passes."""
    changes = {"min_workers": 1, "max_workers": 1, "min_new_tokens": rows, "max_new_tokens": rows}
    dims = {"head_dim": head_dim, "value_dim": head_dim, "rotary_dims": head_dim}
    shape = dataclasses.replace(KERNEL_SHAPES["decoding"], **changes, **dims, groups=1, ratio=1, seed=rows)
    assert_accurate(attention_case(shape, "cuda"))


@pytest.mark.parametrize("name", KERNEL_SHAPES)
def test_each_feature(name: str) -> None:
    assert_accurate(attention_case(KERNEL_SHAPES[name], "cuda"))
